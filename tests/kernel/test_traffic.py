"""Packets arrive: the ways to a Service, with real sockets."""

from __future__ import annotations

from collections import Counter

import pytest

from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from lab.topology import (
    BRIDGE_ADDRESS,
    BRIDGE_ADDRESS_6,
    NODE_ADDRESS,
    NODE_ADDRESS_6,
    POD_ADDRESSES,
    POD_ADDRESSES_6,
)
from lab.traffic import Protocol, clients, count_by_pod

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
