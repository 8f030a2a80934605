"""Load balancer addresses: reached from everywhere, unless source ranges say otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.topology import BRIDGE_ADDRESS, BRIDGE_ADDRESS_6, NODE_ADDRESS, NODE_ADDRESS_6
from lab.traffic import Protocol, Servers, clients

from kernel.manifests import Manifest, endpoint_slice, port, service, with_ingress
from kernel.node import NOTHING, SHORT_SECONDS, Node

CLIENT = "192.168.60.2"
OPEN, OPEN_6 = "203.0.113.10", "fd00:113::10"
RANGED, RANGED_6 = "203.0.113.11", "fd00:113::11"
FOR_NODE, FOR_NODE_6 = "203.0.113.12", "fd00:113::12"
FOR_CLIENT_AND_P1 = ["192.168.60.2/32", "10.244.0.11/32", "fd00:60::2/128", "fd00:244::11/128"]
FOR_THE_NODE = [f"{NODE_ADDRESS}/32", f"{NODE_ADDRESS_6}/128"]

pytestmark = pytest.mark.also_in_qemu(reason="rules decide what is dropped or masqueraded; QEMU has those of nf_tables")


def balanced(name: str, number: int, *addresses: str, mode: str = "VIP", **spec: object) -> list[Manifest]:
    """A load-balanced Service 10.96.2.NUMBER, dual-stack, TCP and UDP, on p3, and its slices."""
    ports = [port(80, p, node_port=30200 + number, name=p.lower()) for p in ("TCP", "UDP")]
    cluster_ips = (f"10.96.2.{number}", f"fd00:96:2::{number}")
    return [
        with_ingress(service(name, *cluster_ips, ports=ports, type="LoadBalancer", **spec), *addresses, mode=mode),
        endpoint_slice(name, "p3", ports=ports),
        endpoint_slice(name, "p3", ipv6=True, ports=ports),
    ]


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Iterator[Node]:
    """Services with each kind of load balancer address; `client` answers on port 80 as a proxying one."""
    proxy = Servers()
    proxy.add(shared_node.namespace("client"), "proxy", 80)
    proxy.start()
    shared_node.manifests.write(
        "balanced",
        *balanced("open", 1, OPEN, OPEN_6),
        *balanced("ranged", 2, RANGED, RANGED_6, loadBalancerSourceRanges=FOR_CLIENT_AND_P1),
        *balanced("for-node", 3, FOR_NODE, FOR_NODE_6, loadBalancerSourceRanges=FOR_THE_NODE),
        *balanced("proxied", 4, CLIENT, mode="Proxy"),
    )
    shared_node.start_agent_and_wait()
    yield shared_node
    proxy.close()


@pytest.mark.parametrize(("address", "bridge"), [(OPEN, BRIDGE_ADDRESS), (OPEN_6, BRIDGE_ADDRESS_6)])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_load_balancer_address_serves_pods_the_node_and_those_outside(
    node: Node, address: str, bridge: str, protocol: Protocol
) -> None:
    """VS-01, ADR-04, IPT-21, IPT-36: bound, and masqueraded for a client outside."""
    assert node.outcomes(protocol, address, 80) == {"p1": "p3", "node": "p3", "client": "p3"}
    assert clients(node.many("client", protocol, address, 80, count=2)) == {bridge}


def test_an_address_with_ip_mode_proxy_is_left_to_the_load_balancer(node: Node) -> None:
    """SVC-09: pods and node go out to it; the Service's other ways in work."""
    assert node.outcome("p1", "tcp", CLIENT, 80) == "proxy"
    assert node.outcome("node", "tcp", CLIENT, 80) == "proxy"
    assert not node.has_address(CLIENT)
    assert node.outcome("client", "tcp", NODE_ADDRESS, 30204) == "p3"


@pytest.mark.parametrize("address", [RANGED, RANGED_6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_source_ranges_let_in_who_is_named_and_drop_all_others(node: Node, address: str, protocol: Protocol) -> None:
    """LB-02, LB-04, IPT-60 to IPT-63, IPT-94: from outside, from pods and from the node itself."""
    assert node.outcome("client", protocol, address, 80) == "p3"
    assert node.outcome("p1", protocol, address, 80) == "p3"
    others = ("node2", "p2", "node")
    found = node.outcomes(protocol, address, 80, places=others, patience=SHORT_SECONDS)
    assert found == dict.fromkeys(others, NOTHING)


@pytest.mark.parametrize(
    ("ranged", "for_node", "own"), [(RANGED, FOR_NODE, NODE_ADDRESS), (RANGED_6, FOR_NODE_6, NODE_ADDRESS_6)]
)
def test_source_ranges_bind_the_node_whatever_address_it_sends_from(
    node: Node, ranged: str, for_node: str, own: str
) -> None:
    """LB-03, DEV-05, DEV-27: a range with a node address lets its processes in, nothing else does."""
    for source in ("", own):
        dropped = node.outcome("node", "tcp", ranged, 80, source_address=source, patience=SHORT_SECONDS)
        assert dropped == NOTHING, source
        assert node.outcome("node", "tcp", for_node, 80, source_address=source) == "p3", source
    found = node.outcomes("tcp", for_node, 80, places=("client", "p1"), patience=SHORT_SECONDS)
    assert found == {"client": NOTHING, "p1": NOTHING}


def test_source_ranges_concern_nothing_but_the_load_balancer_address(node: Node) -> None:
    """LB-01: cluster IP and node port stay open to all."""
    for address, number in (("10.96.2.3", 80), (NODE_ADDRESS, 30203)):
        assert set(node.outcomes("tcp", address, number).values()) == {"p3"}, address
