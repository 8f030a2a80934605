"""A kernel that lacks a part: what is served without it, what is said, and that loading it is enough (DEV-81)."""

from __future__ import annotations

import pytest

from ipvsagent.errors import NodeUnusable
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, ExtensionKind
from ipvsagent.model.objects import Node, Problem
from ipvsagent.model.rules import FromBridgePort, Jump, Reject, Rule, Table
from ipvsagent.model.state import SetType
from ipvsagent.planner.kernel_parts import PARTS
from support.builders import addresses, endpoint_slice, port, service
from support.fake_node import FakeNode, new_kernel

MATCH, TARGET = ExtensionKind.MATCH, ExtensionKind.TARGET
PHYSDEV, REJECT = Extension(MATCH, "physdev"), Extension(TARGET, "REJECT")
VITAL = [extension for extension in PARTS if extension not in (PHYSDEV, REJECT)]

OWN = Node("node-1", addresses("192.168.60.1", "fd00:60::1"))
WEB = service("shop/web", "10.96.0.10", "fd00:96::10", ports=(port(80, node_port=30080),), type="NodePort")
SLICES = [endpoint_slice("10.244.0.11"), endpoint_slice("fd00:244::11")]
IPV4 = {"10.96.0.10:80/TCP", "192.168.60.1:30080/TCP"}
IPV6 = {"[fd00:96::10]:80/TCP", "[fd00:60::1]:30080/TCP"}


def started(kernel: FakeKernel) -> FakeNode:
    """A node that has heard of one Service of two families."""
    node = FakeNode(kernel)
    node.hear_all([WEB], SLICES, [OWN])
    return node


def wait(node: FakeNode, seconds: int) -> None:
    """Let the owner thread work for some time."""
    for _ in range(seconds):
        node.clock.now += 1.0
        node.reconciler.reconcile()


def served(node: FakeNode) -> set[str]:
    """The virtual servers in the kernel."""
    return {str(server.key) for server in node.kernel.ipvs.list_virtual_servers()}


def left_in(kernel: FakeKernel, family: Family) -> list[str]:
    """Addresses and set entries of Services of a family."""
    vips = [str(a.address) for a in kernel.addresses.list_addresses() if a.link_name == "kube-ipvs0"]
    entries = [str(e) for name, (_, found) in kernel.ip_sets.sets.items() if ("-6-" in name) is (family.value == 10)
               for e in found]  # fmt: skip
    return [v for v in vips if (":" in v) is (family is Family.IPV6)] + entries


def missing(node: FakeNode) -> list[str]:
    """What an operator hears about the kernel: the same words in log, event and on the status page."""
    found = [p.reason for p in node.announced if isinstance(p, Problem) and p.label == "KernelPartMissing"]
    for words in found:
        assert any(line.startswith("warning: ") and words in line for line in node.log.lines)
    return found


def rules_of(node: FakeNode, family: Family, table: Table, chain: str) -> tuple[Rule, ...]:
    """The rules of one chain in the kernel."""
    return node.kernel.rules[family].chains[table, chain]


@pytest.mark.parametrize("part", VITAL, ids=str)
@pytest.mark.parametrize("family", [Family.IPV6, Family.IPV4], ids=str)
def test_without_a_vital_part_one_family_is_not_served_and_the_other_is(part: Extension, family: Family) -> None:
    """DEV-81: the part, its module and its option are named."""
    kernel = new_kernel()
    kernel.rules[family].lacking.add(part)
    node = started(kernel)
    assert served(node) == (IPV4 if family is Family.IPV6 else IPV6)
    assert left_in(kernel, family) == []
    (words,) = missing(node)
    module, option = PARTS[part].names(family)
    assert words.startswith(f"{family.label}: the kernel has no {part} (module `")
    assert f"{family.label} is not served" in words
    if part.kind is not ExtensionKind.TABLE:  # with nft, tables need another module
        assert f"(module `{module}`, `{option}`)" in words
        assert f"`modprobe {module}`" in words
    assert next(p for p in node.status().problems if p.label == "KernelPartMissing").reason == words


@pytest.mark.parametrize("part", [*VITAL, PHYSDEV, REJECT], ids=str)
def test_a_part_that_was_loaded_later_is_used_without_a_restart(part: Extension) -> None:
    """DEV-81: it is looked for once a minute."""
    kernel = new_kernel()
    kernel.rules[Family.IPV6].lacking.add(part)
    node = started(kernel)
    kernel.rules[Family.IPV6].lacking.clear()
    wait(node, 65)
    assert served(node) == IPV4 | IPV6
    assert [p.label for p in node.status().problems] == []
    assert rules_of(node, Family.IPV6, Table.FILTER, "KUBE-IPVS-FILTER")[-1].target == Reject()
    assert node.status().synchronised


@pytest.mark.parametrize("part", VITAL, ids=str)
def test_what_an_earlier_agent_left_in_a_family_that_is_not_served_is_removed(part: Extension) -> None:
    """DEV-81: virtual servers, node ports included, addresses and set entries; the rules, which match nothing, stay."""
    kernel = new_kernel()
    assert served(started(kernel)) == IPV4 | IPV6
    kernel.rules[Family.IPV6].lacking.add(part)
    kernel.rules[Family.IPV6].chains.clear()  # as if a module had been removed
    node = started(kernel)
    assert served(node) == IPV4
    assert left_in(kernel, Family.IPV6) == []


def test_a_family_that_loses_its_rules_and_a_part_for_them_is_closed() -> None:
    """DEV-81: nothing may stay open that the rules closed."""
    kernel = new_kernel()
    node = started(kernel)
    kernel.rules[Family.IPV6].lacking.add(Extension(ExtensionKind.TABLE, "filter"))
    del kernel.rules[Family.IPV6].chains[Table.FILTER, "KUBE-IPVS-FILTER"]
    wait(node, 5)
    assert served(node) == IPV4
    assert node.status().families == (Family.IPV4,)
    assert len(missing(node)) == 1


def test_without_reject_other_ports_of_a_service_address_are_dropped() -> None:
    """DEV-81, IPT-75: closed as before; the client waits instead of being refused."""
    kernel = new_kernel()
    kernel.rules[Family.IPV4].lacking.add(REJECT)
    node = started(kernel)
    assert served(node) == IPV4 | IPV6
    (words,) = missing(node)
    assert words == (
        "IPv4: the kernel has no iptables target `REJECT` (module `ipt_REJECT`, `CONFIG_IP_NF_TARGET_REJECT`):"
        " connections to other ports of a Service address are dropped, not refused, so clients wait for a timeout;"
        " `modprobe ipt_REJECT` on the host, also `nft_compat` (`CONFIG_NFT_COMPAT`), or install the full kernel"
        " package of the distribution"
    )
    assert rules_of(node, Family.IPV4, Table.FILTER, "KUBE-IPVS-FILTER")[-1].target == Jump("DROP")
    assert rules_of(node, Family.IPV6, Table.FILTER, "KUBE-IPVS-FILTER")[-1].target == Reject()


def test_without_physdev_the_rules_for_external_addresses_do_not_ask_for_a_bridge() -> None:
    """DEV-81, IPT-25, IPT-27: the rest of the rules stays as it is."""
    whole, lacking = new_kernel(), new_kernel()
    lacking.rules[Family.IPV4].lacking.add(PHYSDEV)
    node = started(lacking)
    started(whole)
    assert served(node) == IPV4 | IPV6
    assert len(missing(node)) == 1
    expected = [
        Rule(tuple(m for m in rule.matches if not isinstance(m, FromBridgePort)), rule.target)
        for rule in whole.rules[Family.IPV4].chains[Table.NAT, "KUBE-SERVICES"]
    ]
    assert list(rules_of(node, Family.IPV4, Table.NAT, "KUBE-SERVICES")) == expected


def test_ipv6_is_not_served_if_ipvs_does_not_know_it() -> None:
    """DEV-81, SYN-01: the kernel is asked for a virtual server, and none is made."""
    kernel = new_kernel()
    kernel.ipvs.has_ipv6 = False
    node = started(kernel)
    assert served(node) == IPV4
    assert missing(node) == [
        "IPv6: IPVS of this kernel has no IPv6 (`CONFIG_IP_VS_IPV6`): IPv6 is not served;"
        " install the full kernel package of the distribution"
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1", "net.ipv6.conf.all.disable_ipv6 is 1"),
        (None, "the kernel has no IPv6 (`CONFIG_IPV6`, or `ipv6.disable=1` at boot)"),
    ],
)
def test_ipv6_that_is_switched_off_is_logged_and_makes_no_event(value: str | None, reason: str) -> None:
    """SYN-01: an administrator's choice is no fault."""
    kernel = new_kernel()
    del kernel.sysctls.values["net/ipv6/conf/all/disable_ipv6"]
    if value:
        kernel.sysctls.values["net/ipv6/conf/all/disable_ipv6"] = value
    node = started(kernel)
    assert served(node) == IPV4
    assert missing(node) == []
    assert f"warning: address family not served family=IPv6 reason={reason}" in node.log.lines


@pytest.mark.parametrize("kind", list(SetType), ids=str)
def test_without_a_set_type_nothing_can_be_served_and_the_type_is_named(kind: SetType) -> None:
    """DEV-67, DEV-81: both families use every set type."""
    kernel = new_kernel()
    kernel.ip_sets.lacking.add(kind)
    with pytest.raises(NodeUnusable) as caught:
        FakeNode(kernel)
    assert caught.value.fact == (
        f"no address family can be served: IPv4: the kernel has no set type `{kind}`;"
        f" IPv6: the kernel has no set type `{kind}`"
    )
    assert caught.value.remedy == "install the full kernel package of the distribution"


def test_a_node_whose_primary_family_cannot_be_served_says_which_part_is_missing() -> None:
    """SYN-01, SYN-02: the other family is served, and the node is unhealthy."""
    kernel = new_kernel()
    kernel.rules[Family.IPV4].lacking.add(Extension(MATCH, "set"))
    node = started(kernel)
    (failure,) = node.status().failures
    assert failure.startswith("serve the primary address family: IPv4, the family of this node's primary address")
    assert "the kernel has no iptables match `set` (module `xt_set`, `CONFIG_NETFILTER_XT_SET`)" in failure
    assert served(node) == IPV6
