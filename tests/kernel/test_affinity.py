"""Session affinity: a client stays with its pod until it has been away for long enough, or the pod goes."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from lab.speed import scaled
from lab.topology import NODE_ADDRESS, POD_ADDRESSES
from lab.traffic import Protocol, count_by_pod

from kernel.manifests import Manifest, endpoint_slice, port, service, with_ingress
from kernel.node import Node
from kernel.processes import wait_for

ALL_PODS = ("p1", "p2", "p3")
BALANCER = "203.0.113.40"
SHORT = "10.96.5.2"
SHORT_SECONDS = round(scaled(5.0))  # of affinity: enough to come back after a UDP connection has ended
PORTS = [port(80, "TCP", node_port=30500, name="tcp"), port(53, "UDP", node_port=30500, name="udp")]


def sticky(name: str, *cluster_ips: str, seconds: int = 0, **spec: Any) -> Manifest:
    """A Service with session affinity; 0 seconds leave the timeout to its default."""
    if seconds:
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": seconds}}
    return service(name, *cluster_ips, sessionAffinity="ClientIP", **spec)


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Node:
    """Services with affinity on three pods; UDP connections of IPVS end after one second, affinity may end then."""
    shared_node.configure(ipvs={"udpTimeout": "1s"})
    web = sticky("web", "10.96.5.1", "fd00:96:5::1", ports=PORTS, type="LoadBalancer")
    shared_node.manifests.write(
        "web",
        with_ingress(web, BALANCER),
        endpoint_slice("web", *ALL_PODS, ports=PORTS),
        endpoint_slice("web", *ALL_PODS, ipv6=True, ports=PORTS),
        sticky("short", SHORT, seconds=SHORT_SECONDS, ports=[port(53, "UDP")]),
        endpoint_slice("short", *ALL_PODS, ports=[port(53, "UDP")]),
    )
    shared_node.manifests.write("moving", sticky("moving", "10.96.5.3"), endpoint_slice("moving", *ALL_PODS))
    shared_node.start_agent_and_wait()
    return shared_node


@pytest.mark.parametrize(
    ("protocol", "address", "number"),
    [
        ("tcp", "10.96.5.1", 80),
        ("tcp", "fd00:96:5::1", 80),
        ("udp", "10.96.5.1", 53),
        ("tcp", BALANCER, 80),
        ("tcp", NODE_ADDRESS, 30500),
    ],
)
def test_a_client_stays_with_one_pod_whichever_way_it_comes(
    node: Node, protocol: Protocol, address: str, number: int
) -> None:
    """SVC-07, VS-03, VS-04: on all virtual servers of a Service; three clients, one after another, get three pods."""
    places = ("p1", "client", "node")
    pods = {where: count_by_pod(node.many(where, protocol, address, number, count=4)) for where in places}
    assert [list(count.values()) for count in pods.values()] == [[4], [4], [4]]
    assert len({pod for count in pods.values() for pod in count}) == 3, "round robin, a client at a time"


def test_the_timeout_is_the_services_or_three_hours(node: Node) -> None:
    """SVC-07: as the kernel has it."""
    lines = node.ipvsadm()
    assert f"-A -u {SHORT}:53 -s rr -p {SHORT_SECONDS}" in lines
    assert "-A -t 10.96.5.1:80 -s rr -p 10800" in lines


def test_a_client_that_returns_after_its_timeout_is_scheduled_again(node: Node) -> None:
    """SVC-07: affinity outlasts the client's connections, for as long as the Service says, and no longer."""
    pod = node.ask("p1", "udp", SHORT, 53).pod
    for _ in range(3):
        wait_for(lambda: not connections(node, SHORT).flows, "its connections are over")
        assert connections(node, SHORT).templates == [POD_ADDRESSES[pod]]
        assert node.ask("p1", "udp", SHORT, 53).pod == pod, "round robin would have gone on to the next one"
    wait_for(lambda: connections(node, SHORT) == Connections([], []), "IPVS has forgotten the client")
    assert node.ask("p1", "udp", SHORT, 53).pod != pod, "round robin goes on to the next one"


def test_affinity_goes_with_its_real_server(node: Node) -> None:
    """GT-02, SYS-03: what leads to a pod that is gone is forgotten hours before its time; the others stay."""
    vip, ports = "10.96.5.4", [port(53, "UDP")]
    leaving = sticky("leaving", vip, ports=ports)
    node.manifests.write("leaving", leaving, endpoint_slice("leaving", *ALL_PODS, ports=ports))
    node.wait_for_service(f"{vip}:53/udp", *ALL_PODS)
    before = {where: node.ask(where, "udp", vip, 53).pod for where in ("p1", "client", "node")}
    assert sorted(before.values()) == sorted(ALL_PODS)
    assert sorted(connections(node, vip).templates) == sorted(POD_ADDRESSES[pod] for pod in ALL_PODS)
    gone = before.pop("client")
    node.manifests.write("leaving", leaving, endpoint_slice("leaving", *before.values(), ports=ports))
    left = sorted(POD_ADDRESSES[pod] for pod in before.values())
    wait_for(lambda: sorted(connections(node, vip).templates) == left, f"nothing leads to {gone}")
    assert {where: node.ask(where, "udp", vip, 53).pod for where in before} == before
    assert node.ask("client", "udp", vip, 53).pod in before.values()


def test_a_client_whose_pod_is_draining_moves_to_another_one(node: Node) -> None:
    """GT-09: its open connection goes on, its next one does not wait for the old pod."""
    with node.connect("client", "tcp", "10.96.5.3", 80) as connection:
        pod = connection.ask().pod
        others = [p for p in ALL_PODS if p != pod]
        node.manifests.write("moving", sticky("moving", "10.96.5.3"), endpoint_slice("moving", *others))
        wait_for(lambda: 0 in node.table()["10.96.5.3:80/tcp"].weights.values(), f"{pod} is draining")
        answers = node.many("client", "tcp", "10.96.5.3", 80, count=4)
        assert list(count_by_pod(answers).values()) == [4]
        assert answers[0].pod in others
        assert connection.ask().pod == pod
        assert POD_ADDRESSES[pod] in connections(node, "10.96.5.3").templates, "of the connection that goes on"
    wait_for(lambda: POD_ADDRESSES[pod] not in connections(node, "10.96.5.3").templates, "its template went with it")


class Connections(NamedTuple):
    """What IPVS knows of a VIP: addresses of real servers that connections, and persistence templates, lead to."""

    flows: list[str]
    templates: list[str]


def connections(node: Node, vip: str) -> Connections:
    """The lines about a VIP in IPVS's connection table; a template has no source port."""
    with node.topology.node.inside():
        text = Path("/proc/thread-self/net/ip_vs_conn").read_text(encoding="ascii")
    found = Connections([], [])
    for line in text.splitlines()[1:]:
        _, _, source_port, address, _, server, *_ = line.split()
        if address == f"{int(IPv4Address(vip)):08X}":
            (found.flows if int(source_port, 16) else found.templates).append(str(IPv4Address(int(server, 16))))
    return found
