"""The address driver and its monitor on this machine's kernel; a veth stands for the dummy interface."""

from __future__ import annotations

import queue
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from lab.speed import scaled

from ipvsagent.errors import AlreadyExists, NotFound
from ipvsagent.kernel.netlink.addresses import AddressDriver, RtnetlinkMonitor
from ipvsagent.model.address import Address
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddAddress, AddressOperation, RemoveAddress

DUMMY = "kube-ipvs0"
V4, V6 = Address.parse("10.96.0.1"), Address.parse("fd00::1")
Events = list[NodeAddressesChanged | DummyInterfaceChanged]


@pytest.fixture
def driver(network_namespace: None) -> Iterator[AddressDriver]:  # noqa: ARG001 - entered for its effect
    """A driver in a network namespace with an interface instead of the dummy one, and another."""
    _ip(f"link add {DUMMY} type veth peer name other")
    opened = AddressDriver()
    yield opened
    opened.close()


@pytest.fixture
def monitor(driver: AddressDriver) -> Iterator[RtnetlinkMonitor]:  # noqa: ARG001 - made after the interfaces
    """A monitor that is up to date."""
    opened = RtnetlinkMonitor(DUMMY)
    yield opened
    opened.close()


def _ip(arguments: str) -> str:
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True).stdout


def _numbered(number: int) -> Address:
    return Address((0x0A600000 + number).to_bytes(4, "big"))


def _until_read(monitor: RtnetlinkMonitor, wanted: NodeAddressesChanged | DummyInterfaceChanged) -> Events:
    """Read until an event comes."""
    heard: Events = []
    while wanted not in heard:
        heard += monitor.read()
    return heard


def test_addresses_are_bound_for_one_host_and_without_duplicate_detection(driver: AddressDriver) -> None:
    """ADR-02: full length, global scope; IPv6 is usable at once."""
    assert driver.apply(DUMMY, [AddAddress(V4), AddAddress(V6)]) == [None, None]
    shown = _ip(f"-o address show dev {DUMMY}")
    assert "inet 10.96.0.1/32 scope global" in shown
    assert "inet6 fd00::1/128 scope global nodad" in shown
    found = {(a.address, a.prefix_length) for a in driver.list_addresses() if a.link_name == DUMMY}
    assert found == {(V4, 32), (V6, 128)}


def test_a_failing_address_stops_nothing_else(driver: AddressDriver) -> None:
    """Results are in the order of the operations."""
    driver.apply(DUMMY, [AddAddress(V4), AddAddress(V6)])
    operations: list[AddressOperation] = [
        AddAddress(V4),
        AddAddress(V6),
        AddAddress(_numbered(9)),
        RemoveAddress(_numbered(8)),
        RemoveAddress(Address.parse("fd00::8")),
        RemoveAddress(V4),
        RemoveAddress(V6),
    ]
    results = driver.apply(DUMMY, operations)
    assert [type(r) if r else None for r in results] == [
        *(AlreadyExists, AlreadyExists, None, NotFound, NotFound, None, None)
    ]
    assert [a.address for a in driver.list_addresses() if a.link_name == DUMMY] == [_numbered(9)]


def test_a_thousand_addresses_come_and_go_in_one_call(driver: AddressDriver) -> None:
    """Several sends, each with one acknowledgement."""
    addresses = [_numbered(n) for n in range(1000)]
    assert driver.apply(DUMMY, [AddAddress(a) for a in addresses]) == [None] * 1000
    assert sorted(a.address for a in driver.list_addresses() if a.link_name == DUMMY) == addresses
    assert driver.apply(DUMMY, [RemoveAddress(a) for a in addresses]) == [None] * 1000
    assert [a for a in driver.list_addresses() if a.link_name == DUMMY] == []


def test_links_have_their_kind(driver: AddressDriver) -> None:
    """ADR-01: an interface of another kind is not ours."""
    assert {link.name: link.kind for link in driver.list_links()} == {"lo": "", DUMMY: "veth", "other": "veth"}


def test_a_missing_interface_is_reported(driver: AddressDriver) -> None:
    """Removing it, or addresses of it, is `NotFound`."""
    driver.remove_link(DUMMY)
    assert [link.name for link in driver.list_links()] == ["lo"]
    with pytest.raises(NotFound):
        driver.remove_link(DUMMY)
    with pytest.raises(NotFound):
        driver.apply(DUMMY, [AddAddress(V4)])


def test_the_monitor_tells_changes_of_other_interfaces(driver: AddressDriver, monitor: RtnetlinkMonitor) -> None:
    """Many changes at once are reported once; the agent's own additions are not reported."""
    driver.apply(DUMMY, [AddAddress(V4)])
    driver.apply("other", [AddAddress(_numbered(n)) for n in range(1, 100)])
    assert monitor.read() == [NodeAddressesChanged()]
    driver.apply("other", [RemoveAddress(_numbered(5))])
    assert monitor.read() == [NodeAddressesChanged()]


def test_the_monitor_tells_which_addresses_left_the_dummy_interface(
    driver: AddressDriver, monitor: RtnetlinkMonitor
) -> None:
    """Whoever removed them."""
    driver.apply(DUMMY, [AddAddress(V4), AddAddress(V6), AddAddress(_numbered(7))])
    driver.apply(DUMMY, [RemoveAddress(V6), RemoveAddress(_numbered(7))])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V6, _numbered(7)))]


def test_the_monitor_tells_that_the_dummy_interface_went_and_follows_a_new_one(
    driver: AddressDriver, monitor: RtnetlinkMonitor
) -> None:
    """The new one has another index."""
    driver.apply(DUMMY, [AddAddress(V4)])
    driver.remove_link(DUMMY)
    assert monitor.read() == [DummyInterfaceChanged(removed=(V4,), gone=True)]
    _ip(f"link add {DUMMY} type veth peer name other")
    driver.apply(DUMMY, [AddAddress(V4), RemoveAddress(V4)])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V4,))]


def test_the_monitor_reports_a_renamed_interface_as_gone(driver: AddressDriver, monitor: RtnetlinkMonitor) -> None:
    """Under its new name its addresses are those of the node."""
    _ip(f"link set {DUMMY} name theirs")
    assert monitor.read() == [DummyInterfaceChanged(gone=True)]
    driver.apply("theirs", [AddAddress(V4)])
    assert monitor.read() == [NodeAddressesChanged()]


def test_lost_notifications_come_back_as_everything_changed(driver: AddressDriver, monitor: RtnetlinkMonitor) -> None:
    """ENOBUFS: the interface may have been created again meanwhile, and is followed."""
    monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)  # noqa: SLF001 - room for three notifications or so
    driver.apply("other", [AddAddress(_numbered(n)) for n in range(1, 100)])
    assert monitor.read() == [NodeAddressesChanged(), DummyInterfaceChanged(gone=True)]
    driver.apply("other", [RemoveAddress(_numbered(n)) for n in range(1, 100)])
    driver.remove_link(DUMMY)
    _ip(f"link add {DUMMY} type veth peer name other")
    assert monitor.read() == [NodeAddressesChanged(), DummyInterfaceChanged(gone=True)]
    driver.apply(DUMMY, [AddAddress(V4), RemoveAddress(V4)])
    assert _until_read(monitor, DummyInterfaceChanged(removed=(V4,)))


@pytest.mark.usefixtures("network_namespace")
def test_closing_ends_a_pending_read() -> None:
    """The reading thread gets an empty list, now and later; closing twice does no harm."""
    monitor = RtnetlinkMonitor(DUMMY)
    answers: queue.Queue[Events] = queue.Queue()
    reader = threading.Thread(target=lambda: answers.put(monitor.read()))
    reader.start()
    monitor.close()
    assert answers.get(timeout=scaled(10)) == []
    reader.join(timeout=scaled(10))
    assert not reader.is_alive()
    assert monitor.read() == []
    monitor.close()
