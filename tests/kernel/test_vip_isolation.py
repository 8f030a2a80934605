"""A VIP has the ports of its Services and no others: what else runs on the node is out of reach through it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.topology import BRIDGE_ADDRESS, NODE_ADDRESS, NODE_ADDRESS_6, POD_ADDRESSES, POD_ADDRESSES_6
from lab.traffic import Protocol, Servers, clients

from kernel.manifests import endpoint_slice, port, service, with_ingress
from kernel.node import REFUSED, Node

VIPS = ("10.96.3.1", "fd00:96:3::1", "203.0.113.30", "fd00:113::30", "203.0.113.31", "fd00:113::31")
DAEMON_PORT, SHARED_PORT = 9100, 9101
PORTS = (
    port(80, "TCP", node_port=30300, name="tcp"),
    port(80, "UDP", node_port=30300, name="udp"),
    # The node has a daemon on this one, too.
    port(SHARED_PORT, "TCP", node_port=30301, name="shared-tcp"),
    port(SHARED_PORT, "UDP", node_port=30301, name="shared-udp"),
    port(80, "SCTP", node_port=30300, name="sctp"),
)
EQUAL = [port(30300, "TCP", name="tcp"), port(30300, "UDP", name="udp")]  # as the node port of the other Service
EMPTY = [port(80, "TCP", node_port=30302, name="tcp"), port(80, "UDP", node_port=30302, name="udp")]
NUMBERS_TO_TRY = (22, 443, DAEMON_PORT, 10250, 30300)
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Iterator[Node]:
    """VIPs of all kinds on a node whose daemons listen on every address."""
    daemons = Servers()
    for number in (22, DAEMON_PORT, SHARED_PORT, 10250):
        daemons.add(shared_node.namespace("node"), "daemon", number)
    daemons.start()
    web = service("web", *VIPS[:2], ports=PORTS, type="LoadBalancer", externalIPs=list(VIPS[4:]))
    shared_node.manifests.write(
        "web",
        with_ingress(web, *VIPS[2:4]),
        endpoint_slice("web", "p3", ports=PORTS),
        endpoint_slice("web", "p3", ipv6=True, ports=PORTS),
        service("equal", "10.96.3.2", "fd00:96:3::2", ports=EQUAL),
        endpoint_slice("equal", "p2", ports=EQUAL),
        endpoint_slice("equal", "p2", ipv6=True, ports=EQUAL),
        service("empty", "10.96.3.3", "fd00:96:3::3", ports=EMPTY, type="NodePort"),
        service("only-ipv6", "fd00:96:3::4", ports=[port(80, node_port=30303)], type="NodePort"),
        endpoint_slice("only-ipv6", "p2", ipv6=True, ports=[port(80)]),
    )
    shared_node.start_agent_and_wait()
    yield shared_node
    daemons.close()


@pytest.mark.parametrize("vip", VIPS)
def test_other_ports_of_a_vip_are_refused_from_everywhere(node: Node, vip: str) -> None:
    """ADR-10, IPT-75: a daemon that listens on all of the node's addresses is not reached through a VIP."""
    for protocol in PROTOCOLS:
        refused = {"p1": REFUSED, "node": REFUSED, "client": REFUSED}
        assert node.outcomes(protocol, vip, *NUMBERS_TO_TRY) == refused, protocol


@pytest.mark.parametrize("vip", VIPS)
def test_every_port_that_a_service_has_on_a_vip_is_reached_from_everywhere(node: Node, vip: str) -> None:
    """IPT-70 to IPT-73: owned is reachable, also where the node has a daemon on the same port."""
    everywhere_served = {"p1": "p3", "node": "p3", "client": "p3"}
    for protocol in PROTOCOLS:
        assert node.outcomes(protocol, vip, 80, SHARED_PORT) == everywhere_served, protocol
    assert node.outcomes("sctp", vip, 80) == everywhere_served


@pytest.mark.parametrize("address", [NODE_ADDRESS, NODE_ADDRESS_6, BRIDGE_ADDRESS])
def test_daemons_stay_reachable_on_the_nodes_own_addresses(node: Node, address: str) -> None:
    """IPT-75: only VIPs are closed."""
    assert set(node.outcomes("tcp", address, DAEMON_PORT).values()) == {"daemon"}
    # A UDP server answers from the address next to its client, so it is asked there.
    assert node.outcome("p1" if address == BRIDGE_ADDRESS else "client", "udp", address, DAEMON_PORT) == "daemon"


@pytest.mark.parametrize(("vip", "pods"), [("10.96.3.2", POD_ADDRESSES), ("fd00:96:3::2", POD_ADDRESSES_6)])
def test_a_cluster_ip_port_that_equals_a_node_port_is_untouched_by_it(
    node: Node, vip: str, pods: dict[str, str]
) -> None:
    """IPT-29: served by its own Service, and a pod is not masqueraded, as it would be through a node port."""
    for protocol in PROTOCOLS:
        answers = node.many("p1", protocol, vip, 30300, count=2)
        assert {a.pod for a in answers} == {"p2"}
        assert clients(answers) == {pods["p1"]}
        assert node.outcomes(protocol, vip, 30300) == {"p1": "p2", "node": "p2", "client": "p2"}


@pytest.mark.parametrize(
    ("address", "number"),
    [("10.96.3.3", 80), ("fd00:96:3::3", 80), (NODE_ADDRESS, 30302), (NODE_ADDRESS_6, 30302)],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_service_without_endpoints_refuses_everybody_at_once(
    node: Node, address: str, number: int, protocol: Protocol
) -> None:
    """EP-37: a reset or its ICMP equal, in both families, on every way in."""
    assert node.outcomes(protocol, address, number) == {"p1": REFUSED, "node": REFUSED, "client": REFUSED}


def test_a_service_of_one_family_has_no_node_port_in_the_other(node: Node) -> None:
    """SVC-04: absent there with everything that belongs to it."""
    assert set(node.outcomes("tcp", NODE_ADDRESS_6, 30303).values()) == {"p2"}
    assert set(node.outcomes("tcp", NODE_ADDRESS, 30303).values()) == {REFUSED}
