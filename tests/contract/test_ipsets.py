"""What every driver of ipsets does; how rules and sets depend on each other is in `test_rules`."""

from __future__ import annotations

import pytest

from contract.hosts import Host
from ipvsagent.errors import AlreadyExists, InvalidRequest, KernelError, NotFound, SetFull
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import AddEntry, EntryOperation, RemoveEntry
from ipvsagent.model.state import SetEntry, SetSpec, SetType

V4, POD_4 = Address.parse("10.96.0.10"), Address.parse("10.200.0.1")
V6, POD_6 = Address.parse("fd00:96::10"), Address.parse("fd00:200::1")
SMALL = SetSpec("TEST-SMALL", SetType.HASH_IP, Family.IPV4, 4)
SOURCES = SetSpec("TEST-SOURCES", SetType.HASH_IP_PORT_NET, Family.IPV4)
PORTS = SetSpec("TEST-PORTS", SetType.BITMAP_PORT, None)
VIPS_6 = SetSpec("TEST-VIPS-6", SetType.HASH_IP_PORT, Family.IPV6, 200_000)


def _source(port: int, prefix_length: int) -> SetEntry:
    return SetEntry(SOURCES.name, port, Protocol.TCP, V4, Address(bytes(4)), prefix_length)


def _address(number: int, set_name: str = SMALL.name) -> SetEntry:
    return SetEntry(set_name, address=Address((0x0A000000 + number).to_bytes(4, "big")))


def _listed(host: Host, spec: SetSpec) -> set[SetEntry]:
    found = host.ip_sets.list_entries(spec)
    assert len(set(found)) == len(found)
    return set(found)


def _sets(host: Host) -> dict[str, tuple[str, Family | None, int, int]]:
    return {s.name: (s.type, s.family, s.max_elements, s.entries) for s in host.ip_sets.list_sets()}


def test_sets_are_listed_with_what_they_were_created_with(host: Host) -> None:
    """SET-30: type, family and size; a bitmap has no family, and the size of its range."""
    for spec in (SMALL, PORTS, VIPS_6):
        host.ip_sets.create(spec)
    host.ip_sets.apply([AddEntry(SetEntry(PORTS.name, 80)), AddEntry(SetEntry(PORTS.name, 443))])
    assert _sets(host) == {
        "TEST-SMALL": ("hash:ip", Family.IPV4, 4, 0),
        "TEST-PORTS": ("bitmap:port", None, 65536, 2),
        "TEST-VIPS-6": ("hash:ip,port", Family.IPV6, 200_000, 0),
    }


@pytest.mark.parametrize(
    ("kind", "entries"),
    [
        (SetType.BITMAP_PORT, [SetEntry("S", 0), SetEntry("S", 30080), SetEntry("S", 65535)]),
        (SetType.HASH_IP, [SetEntry("S", address=V4), SetEntry("S", address=POD_4)]),
        (SetType.HASH_IP, [SetEntry("S", address=V6), SetEntry("S", address=POD_6)]),
        (SetType.HASH_IP_PORT, [SetEntry("S", 53, protocol, V4) for protocol in Protocol]),
        (SetType.HASH_IP_PORT, [SetEntry("S", 53, protocol, V6) for protocol in Protocol]),
        (
            SetType.HASH_IP_PORT_IP,
            [SetEntry("S", 80, Protocol.TCP, V4, POD_4), SetEntry("S", 80, Protocol.TCP, V4, V4)],
        ),
        (SetType.HASH_IP_PORT_IP, [SetEntry("S", 80, Protocol.SCTP, V6, POD_6)]),
        (
            SetType.HASH_IP_PORT_NET,
            [
                SetEntry("S", 80, Protocol.UDP, V4, Address.parse("192.0.2.0"), 24),
                SetEntry("S", 80, Protocol.UDP, V4, Address.parse("192.0.2.0"), 25),
                SetEntry("S", 80, Protocol.UDP, V4, POD_4, 32),
                SetEntry("S", 80, Protocol.UDP, V4, Address.parse("128.0.0.0"), 1),
            ],
        ),
        (
            SetType.HASH_IP_PORT_NET,
            [
                SetEntry("S", 80, Protocol.TCP, V6, Address.parse("fd00:200::"), 56),
                SetEntry("S", 80, Protocol.TCP, V6, POD_6, 128),
            ],
        ),
    ],
)
def test_what_is_added_is_listed(host: Host, kind: SetType, entries: list[SetEntry]) -> None:
    """SET-30, SET-33: twice added is once there; twice removed is gone, and neither is an error."""
    first = entries[0].address
    spec = SetSpec("S", kind, first.family if first else None)
    host.ip_sets.create(spec)
    assert host.ip_sets.apply([AddEntry(e) for e in (*entries, *entries)]) == [None] * len(entries) * 2
    assert _listed(host, spec) == set(entries)
    assert host.ip_sets.apply([RemoveEntry(entries[0]), RemoveEntry(entries[0])]) == [None, None]
    assert _listed(host, spec) == set(entries[1:])


def test_the_operations_of_a_batch_take_effect_in_their_order(host: Host) -> None:
    """Within each set."""
    host.ip_sets.create(SMALL)
    one, two = _address(1), _address(2)
    operations: list[EntryOperation] = [AddEntry(one), RemoveEntry(one), RemoveEntry(two), AddEntry(two)]
    assert host.ip_sets.apply(operations) == [None] * 4
    assert _listed(host, SMALL) == {two}


def test_refused_entries_stop_nothing_else(host: Host) -> None:
    """Each answer belongs to its operation, whichever set it is for."""
    for spec in (SMALL, SOURCES, PORTS):
        host.ip_sets.create(spec)
    operations: list[EntryOperation] = [
        AddEntry(_source(1, 1)),
        AddEntry(_source(2, 0)),
        AddEntry(SetEntry("TEST-ABSENT", 1)),
        *(AddEntry(_address(n)) for n in range(5)),
        RemoveEntry(SetEntry("TEST-ABSENT", 1)),
        AddEntry(_source(3, 8)),
        AddEntry(SetEntry(PORTS.name, 80)),
        RemoveEntry(_source(4, 0)),
        AddEntry(_address(0)),
        AddEntry(_source(5, 32)),
    ]
    results = host.ip_sets.apply(operations)
    assert [type(r) if r else None for r in results] == [
        *(None, InvalidRequest, NotFound),
        *(None, None, None, None, SetFull),
        *(NotFound, None, None, InvalidRequest, None, None),
    ]
    assert all(str(r).startswith(str(o)) for r, o in zip(results, operations, strict=True) if r)
    assert {e.port for e in _listed(host, SOURCES)} == {1, 3, 5}
    assert _listed(host, SMALL) == {_address(n) for n in range(4)}
    assert {e.port for e in _listed(host, PORTS)} == {80}


def test_a_full_set_takes_an_entry_for_one_that_goes(host: Host) -> None:
    """The size bounds what is in it, not what was."""
    host.ip_sets.create(SMALL)
    assert host.ip_sets.apply([AddEntry(_address(n)) for n in range(4)]) == [None] * 4
    results = host.ip_sets.apply([AddEntry(_address(9)), RemoveEntry(_address(0)), AddEntry(_address(8))])
    assert [type(r) for r in results] == [SetFull, type(None), type(None)]
    assert _listed(host, SMALL) == {_address(n) for n in (1, 2, 3, 8)}


def test_a_set_takes_only_entries_of_its_family(host: Host) -> None:
    """IPv6 in a set for IPv4, and the other way round."""
    host.ip_sets.create(SMALL)
    host.ip_sets.create(VIPS_6)
    results = host.ip_sets.apply(
        [AddEntry(SetEntry(SMALL.name, address=V6)), AddEntry(SetEntry(VIPS_6.name, 80, Protocol.TCP, V4))]
    )
    assert [isinstance(r, KernelError) for r in results] == [True, True]
    assert _listed(host, SMALL) == _listed(host, VIPS_6) == set()


def test_thousands_of_operations_on_many_sets_go_in_one_call(host: Host) -> None:
    """More than one message and one send hold."""
    large = SetSpec("TEST-LARGE", SetType.HASH_IP, Family.IPV4)
    host.ip_sets.create(large)
    host.ip_sets.create(PORTS)
    operations: list[EntryOperation] = []
    for number in range(1000):
        operations += [AddEntry(_address(number, large.name)), AddEntry(SetEntry(PORTS.name, number))]
    assert host.ip_sets.apply(operations) == [None] * 2000
    assert _listed(host, large) == {_address(n, large.name) for n in range(1000)}
    assert {e.port for e in _listed(host, PORTS)} == set(range(1000))
    assert host.ip_sets.apply([RemoveEntry(o.entry) for o in operations]) == [None] * 2000
    assert _listed(host, large) == _listed(host, PORTS) == set()


def test_nothing_comes_of_an_empty_batch(host: Host) -> None:
    """No answer, no error."""
    assert host.ip_sets.apply([]) == []
    assert host.ip_sets.list_sets() == []


def test_sets_exchange_entries_and_size(host: Host) -> None:
    """SET-30: how a set grows; each keeps its name."""
    larger = SetSpec("TEST-LARGER", SetType.HASH_IP, Family.IPV4, 128)
    host.ip_sets.create(SMALL)
    host.ip_sets.create(larger)
    host.ip_sets.apply([AddEntry(_address(1)), AddEntry(_address(2, larger.name))])
    host.ip_sets.swap(SMALL.name, larger.name)
    assert _listed(host, SMALL) == {_address(2)}
    assert _listed(host, larger) == {_address(1, larger.name)}
    assert {name: found[2] for name, found in _sets(host).items()} == {SMALL.name: 128, larger.name: 4}


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (SetSpec("TEST-OTHER", SetType.HASH_IP, Family.IPV6), InvalidRequest),
        (SetSpec("TEST-OTHER", SetType.HASH_IP_PORT, Family.IPV4), InvalidRequest),
        (None, NotFound),
    ],
    ids=["family", "type", "absent"],
)
def test_only_sets_of_one_type_and_family_are_exchanged(
    host: Host, other: SetSpec | None, error: type[KernelError]
) -> None:
    """Both have to be there."""
    host.ip_sets.create(SMALL)
    if other:
        host.ip_sets.create(other)
    for names in ((SMALL.name, "TEST-OTHER"), ("TEST-OTHER", SMALL.name)):
        with pytest.raises(error):
            host.ip_sets.swap(*names)


def test_a_set_cannot_be_created_under_the_name_of_another(host: Host) -> None:
    """The same set, or another: creating is strict."""
    host.ip_sets.create(SMALL)
    for taken in (SMALL, SetSpec(SMALL.name, SetType.BITMAP_PORT, None)):
        with pytest.raises(AlreadyExists):
            host.ip_sets.create(taken)


def test_a_missing_set_is_reported(host: Host) -> None:
    """When it is destroyed or listed."""
    host.ip_sets.create(SMALL)
    host.ip_sets.destroy(SMALL.name)
    with pytest.raises(NotFound):
        host.ip_sets.destroy(SMALL.name)
    with pytest.raises(NotFound):
        host.ip_sets.list_entries(SMALL)


def test_a_set_that_holds_entries_can_be_destroyed(host: Host) -> None:
    """A set that is created again is empty."""
    host.ip_sets.create(SMALL)
    host.ip_sets.apply([AddEntry(_address(1))])
    host.ip_sets.destroy(SMALL.name)
    host.ip_sets.create(SMALL)
    assert _listed(host, SMALL) == set()
