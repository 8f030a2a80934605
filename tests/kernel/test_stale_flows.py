"""Flows without a connection: a client that goes on sending from one port follows the endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.speed import scaled
from lab.topology import NODE_ADDRESS, NODE_ADDRESS_6, POD_ADDRESSES, POD_ADDRESSES_6
from lab.traffic import Connection, Protocol

from kernel.manifests import Manifest, endpoint_slice, port, service
from kernel.node import REFUSED, Node, answer
from kernel.processes import SLOW_GUEST, wait_for

MOVE_SECONDS = scaled(30.0 if SLOW_GUEST else 5.0)  # a stale flow would last as long as its client keeps sending
FLOW_SECONDS = scaled(2.0)  # after which a datagram counts as lost
SOURCE_PORT = 40000


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Node:
    """A running agent; each test brings a Service of its own."""
    shared_node.start_agent_and_wait()
    return shared_node


class Moving:
    """A dual-stack Service whose endpoints a test changes, with node port 30600 + NUMBER; UDP and SCTP."""

    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self._name = f"moving-{number}"
        self._ports = [port(53, p, node_port=30600 + number, name=p.lower()) for p in ("UDP", "SCTP")]
        self.node_port = 30600 + number
        self.vip, self.vip_6 = f"10.96.6.{number}", f"fd00:96:6::{number}"

    def put(self, *pods: str) -> None:
        """Have exactly these pods behind it, and wait until the kernel has."""
        self.announce(*pods)
        for protocol in ("udp", "sctp"):
            self._node.wait_for_service(f"{self.vip}:53/{protocol}", *pods)
            self._node.wait_for_service(f"[{self.vip_6}]:53/{protocol}", *pods)

    def announce(self, *pods: str) -> None:
        """As `put`, without waiting."""
        self._node.manifests.write(self._name, *self._manifests(pods))

    def _manifests(self, pods: tuple[str, ...]) -> Iterator[Manifest]:
        yield service(self._name, self.vip, self.vip_6, ports=self._ports, type="NodePort")
        yield endpoint_slice(self._name, *pods, ports=self._ports)
        yield endpoint_slice(self._name, *pods, ipv6=True, ports=self._ports)


def leads_to(node: Node, protocol: Protocol, address: str, pod: str) -> bool:
    """Whether connection tracking has a flow to an address that a pod answers."""
    family, pods = ("ipv6", POD_ADDRESSES_6) if ":" in address else ("ipv4", POD_ADDRESSES)
    lines = node.run("conntrack", "-L", "-f", family, "-p", protocol).splitlines()
    return any(f" dst={address} " in line and f" src={pods[pod]} " in line for line in lines)


def flow(node: Node, where: str, address: str, number: int) -> Connection:
    """A client that sends all of its datagrams from one port."""
    return Connection(node.namespace(where), "udp", address, number, timeout=FLOW_SECONDS, source_port=SOURCE_PORT)


@pytest.mark.parametrize("where", ["client", "p3", "node"])
@pytest.mark.parametrize("way", ["cluster IP", "cluster IP, IPv6", "node port", "node port, IPv6"])
def test_a_flow_moves_when_its_endpoint_goes(node: Node, where: str, way: str) -> None:
    """CT-01, CT-04, CT-05, GT-02: by whichever way and from wherever it came, to the endpoint that is left."""
    moving = Moving(node, 1)
    address, number = {
        "cluster IP": (moving.vip, 53),
        "cluster IP, IPv6": (moving.vip_6, 53),
        "node port": (NODE_ADDRESS, moving.node_port),
        "node port, IPv6": (NODE_ADDRESS_6, moving.node_port),
    }[way]
    moving.put("p1")
    with flow(node, where, address, number) as connection:
        assert connection.ask().pod == "p1"
        assert leads_to(node, "udp", address, "p1")
        moving.put("p2")
        wait_for(lambda: not leads_to(node, "udp", address, "p1"), "the flow to p1 is gone", MOVE_SECONDS)
        assert connection.ask().pod == "p2", "not one datagram is lost"


def test_a_client_that_does_not_stop_sending_is_soon_answered_by_the_new_endpoint(node: Node) -> None:
    """CT-05, GT-02: whatever is under way while endpoints change."""
    moving = Moving(node, 5)
    moving.put("p1")
    with flow(node, "client", NODE_ADDRESS, moving.node_port) as connection:
        wait_for(lambda: answer(connection) == "p1", "p1 answers", MOVE_SECONDS)
        moving.announce("p2")
        wait_for(lambda: answer(connection) == "p2", "p2 answers", MOVE_SECONDS)


def test_a_client_that_sent_before_the_service_came_is_served(node: Node) -> None:
    """CT-08: its flow was never translated, so the pod's answer would not come by this node."""
    moving = Moving(node, 6)
    with flow(node, "client", NODE_ADDRESS, moving.node_port) as connection:
        assert answer(connection) == REFUSED
        moving.put("remote")
        wait_for(lambda: answer(connection) == "remote", "the Service answers", MOVE_SECONDS)


@pytest.mark.parametrize("way", ["cluster IP", "node port"])
def test_a_flow_is_refused_without_endpoints_and_served_again_with_one(node: Node, way: str) -> None:
    """DEV-21, EP-37: the last endpoint goes, a client that keeps sending is told, and a new one comes."""
    moving = Moving(node, 2)
    address, number = (moving.vip, 53) if way == "cluster IP" else (NODE_ADDRESS, moving.node_port)
    moving.put("p1")
    with flow(node, "client", address, number) as connection:
        wait_for(lambda: answer(connection) == "p1", "the flow leads to p1", MOVE_SECONDS)
        moving.put()
        wait_for(lambda: not leads_to(node, "udp", address, "p1"), "the flow to p1 is gone", MOVE_SECONDS)
        assert answer(connection) == REFUSED
        moving.put("p2")
        wait_for(lambda: answer(connection) == "p2", "the flow leads to p2", MOVE_SECONDS)


def test_a_flow_whose_endpoint_stays_does_not_notice(node: Node) -> None:
    """CT-05: only flows to endpoints that went are deleted."""
    moving = Moving(node, 3)
    moving.put("p1", "p2")
    with flow(node, "client", moving.vip, 53) as connection:
        first = connection.ask()
        moving.put(first.pod)
        assert connection.ask() == first, "same pod, same masqueraded port: the same flow"
        moving.put("p3", first.pod)
        assert connection.ask() == first


@pytest.mark.parametrize("way", ["cluster IP", "node port"])
def test_an_sctp_client_that_comes_back_from_the_same_port_is_served(node: Node, way: str) -> None:
    """DEV-21: SCTP flows are cleaned as UDP ones are."""
    moving = Moving(node, 4)
    address, number = (moving.vip, 53) if way == "cluster IP" else (NODE_ADDRESS, moving.node_port)
    moving.put("p1")
    assert node.ask("client", "sctp", address, number, source_port=SOURCE_PORT).pod == "p1"
    assert leads_to(node, "sctp", address, "p1")
    moving.put("p2")
    wait_for(lambda: not leads_to(node, "sctp", address, "p1"), "the flow to p1 is gone", MOVE_SECONDS)
    assert node.ask("client", "sctp", address, number, source_port=SOURCE_PORT).pod == "p2"
