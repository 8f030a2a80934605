"""On which addresses a node port answers (NP rules)."""

from __future__ import annotations

import pytest

from ipvsagent.config.values import NodePortAddresses
from ipvsagent.model.address import Network
from ipvsagent.planner.facts import NodeFacts, choose_node_port_addresses, usable_node_addresses
from scenarios.facts import entries, plan, sets_in_use, virtual_servers
from support.builders import addresses, port, service

FOUND = ("127.0.0.1", "192.168.60.1", "10.1.1.1", "169.254.7.7", "172.17.0.1", "::1", "fd00:60::1", "fe80::1")
"""What a node with two networks and a bridge has on its interfaces, the dummy one left out."""

WEB = service("shop/web", "10.96.0.10", "fd00:96::10", type="NodePort", ports=[port(80, node_port=30080)])


def _node(setting: NodePortAddresses, *, internal: tuple[str, ...] = ("192.168.60.1", "fd00:60::1")) -> NodeFacts:
    """A node with the addresses above, as the agent comes to know it."""
    usable = usable_node_addresses(addresses(*FOUND))
    chosen = choose_node_port_addresses(setting, usable, internal_addresses=addresses(*internal))
    return NodeFacts("node-1", addresses=usable, node_port_addresses=chosen, internal_addresses=addresses(*internal))


def _networks(*texts: str) -> NodePortAddresses:
    return NodePortAddresses(tuple(Network.parse(t) for t in texts))


def _answers_on(node: NodeFacts) -> list[str]:
    """The virtual servers of the node port."""
    return [v for v in virtual_servers(plan(WEB, node=node)) if ":30080/" in v]


EVERY_IPV4 = [
    "10.1.1.1:30080/TCP",
    "169.254.7.7:30080/TCP",
    "172.17.0.1:30080/TCP",
    "192.168.60.1:30080/TCP",
]
EVERY_IPV6 = ["[fd00:60::1]:30080/TCP"]


def test_without_a_list_node_ports_answer_on_every_node_address() -> None:
    """NP-01, ADR-06: bridges included; loopback never, IPv6 link-local never."""
    assert _answers_on(_node(NodePortAddresses())) == EVERY_IPV4 + EVERY_IPV6


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (("192.168.0.0/16", "fd00:60::/64"), ["192.168.60.1:30080/TCP", "[fd00:60::1]:30080/TCP"]),
        (("192.168.60.1/32", "10.0.0.0/8"), ["10.1.1.1:30080/TCP", "192.168.60.1:30080/TCP", *EVERY_IPV6]),
        (("fd00:60::/64",), [*EVERY_IPV4, *EVERY_IPV6]),
        (("203.0.113.0/24", "2001:db8::/32"), []),
        (("203.0.113.0/24",), EVERY_IPV6),
    ],
    ids=["one of each family", "two of IPv4", "IPv6 alone", "neither holds anything", "IPv4 holds nothing"],
)
def test_a_list_restricts_the_families_that_it_names(networks: tuple[str, ...], expected: list[str]) -> None:
    """NP-02, NP-04: a family without CIDR in the list is as free as without a list."""
    assert _answers_on(_node(_networks(*networks))) == expected


@pytest.mark.parametrize("order", [("0.0.0.0/0", "10.0.0.0/8"), ("10.0.0.0/8", "0.0.0.0/0")])
def test_a_network_that_holds_all_makes_the_others_of_its_family_meaningless(order: tuple[str, str]) -> None:
    """NP-03: in any order; the other family keeps its own list."""
    assert _answers_on(_node(_networks(*order, "2001:db8::/32"))) == EVERY_IPV4


@pytest.mark.parametrize("network", ["127.0.0.0/8", "fe80::/10", "::1/128"])
def test_a_list_brings_neither_loopback_nor_link_local_addresses_in(network: str) -> None:
    """DEV-10, NP-04, NP-09."""
    assert not {"127.0.0.1:30080/TCP", "[fe80::1]:30080/TCP", "[::1]:30080/TCP"} & set(
        _answers_on(_node(_networks(network)))
    )


@pytest.mark.parametrize(
    ("internal", "expected"),
    [
        (("192.168.60.1", "10.1.1.1", "fd00:60::1"), ["192.168.60.1:30080/TCP", "[fd00:60::1]:30080/TCP"]),
        (("10.1.1.1",), ["10.1.1.1:30080/TCP", *EVERY_IPV6]),
        (("127.0.0.1", "::1"), []),
        ((), []),
        (("203.0.113.9",), EVERY_IPV6),
    ],
    ids=["both families", "IPv4 alone", "placeholders", "none known", "not on any interface"],
)
def test_primary_is_the_first_known_address_of_each_family(internal: tuple[str, ...], expected: list[str]) -> None:
    """NP-05, DEV-60: a family of which none is known is not restricted, unless nothing is known of the node."""
    assert _answers_on(_node(NodePortAddresses(primary=True), internal=internal)) == expected


def test_a_list_that_holds_no_address_leaves_neither_virtual_servers_nor_entries() -> None:
    """NP-06, SET-35: no packet is marked for a node port that nobody serves."""
    state = plan(WEB, node=_node(_networks("203.0.113.0/24", "2001:db8::/32")))
    assert virtual_servers(state) == ["10.96.0.10:80/TCP", "[fd00:96::10]:80/TCP"]
    assert [name for name in sets_in_use(state) if "NODE-PORT" in name] == []


def test_entries_of_tcp_and_udp_node_ports_carry_no_address() -> None:
    """NP-08, SET-10: one entry, on however many addresses the node port answers."""
    few = plan(WEB, node=_node(_networks("192.168.60.1/32")))
    many = plan(WEB, node=_node(NodePortAddresses()))
    assert entries(few, "KUBE-NODE-PORT-TCP") == ["30080"]
    assert entries(many, "KUBE-NODE-PORT-TCP") == ["30080"]
    assert entries(many, "KUBE-6-NODE-PORT-TCP") == ["30080"]


def test_sctp_node_ports_have_an_entry_for_each_address_they_answer_on() -> None:
    """SET-14, NP-04: no more and no fewer than there are virtual servers."""
    web = service(type="NodePort", ports=[port(80, protocol="SCTP", node_port=30080)])
    state = plan(web, node=_node(_networks("10.0.0.0/8", "172.16.0.0/12")))
    assert virtual_servers(state) == ["10.1.1.1:30080/SCTP", "10.96.0.10:80/SCTP", "172.17.0.1:30080/SCTP"]
    assert entries(state, "KUBE-NODE-PORT-SCTP-HASH") == ["10.1.1.1,sctp:30080", "172.17.0.1,sctp:30080"]
