"""What the ledger records, and that only acknowledged operations change it."""

from __future__ import annotations

from ipvsagent.model.address import Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import (
    ForwardingMethod,
    ObservedRealServer,
    ObservedVirtualServer,
    RealServer,
    SetEntry,
    VirtualServer,
    VirtualServerKey,
)
from ipvsagent.reconciler.ledger.ledger import UNUSABLE_WEIGHT, Ledger, from_observed
from support.builders import address

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)
WEB_6 = VirtualServerKey(Protocol.TCP, address("fd00::10"), 80)
ONE, TWO = RealServer(address("10.244.0.11"), 8080, 1), RealServer(address("10.244.0.12"), 8080, 1)
ENTRY = SetEntry("KUBE-CLUSTER-IP", 80, Protocol.TCP, address("10.96.0.10"))


def test_operations_are_recorded_in_the_order_in_which_they_were_carried_out() -> None:
    """DEV-01: what the kernel acknowledged, and nothing else."""
    ledger = Ledger()
    ledger.acknowledge(
        [
            AddVirtualServer(VirtualServer(WEB, "rr")),
            AddRealServer(WEB, ONE),
            AddRealServer(WEB, TWO),
            ChangeRealServer(WEB, RealServer(ONE.address, 8080, 0)),
            ChangeVirtualServer(VirtualServer(WEB, "sh", 0x8, 30)),
            RemoveRealServer(WEB, TWO.address, 8080),
        ]
    )
    assert ledger.virtual_servers == {WEB: VirtualServer(WEB, "sh", 0x8, 30, (RealServer(ONE.address, 8080, 0),))}
    ledger.acknowledge([RemoveVirtualServer(WEB)])
    assert ledger.virtual_servers == {}


def test_only_virtual_servers_of_ipv4_are_counted_and_each_of_them_once() -> None:
    """DEV-17: the kernel's own count, which verification compares, has no others."""
    ledger = Ledger()
    for key in (WEB, WEB, WEB_6):
        ledger.hold(VirtualServer(key, "rr"))
    assert ledger.counted == 1
    for key in (WEB, WEB, WEB_6):
        ledger.forget(key)
    assert ledger.counted == 0


def test_a_virtual_server_of_others_is_foreign_until_a_service_claims_it_or_it_goes() -> None:
    """VS-08."""
    ledger = Ledger()
    for key in (WEB, WEB_6):
        ledger.hold(VirtualServer(key, "rr"))
        ledger.mark_foreign(key)
    ledger.claim(WEB)
    assert ledger.foreign == {WEB_6}
    ledger.forget(WEB_6)
    assert ledger.foreign == set()


def test_what_was_read_of_the_whole_kernel_replaces_all_that_was_known() -> None:
    """DEV-17: those who hold the ledger see what was read."""
    ledger, read = Ledger(), Ledger()
    ledger.hold(VirtualServer(WEB, "rr"))
    ledger.add_address(WEB.address)
    ledger.add_entries([ENTRY])
    entries = ledger.entries
    read.hold(VirtualServer(WEB_6, "rr"))
    read.mark_foreign(WEB_6)
    read.replace_addresses([WEB_6.address])
    ledger.replace_all(read)
    assert ledger.virtual_servers.keys() == ledger.foreign == {WEB_6}
    assert ledger.addresses == {WEB_6.address}
    assert (ledger.counted, list(ledger.entries)) == (0, [])
    assert ENTRY not in entries


def test_entries_are_known_by_their_set() -> None:
    """SET-34: a set that was read replaces what was known of it, and of no other."""
    other = SetEntry("KUBE-IPVS-IPS", 0, None, address("10.96.0.10"))
    ledger = Ledger()
    ledger.add_entries([ENTRY, other])
    ledger.replace_entries("KUBE-CLUSTER-IP", [])
    assert list(ledger.entries) == [other]
    ledger.remove_entry(other)
    ledger.remove_entry(other)
    assert ledger.entries.of("KUBE-IPVS-IPS") == set()


def test_a_real_server_with_another_forwarding_method_or_with_thresholds_needs_to_be_set() -> None:
    """DEV-17, VS-07: its weight in the ledger is one that no plan has."""
    observed = [
        ObservedRealServer(ONE.address, 8080, 3, ForwardingMethod.MASQUERADE, 0, 0),
        ObservedRealServer(TWO.address, 8080, 3, ForwardingMethod.DIRECT_ROUTING, 0, 0),
        ObservedRealServer(TWO.address, 8081, 3, ForwardingMethod.MASQUERADE, 7, 0),
    ]
    taken = from_observed(ObservedVirtualServer(WEB, "rr", 0, 0, tuple(observed)))
    assert [s.weight for s in taken.real_servers] == [3, UNUSABLE_WEIGHT, UNUSABLE_WEIGHT]
