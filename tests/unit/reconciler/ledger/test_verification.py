"""Drift is found and repaired, at a cost that does not grow with the cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ipvsagent.config.types import Settings
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.kernel.fake.rules import FakeRules
from ipvsagent.model.address import Family, Network, Protocol
from ipvsagent.model.events import Changed, Deleted, DummyInterfaceChanged, RulesChanged
from ipvsagent.model.objects import Kind
from ipvsagent.model.ops import (
    AddEntry,
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveEntry,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.rules import Chain, RuleSet, Table
from ipvsagent.model.state import RealServer, SetEntry, VirtualServer, VirtualServerKey
from ipvsagent.reconciler.ledger.verification import (
    RULES_REST_SECONDS,
    RULES_SETTLE_SECONDS,
    TICK_SECONDS,
    TICKS_PER_KEY_CHECK,
    TICKS_PER_RULE_CHECK,
    VIRTUAL_SERVERS_PER_TICK,
)
from ipvsagent.reconciler.mailbox import Reconfigure
from support.builders import address, endpoint_slice, key, service
from support.fake_node import FakeNode

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)
P1 = address("10.244.0.11")
ENTRY = SetEntry("KUBE-CLUSTER-IP", 80, Protocol.TCP, address("10.96.0.10"))


def served(settings: Settings | None = None) -> FakeNode:
    """A node in step with one Service that has one endpoint."""
    node = FakeNode(settings=settings)
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    return node


def let_pass(node: FakeNode, seconds: float) -> None:
    """Let time pass in ticks of verification."""
    for _ in range(int(seconds / TICK_SECONDS)):
        node.clock.now += TICK_SECONDS
        node.reconciler.reconcile()


def facts(kernel: FakeKernel) -> tuple[object, ...]:
    """What the kernel holds, in no order."""
    return (
        {(s.key, s.settings, frozenset(s.real_servers)) for s in kernel.ipvs.list_virtual_servers()},
        {entry for _, entries in kernel.ip_sets.sets.values() for entry in entries},
        {(a.link_name, a.address) for a in kernel.addresses.list_addresses()},
    )


@pytest.mark.parametrize(
    "drift",
    [
        lambda k: k.ipvs.flush(),
        lambda k: k.ipvs.apply([RemoveVirtualServer(WEB)]),
        lambda k: k.ipvs.apply([RemoveRealServer(WEB, P1, 8080)]),
        lambda k: k.ipvs.apply([AddRealServer(WEB, RealServer(address("10.244.0.99"), 8080))]),
        lambda k: k.ipvs.apply([ChangeRealServer(WEB, RealServer(P1, 8080, 7))]),
        lambda k: k.ipvs.apply([ChangeVirtualServer(VirtualServer(WEB, "lc"))]),
        lambda k: k.ipvs.apply([ChangeVirtualServer(VirtualServer(WEB, "rr", 0, 100))]),
        lambda k: k.ip_sets.apply([RemoveEntry(ENTRY)]),
        lambda k: k.ip_sets.apply([AddEntry(SetEntry("KUBE-CLUSTER-IP", 99, Protocol.TCP, P1))]),
    ],
    ids=["flush", "virtual server", "real server", "added", "weight", "scheduler", "persistence", "entry", "surplus"],
)
def test_drift_is_repaired_within_five_seconds(drift: Callable[[FakeKernel], object]) -> None:
    """DEV-01, DEV-17, KR-12: whatever somebody else changes is found by looking, and put right."""
    node = served()
    right = facts(node.kernel)
    drift(node.kernel)
    assert facts(node.kernel) != right
    let_pass(node, 5)
    assert facts(node.kernel) == right
    assert node.status().synchronised
    assert any("changed by another program" in line for line in node.log.lines)


def test_nothing_is_written_while_nothing_drifts() -> None:
    """DEV-02: verification of a right kernel only reads."""
    node = served()
    node.kernel.clear_log()
    let_pass(node, 2 * TICKS_PER_KEY_CHECK)
    assert node.operations() == []


def test_an_exchanged_set_entry_is_found_in_turn() -> None:
    """DEV-01: the number of entries is right, the entries are not."""
    node = served()
    right = facts(node.kernel)
    node.kernel.ip_sets.apply([RemoveEntry(ENTRY), AddEntry(SetEntry("KUBE-CLUSTER-IP", 99, Protocol.TCP, P1))])
    let_pass(node, 60)
    assert facts(node.kernel) == right


def test_an_ipv6_virtual_server_that_others_made_is_noticed_and_stays() -> None:
    """DEV-28: the kernel does not count these; the look at all keys sees them."""
    node = served()
    theirs = VirtualServerKey(Protocol.TCP, address("2001:db8::1"), 99)
    node.kernel.ipvs.apply([AddVirtualServer(VirtualServer(theirs, "rr"))])
    let_pass(node, TICKS_PER_KEY_CHECK)
    assert theirs in node.kernel.ipvs.list_keys()
    assert any("were added or removed" in line for line in node.log.lines)


def test_a_virtual_server_of_others_is_left_as_it_is() -> None:
    """DEV-28, CLN-03: changes that others make to their own virtual servers are none of ours."""
    node = served()
    theirs = VirtualServerKey(Protocol.TCP, address("192.0.2.1"), 99)
    node.kernel.ipvs.apply([AddVirtualServer(VirtualServer(theirs, "rr"))])
    let_pass(node, 3)
    node.kernel.clear_log()
    node.kernel.ipvs.apply([AddRealServer(theirs, RealServer(P1, 99))])
    node.kernel.clear_log()
    let_pass(node, 5)
    assert node.operations() == []


def test_the_share_of_one_tick_does_not_grow_with_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick looks at a fixed number of virtual servers, and a round at every one."""
    count = 3 * VIRTUAL_SERVERS_PER_TICK
    node = FakeNode()
    node.hear_all([service(f"shop/s{i}", f"10.96.{i // 250}.{i % 250 + 1}") for i in range(count)])
    looked_at: list[VirtualServerKey] = []
    find = node.kernel.ipvs.find_virtual_server

    def counting(server: VirtualServerKey) -> object:
        looked_at.append(server)
        return find(server)

    monkeypatch.setattr(node.kernel.ipvs, "find_virtual_server", counting)
    let_pass(node, 2)
    assert len(looked_at) <= 2 * VIRTUAL_SERVERS_PER_TICK
    let_pass(node, 4)
    assert len(set(looked_at)) == count


def test_excluded_virtual_servers_stay_when_their_service_goes() -> None:
    """VS-08, ADR-07, DEV-28: nothing in an excluded network is removed, with a restart in between or without."""
    node = served(Settings(exclude_networks=(Network.parse("10.96.0.0/24"),)))
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    let_pass(node, 5)
    assert WEB in node.kernel.ipvs.list_keys()
    assert ("kube-ipvs0", WEB.address) in {(a.link_name, a.address) for a in node.kernel.addresses.list_addresses()}
    again = FakeNode(node.kernel, Settings(exclude_networks=(Network.parse("10.96.0.0/24"),)))
    again.hear_all()
    assert WEB in again.kernel.ipvs.list_keys()


def test_a_network_excluded_later_counts_from_then_on() -> None:
    """DEV-28, CFG-23: the setting applies live."""
    node = served()
    node.hear(Reconfigure(Settings(exclude_networks=(Network.parse("10.96.0.0/24"),))))
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert WEB in node.kernel.ipvs.list_keys()


def test_a_full_set_is_replaced_by_a_larger_one() -> None:
    """DEV-24: the entries stay, the new ones fit, and the next start is content with the larger set."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    spec, entries = node.kernel.ip_sets.sets["KUBE-CLUSTER-IP"]
    node.kernel.ip_sets.sets["KUBE-CLUSTER-IP"] = (replace(spec, max_elements=1), entries)
    node.hear(Changed(service("shop/second", "10.96.0.11")))
    node.settle()
    assert node.status().synchronised
    assert {e.address for e in node.kernel.ip_sets.sets["KUBE-CLUSTER-IP"][1]} == {WEB.address, address("10.96.0.11")}
    assert node.kernel.ip_sets.sets["KUBE-CLUSTER-IP"][0].max_elements == 2


def test_a_deleted_dummy_interface_comes_back_with_all_addresses_whatever_is_heard_first() -> None:
    """KR-12, ADR-01: the loss of one address may be heard before the loss of the interface, and of the others."""
    node = FakeNode()
    node.hear_all([service(), service("shop/second", "10.96.0.11")])
    right = facts(node.kernel)
    node.kernel.addresses.remove_link("kube-ipvs0")
    node.hear(DummyInterfaceChanged(removed=(WEB.address,)))
    node.hear(DummyInterfaceChanged(removed=(address("10.96.0.11"),), gone=True))
    node.settle()
    assert facts(node.kernel) == right
    assert node.status().synchronised


def let_pass_slowly(node: FakeNode, seconds: float) -> None:
    """Let time pass as the owner thread sees it: it wakes when something is due, and at nothing else."""
    until = node.clock.now + seconds
    while (wait := node.reconciler.next_wakeup(verification=True)) is not None and node.clock.now + wait <= until:
        node.clock.now += wait
        node.reconciler.reconcile()
    node.clock.now = until


def flush(node: FakeNode, family: Family) -> None:
    """Somebody else empties a chain; where nf_tables holds it, the kernel tells."""
    node.kernel.add_foreign_chain(family, Table.NAT, Chain("KUBE-SERVICES"))
    node.hear(RulesChanged(family))


def flushed(node: FakeNode, family: Family) -> bool:
    """Whether the chain is empty."""
    return not node.kernel.rules[family].chains[Table.NAT, "KUBE-SERVICES"]


def test_rules_are_repaired_at_once_where_the_kernel_tells() -> None:
    """DEV-01: each family whose rules were reported as changed, a moment later."""
    node = served()
    for family in Family:
        flush(node, family)
    let_pass_slowly(node, RULES_SETTLE_SECONDS + 0.01)
    assert [f for f in Family if flushed(node, f)] == []


@pytest.mark.parametrize(("variant", "seconds"), [("legacy", 2), ("nft", 4)])
def test_rules_of_which_nobody_tells_are_compared_in_turn(
    variant: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DEV-01: each family every two seconds with legacy tables; elsewhere reported changes are compared first."""
    monkeypatch.setattr(FakeRules, "variant", variant)
    node = served()
    for family in Family:
        node.kernel.add_foreign_chain(family, Table.NAT, Chain("KUBE-SERVICES"))
    let_pass(node, seconds - 1)
    assert [f for f in Family if flushed(node, f)] != []
    let_pass(node, 1)
    assert [f for f in Family if flushed(node, f)] == []


def test_rules_that_are_changed_without_end_are_compared_twice_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DEV-02: comparing them starts a program, and somebody else's script must not keep the agent busy."""
    node = served()
    compared: list[float] = []
    matches = node.kernel.rules[Family.IPV4].matches

    def noting(rules: RuleSet) -> bool:
        compared.append(node.clock.now)
        return matches(rules)

    monkeypatch.setattr(node.kernel.rules[Family.IPV4], "matches", noting)
    began = node.clock.now
    while node.clock.now < began + 10:
        flush(node, Family.IPV4)
        let_pass_slowly(node, 0.05)
    most = 10 / RULES_REST_SECONDS + 10 / (TICK_SECONDS * TICKS_PER_RULE_CHECK)
    assert 10 < len(compared) <= most + 1
    let_pass_slowly(node, RULES_REST_SECONDS)
    assert not flushed(node, Family.IPV4)


def test_a_change_of_rules_reported_before_the_first_synchronisation_waits_for_it() -> None:
    """SYN-04: the agent's own first rules are reported, too; they need no check."""
    node = FakeNode()
    flush(node, Family.IPV4)
    assert node.reconciler.next_wakeup(verification=True) is None
    node.hear_all([service()])
    let_pass_slowly(node, RULES_SETTLE_SECONDS + 0.01)
    assert not flushed(node, Family.IPV4)
