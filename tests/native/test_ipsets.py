"""The ipset driver on this machine's kernel; `ipset` says what came of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from ipvsagent.errors import AlreadyExists, Busy, InvalidRequest, NotFound, SetFull
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import AddEntry, EntryOperation, RemoveEntry
from ipvsagent.model.state import SetEntry, SetSpec, SetType
from ipvsagent.planner.sets import set_specs

V4, V6 = Address.parse("10.96.0.10"), Address.parse("fd00::10")
ADDRESSES = SetSpec("ADDRESSES", SetType.HASH_IP, Family.IPV4, 64)
SOURCES = SetSpec("SOURCES", SetType.HASH_IP_PORT_NET, Family.IPV4)
PORTS = SetSpec("PORTS", SetType.BITMAP_PORT, None)


@pytest.fixture
def driver(network_namespace: None) -> Iterator[IpSetDriver]:  # noqa: ARG001 - entered for its effect
    """A driver in a network namespace without sets."""
    opened = IpSetDriver()
    yield opened
    opened.close()


def _run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def _members(name: str) -> list[str]:
    """What `ipset` lists, sorted."""
    lines = _run(f"ipset save {name}").splitlines()
    return sorted(line.split(" ", 2)[2] for line in lines if line.startswith("add "))


def _address(number: int) -> SetEntry:
    return SetEntry("ADDRESSES", address=Address((0x0A000000 + number).to_bytes(4, "big")))


def _port(number: int) -> SetEntry:
    return SetEntry("PORTS", number)


def _source(port: int, length: int) -> SetEntry:
    return SetEntry("SOURCES", port, Protocol.TCP, V4, Address(bytes(4)), length)


@pytest.mark.parametrize("family", Family, ids=lambda f: f.label)
def test_every_set_of_the_agent_can_be_made_and_read_back(driver: IpSetDriver, family: Family) -> None:
    """SET-30: names, types, families and sizes are those of the specification; `ipset` understands them."""
    specs = set_specs(family)
    for spec in specs:
        driver.create(spec)
    listed = {s.name: s for s in driver.list_sets()}
    assert sorted(listed) == sorted(spec.name for spec in specs) == sorted(_run("ipset list -n").split())
    for spec in specs:
        found = listed[spec.name]
        assert (found.type, found.family, found.entries, found.references) == (spec.type.value, spec.family, 0, 0)
        if spec.type is SetType.BITMAP_PORT:
            assert "range 0-65535" in _run(f"ipset list -t {spec.name}")
        else:
            assert found.max_elements == spec.max_elements
            assert "hashsize 1024" in _run(f"ipset list -t {spec.name}")


@pytest.mark.parametrize(
    ("kind", "entry", "text"),
    [
        (SetType.BITMAP_PORT, SetEntry("S", 30080), "30080"),
        (SetType.HASH_IP, SetEntry("S", address=V4), "10.96.0.10"),
        (SetType.HASH_IP, SetEntry("S", address=V6), "fd00::10"),
        (SetType.HASH_IP_PORT, SetEntry("S", 53, Protocol.UDP, V4), "10.96.0.10,udp:53"),
        (SetType.HASH_IP_PORT, SetEntry("S", 9, Protocol.SCTP, V6), "fd00::10,sctp:9"),
        (SetType.HASH_IP_PORT_IP, SetEntry("S", 80, Protocol.TCP, V6, V6), "fd00::10,tcp:80,fd00::10"),
        (
            SetType.HASH_IP_PORT_NET,
            SetEntry("S", 80, Protocol.TCP, V4, Address.parse("192.0.2.0"), 24),
            "10.96.0.10,tcp:80,192.0.2.0/24",
        ),
        (SetType.HASH_IP_PORT_NET, SetEntry("S", 80, Protocol.TCP, V4, V4, 32), "10.96.0.10,tcp:80,10.96.0.10"),
        (SetType.HASH_IP_PORT_NET, SetEntry("S", 80, Protocol.TCP, V6, V6, 128), "fd00::10,tcp:80,fd00::10"),
    ],
)
def test_an_entry_reads_as_ipset_writes_it(driver: IpSetDriver, kind: SetType, entry: SetEntry, text: str) -> None:
    """SET-30, SET-33: adding twice and removing twice are no errors."""
    family = None if entry.address is None else entry.address.family
    spec = SetSpec("S", kind, family)
    driver.create(spec)
    assert driver.apply([AddEntry(entry), AddEntry(entry)]) == [None, None]
    assert _members("S") == [text]
    assert entry.text == text
    assert driver.list_entries(spec) == [entry]
    assert driver.apply([RemoveEntry(entry)]) == [None]
    assert driver.apply([RemoveEntry(entry)]) == [None]
    assert driver.list_entries(spec) == []


def test_an_impossible_entry_stops_nothing_else(driver: IpSetDriver) -> None:
    """SET-33: the kernel cannot hold a prefix of length 0, and ends the message at it."""
    driver.create(SOURCES)
    driver.create(PORTS)
    operations: list[EntryOperation] = [
        AddEntry(_source(1, 8)),
        AddEntry(_port(1)),
        AddEntry(_source(2, 0)),
        AddEntry(_source(3, 1)),
        AddEntry(SetEntry("MISSING", 1)),
        AddEntry(_source(4, 0)),
        AddEntry(_source(5, 32)),
        AddEntry(_port(2)),
    ]
    results = driver.apply(operations)
    assert [type(r) if r else None for r in results] == [
        *(None, None, InvalidRequest, None, NotFound, InvalidRequest, None, None)
    ]
    assert str(results[2]).startswith("add entry SOURCES 10.96.0.10,tcp:2,0.0.0.0/0")
    assert sorted(e.port for e in driver.list_entries(SOURCES)) == [1, 3, 5]
    assert sorted(e.port for e in driver.list_entries(PORTS)) == [1, 2]


def test_entries_behind_a_failing_one_keep_their_order(driver: IpSetDriver) -> None:
    """What is added and removed again behind the failing entry ends up removed, and the other way round."""
    driver.create(SOURCES)
    driver.apply([AddEntry(_source(9, 8))])
    results = driver.apply(
        [
            AddEntry(_source(1, 0)),
            AddEntry(_source(2, 8)),
            RemoveEntry(_source(2, 8)),
            RemoveEntry(_source(9, 8)),
            AddEntry(_source(9, 8)),
        ]
    )
    assert [r is None for r in results] == [False, True, True, True, True]
    assert [e.port for e in driver.list_entries(SOURCES)] == [9]


def test_a_full_set_takes_what_fits_and_names_the_rest(driver: IpSetDriver) -> None:
    """Entries that are in already are no errors, also behind those that found no room."""
    driver.create(ADDRESSES)
    driver.create(PORTS)
    operations: list[EntryOperation] = [AddEntry(_address(n)) for n in range(700)]
    results = driver.apply([*operations, AddEntry(_address(0)), AddEntry(_port(7))])
    refused = [r for r in results if r is not None]
    assert {type(r) for r in refused} == {SetFull}
    assert len(driver.list_entries(ADDRESSES)) == 700 - len(refused)
    assert results[-2:] == [None, None]
    assert [o.entry for o, r in zip(operations, results, strict=False) if r is None] == sorted(
        driver.list_entries(ADDRESSES), key=lambda e: e.address or b""
    )


def test_thousands_of_entries_of_interleaved_sets_arrive(driver: IpSetDriver) -> None:
    """More than one message and one send hold; the order of results is that of the operations."""
    big = SetSpec("ADDRESSES", SetType.HASH_IP, Family.IPV4)
    driver.create(big)
    driver.create(PORTS)
    operations: list[EntryOperation] = []
    for number in range(5000):
        operations += [AddEntry(_address(number)), AddEntry(_port(number))]
    assert driver.apply(operations) == [None] * 10000
    assert set(driver.list_entries(big)) == {_address(n) for n in range(5000)}
    assert set(driver.list_entries(PORTS)) == {_port(n) for n in range(5000)}
    assert {s.name: s.entries for s in driver.list_sets()} == {"ADDRESSES": 5000, "PORTS": 5000}
    assert driver.apply([RemoveEntry(o.entry) for o in operations]) == [None] * 10000
    assert driver.list_entries(big) == []


def test_sets_swap_while_a_rule_refers_to_one(driver: IpSetDriver) -> None:
    """A set that a rule refers to cannot go, but can be exchanged."""
    other = SetSpec("OTHER", SetType.HASH_IP, Family.IPV4, 128)
    driver.create(ADDRESSES)
    driver.create(other)
    driver.apply([AddEntry(_address(1))])
    _run("iptables-legacy -A INPUT -m set --match-set ADDRESSES dst -j ACCEPT")
    with pytest.raises(Busy):
        driver.destroy("ADDRESSES")
    driver.swap("ADDRESSES", "OTHER")
    assert {s.name: (s.entries, s.references) for s in driver.list_sets()} == {"ADDRESSES": (0, 1), "OTHER": (1, 0)}
    driver.destroy("OTHER")
    assert [s.name for s in driver.list_sets()] == ["ADDRESSES"]


def test_what_is_not_there_or_already_there_is_an_error(driver: IpSetDriver) -> None:
    """Creating, destroying, swapping and listing are strict."""
    driver.create(ADDRESSES)
    driver.create(PORTS)
    with pytest.raises(AlreadyExists):
        driver.create(ADDRESSES)
    with pytest.raises(AlreadyExists):
        driver.create(SetSpec("PORTS", SetType.HASH_IP, Family.IPV6))
    with pytest.raises(InvalidRequest):
        driver.swap("ADDRESSES", "PORTS")
    for first, second in (("ADDRESSES", "MISSING"), ("MISSING", "ADDRESSES")):
        with pytest.raises(NotFound):
            driver.swap(first, second)
    with pytest.raises(NotFound):
        driver.destroy("MISSING")
    with pytest.raises(NotFound):
        driver.list_entries(SetSpec("MISSING", SetType.HASH_IP, Family.IPV4))


def test_a_foreign_set_is_listed_by_its_own_type(driver: IpSetDriver) -> None:
    """Types that the agent does not use, and extensions, do not confuse it."""
    _run("ipset create THEIRS hash:net,iface timeout 300 counters comment")
    _run("ipset create ADDRESSES hash:ip timeout 300 counters comment")
    _run("ipset add ADDRESSES 10.0.0.1 comment note")
    found = {s.name: (s.type, s.family) for s in driver.list_sets()}
    assert found == {"THEIRS": ("hash:net,iface", Family.IPV4), "ADDRESSES": ("hash:ip", Family.IPV4)}
    assert driver.list_entries(ADDRESSES) == [_address(1)]
