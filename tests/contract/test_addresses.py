"""What every driver of links and addresses does."""

from __future__ import annotations

import pytest

from contract.hosts import Host
from ipvsagent.errors import AlreadyExists, NotFound
from ipvsagent.model.address import Address
from ipvsagent.model.ops import AddAddress, AddressOperation, RemoveAddress
from ipvsagent.transient_errors import retry_transient

DUMMY, OTHER = "kube-ipvs0", "eth7"
V4, V4_2 = Address.parse("10.96.0.10"), Address.parse("10.96.0.11")
V6, V6_2 = Address.parse("fd00:96::10"), Address.parse("fd00:96::11")


def _held(host: Host, interface: str) -> set[str]:
    listed = retry_transient(
        host.addresses.list_addresses
    )  # a listing is refused while the kernel still settles addresses
    return {f"{a.address}/{a.prefix_length}" for a in listed if a.link_name == interface}


def test_what_is_added_is_listed_with_its_full_length(host: Host) -> None:
    """ADR-02: /32 and /128, on the interface that was named."""
    host.make_interface(DUMMY)
    host.make_interface(OTHER)
    assert host.addresses.apply(DUMMY, [AddAddress(V4), AddAddress(V6)]) == [None, None]
    assert _held(host, DUMMY) == {"10.96.0.10/32", "fd00:96::10/128"}
    assert _held(host, OTHER) == set()


def test_what_is_removed_is_gone(host: Host) -> None:
    """The others stay, in both families."""
    host.make_interface(DUMMY)
    assert host.addresses.apply(DUMMY, [AddAddress(a) for a in (V4, V4_2, V6, V6_2)]) == [None] * 4
    assert host.addresses.apply(DUMMY, [RemoveAddress(V4), RemoveAddress(V6)]) == [None, None]
    assert _held(host, DUMMY) == {"10.96.0.11/32", "fd00:96::11/128"}


def test_refused_operations_stop_nothing_else(host: Host) -> None:
    """Each answer belongs to its operation."""
    host.make_interface(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V4), AddAddress(V6)])
    operations: list[AddressOperation] = [
        AddAddress(V4),
        AddAddress(V4_2),
        RemoveAddress(V6_2),
        AddAddress(V6),
        RemoveAddress(V6),
        RemoveAddress(V6),
        RemoveAddress(V4),
    ]
    results = host.addresses.apply(DUMMY, operations)
    assert [type(r) if r else None for r in results] == [
        *(AlreadyExists, None, NotFound, AlreadyExists, None, NotFound, None)
    ]
    assert all(str(r).startswith(str(o)) for r, o in zip(results, operations, strict=True) if r)
    assert _held(host, DUMMY) == {"10.96.0.11/32"}


def test_one_address_may_stand_on_two_interfaces(host: Host) -> None:
    """Removing it from one leaves the other alone."""
    host.make_interface(DUMMY)
    host.make_interface(OTHER)
    for interface in (DUMMY, OTHER):
        assert host.addresses.apply(interface, [AddAddress(V4), AddAddress(V6)]) == [None, None]
    assert host.addresses.apply(OTHER, [RemoveAddress(V4), RemoveAddress(V6)]) == [None, None]
    assert _held(host, DUMMY) == {"10.96.0.10/32", "fd00:96::10/128"}
    assert _held(host, OTHER) == set()


def test_an_address_of_another_length_is_not_removed(host: Host) -> None:
    """A node address that is in a subnet is not one of ours."""
    host.make_interface(OTHER)
    host.give_address(OTHER, V4, 24)
    host.give_address(OTHER, V6, 64)
    results = host.addresses.apply(OTHER, [RemoveAddress(V4), RemoveAddress(V6)])
    assert [type(r) for r in results] == [NotFound, NotFound]
    assert _held(host, OTHER) == {"10.96.0.10/24", "fd00:96::10/64"}


def test_a_thousand_addresses_go_in_one_call(host: Host) -> None:
    """More than one send holds; added twice, every single one is refused, in order."""
    host.make_interface(DUMMY)
    v4 = [Address((0x0A600000 + n).to_bytes(4, "big")) for n in range(500)]
    v6 = [Address(V6[:12] + n.to_bytes(4, "big")) for n in range(1, 501)]
    operations = [AddAddress(address) for pair in zip(v4, v6, strict=True) for address in pair]
    assert host.addresses.apply(DUMMY, operations) == [None] * 1000
    assert len(_held(host, DUMMY)) == 1000
    refused = host.addresses.apply(DUMMY, operations)
    assert {type(r) for r in refused} == {AlreadyExists}
    assert [str(r).partition(": EEXIST")[0] for r in refused] == [str(o) for o in operations]
    assert host.addresses.apply(DUMMY, [RemoveAddress(o.address) for o in operations]) == [None] * 1000
    assert _held(host, DUMMY) == set()


def test_an_interface_that_is_missing_is_reported(host: Host) -> None:
    """For the batch as a whole, and for removing it."""
    with pytest.raises(NotFound):
        host.addresses.apply(DUMMY, [AddAddress(V4)])
    with pytest.raises(NotFound):
        host.addresses.remove_link(DUMMY)


def test_nothing_comes_of_an_empty_batch(host: Host) -> None:
    """No answer, no error."""
    host.make_interface(DUMMY)
    assert host.addresses.apply(DUMMY, []) == []


def test_a_new_namespace_has_a_loopback_interface_only(host: Host) -> None:
    """Its kind is empty, as that of hardware is."""
    assert [(link.index, link.name, link.kind) for link in host.addresses.list_links()] == [(1, "lo", "")]


def test_a_dummy_interface_is_made_and_removed_with_its_addresses(ipvs_host: Host) -> None:
    """ADR-01: an interface that is created again has no addresses."""
    ipvs_host.addresses.add_dummy(DUMMY)
    first = {link.name: link for link in ipvs_host.addresses.list_links()}[DUMMY]
    assert first.kind == "dummy"
    ipvs_host.addresses.apply(DUMMY, [AddAddress(V4), AddAddress(V6)])
    ipvs_host.addresses.remove_link(DUMMY)
    assert [link.name for link in ipvs_host.addresses.list_links()] == ["lo"]
    assert _held(ipvs_host, DUMMY) == set()
    ipvs_host.addresses.add_dummy(DUMMY)
    again = {link.name: link for link in ipvs_host.addresses.list_links()}[DUMMY]
    assert again.index != first.index
    assert _held(ipvs_host, DUMMY) == set()


def test_the_name_of_a_dummy_interface_may_be_taken(ipvs_host: Host) -> None:
    """By another dummy interface as by any other."""
    ipvs_host.addresses.add_dummy(DUMMY)
    for name in (DUMMY, "lo"):
        with pytest.raises(AlreadyExists):
            ipvs_host.addresses.add_dummy(name)
