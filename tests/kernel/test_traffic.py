"""Packets arrive: the ways to a Service, with real sockets."""

from __future__ import annotations

from collections import Counter

import pytest
from lab.topology import (
    BRIDGE_ADDRESS,
    BRIDGE_ADDRESS_6,
    NODE_ADDRESS,
    NODE_ADDRESS_6,
    POD_ADDRESSES,
    POD_ADDRESSES_6,
)
from lab.traffic import Protocol, clients, count_by_pod

from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
EVENLY = Counter(p1=2, p2=2, p3=2)
ALL_PORTS = (
    port(80, "TCP", node_port=30080, name="tcp"),
    port(53, "UDP", node_port=30053, name="udp"),
    port(80, "SCTP", node_port=30080, name="sctp"),
)


def serve_everything(node: Node) -> None:
    """One Service with a port of each protocol and a node port each, dual-stack, on three pods; agent running."""
    node.manifests.write(
        "web",
        service("web", VIP, VIP_6, ports=ALL_PORTS, type="NodePort"),
        endpoint_slice("web", "p1", "p2", "p3", ports=ALL_PORTS),
        endpoint_slice("web", "p1", "p2", "p3", ipv6=True, ports=ALL_PORTS),
    )
    node.start_agent()
    for address, node_address in ((VIP, NODE_ADDRESS), (f"[{VIP_6}]", f"[{NODE_ADDRESS_6}]")):
        for made in ALL_PORTS:
            protocol = made["protocol"].lower()
            node.wait_for_service(f"{address}:{made['port']}/{protocol}", "p1", "p2", "p3")
            node.wait_for_service(f"{node_address}:{made['nodePort']}/{protocol}", "p1", "p2", "p3")


@pytest.mark.usefixtures("every_variant")
def test_every_way_to_a_service_works_in_both_families(node: Node) -> None:
    """VS-01, NP-01, IPT-50: each protocol from pod, node and outside; masqueraded where the answer would get lost."""
    serve_everything(node)
    families = (
        (VIP, NODE_ADDRESS, BRIDGE_ADDRESS, POD_ADDRESSES),
        (VIP_6, NODE_ADDRESS_6, BRIDGE_ADDRESS_6, POD_ADDRESSES_6),
    )
    ports: tuple[tuple[Protocol, int, int], ...] = (("tcp", 80, 30080), ("udp", 53, 30053), ("sctp", 80, 30080))
    for vip, node_address, bridge, pods in families:
        for protocol, number, node_port in ports:
            from_pod = node.many("p1", protocol, vip, number, count=6)
            assert count_by_pod(from_pod) == EVENLY, (vip, protocol)
            assert {a.client for a in from_pod if a.pod != "p1"} == {pods["p1"]}
            assert {a.client for a in from_pod if a.pod == "p1"} == {bridge}, "a hairpin is masqueraded"
            from_node = node.many("node", protocol, vip, number, count=6)
            assert count_by_pod(from_node) == EVENLY, (vip, protocol)
            from_outside = node.many("client", protocol, node_address, node_port, count=6)
            assert count_by_pod(from_outside) == EVENLY, (node_address, protocol)
            assert clients(from_outside) == {bridge}, "a node port's client is masqueraded"


def test_a_machine_outside_reaches_a_cluster_ip_masqueraded(node: Node) -> None:
    """IPT-23: traffic that is not from a pod is masqueraded on its way to a ClusterIP."""
    serve_web(node, "p1", "p2")
    answers = node.many("client", "tcp", VIP, 80, count=4)
    assert count_by_pod(answers) == Counter(p1=2, p2=2)
    assert clients(answers) == {BRIDGE_ADDRESS}


def test_a_pod_on_another_node_is_reached(node: Node) -> None:
    """VS-06: masquerading works across nodes; the pod sees the asking pod's own address."""
    serve_web(node, "remote")
    answer = node.ask("p1", "tcp", VIP, 80)
    assert (answer.pod, answer.client) == ("remote", POD_ADDRESSES["p1"])


def test_round_robin_spreads_exactly_evenly(node: Node) -> None:
    """VS-02: rr, the default."""
    serve_web(node, "p1", "p2", "p3")
    assert count_by_pod(node.many("p1", "tcp", VIP, 80, count=90)) == Counter(p1=30, p2=30, p3=30)


def test_source_hashing_keeps_a_client_on_one_pod(node: Node) -> None:
    """VS-02, VS-03: sh looks at the client's address alone."""
    node.configure(ipvs={"scheduler": "sh"})
    serve_web(node, "p1", "p2", "p3")
    for where in ("p1", "p2", "node", "client"):
        assert len(count_by_pod(node.many(where, "tcp", VIP, 80, count=12))) == 1


def test_session_affinity_keeps_a_client_on_one_pod(node: Node) -> None:
    """SVC-07: ClientIP is persistence; two clients in turn do not disturb each other."""
    serve_web(node, "p1", "p2", "p3", affinity="ClientIP")
    answers = [node.ask(where, "tcp", VIP, 80) for _ in range(6) for where in ("p1", "p2")]
    assert len(count_by_pod(answers[0::2])) == 1
    assert len(count_by_pod(answers[1::2])) == 1
    assert f"-A -t {VIP}:80 -s rr -p 10800" in node.ipvsadm()


@pytest.mark.usefixtures("every_variant")
def test_another_port_of_a_vip_is_refused(node: Node) -> None:
    """ADR-10: a VIP has no ports but those of its Service, and says so at once."""
    serve_web(node, "p1")
    assert node.ask("p1", "tcp", VIP, 80).pod == "p1"
    for where in ("p1", "node", "client"):
        with pytest.raises(ConnectionRefusedError):
            node.ask(where, "tcp", VIP, 81)


@pytest.mark.usefixtures("every_variant")
def test_a_service_without_endpoints_refuses_at_once(node: Node) -> None:
    """EP-37: no client waits for a timeout."""
    serve_web(node)
    for where in ("p1", "node", "client"):
        with pytest.raises(ConnectionRefusedError):
            node.ask(where, "tcp", VIP, 80)


def serve_web(node: Node, *pods: str, affinity: str = "None") -> None:
    """A Service with port 80 on some pods; agent running."""
    node.manifests.write("web", service("web", VIP, sessionAffinity=affinity), endpoint_slice("web", *pods))
    node.start_agent()
    node.wait_for_service(f"{VIP}:80/tcp", *pods)
