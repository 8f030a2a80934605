"""What every monitor of links and addresses tells."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from lab.speed import scaled

from contract.hosts import Host
from ipvsagent.model.address import Address
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddAddress, RemoveAddress

DUMMY, OTHER = "kube-ipvs0", "eth7"
V4, V6 = Address.parse("10.96.0.10"), Address.parse("fd00:96::10")


def test_changes_of_other_interfaces_are_reported_once(host: Host) -> None:
    """Both coming and going, whichever family; many at once are one event."""
    host.make_interface(OTHER)
    monitor = host.monitor(DUMMY)
    for operations in ([AddAddress(V4), AddAddress(V6)], [RemoveAddress(V4)], [RemoveAddress(V6)]):
        assert host.addresses.apply(OTHER, operations) == [None] * len(operations)
        assert monitor.read() == [NodeAddressesChanged()]


def test_the_link_local_addresses_of_pods_are_no_news(host: Host) -> None:
    """ADR-06: they never count, and a busy node has one come or go with each pod; IPv4's are addresses as any other."""
    host.make_interface(OTHER)
    monitor = host.monitor(DUMMY)
    host.addresses.apply(OTHER, [AddAddress(Address.parse("fe80::77"))])
    host.make_interface(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V4), RemoveAddress(V4)])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V4,))]
    host.addresses.apply(OTHER, [AddAddress(Address.parse("169.254.7.7"))])
    assert monitor.read() == [NodeAddressesChanged()]


def test_additions_to_the_dummy_interface_are_no_news(host: Host) -> None:
    """The agent makes them itself; removals are reported by address and in order."""
    host.make_interface(DUMMY)
    monitor = host.monitor(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V4), AddAddress(V6)])
    host.addresses.apply(DUMMY, [RemoveAddress(V6), RemoveAddress(V4)])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V6, V4))]


def test_both_kinds_of_news_come_together(host: Host) -> None:
    """What waits is read at once."""
    host.make_interface(DUMMY)
    host.make_interface(OTHER)
    monitor = host.monitor(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V4), RemoveAddress(V4)])
    host.addresses.apply(OTHER, [AddAddress(V4)])
    assert monitor.read() == [NodeAddressesChanged(), DummyInterfaceChanged(removed=(V4,))]


def test_a_removed_dummy_interface_is_reported_with_its_addresses(host: Host) -> None:
    """An interface that is created again under the name is followed."""
    host.make_interface(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V4)])
    monitor = host.monitor(DUMMY)
    host.addresses.remove_link(DUMMY)
    assert monitor.read() == [DummyInterfaceChanged(removed=(V4,), gone=True)]
    host.make_interface(DUMMY)
    host.addresses.apply(DUMMY, [AddAddress(V6), RemoveAddress(V6)])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V6,))]


def test_another_interface_that_goes_takes_node_addresses_along(host: Host) -> None:
    """One that has none is no news."""
    host.make_interface(DUMMY)
    host.make_interface(OTHER)
    host.addresses.apply(OTHER, [AddAddress(V4)])
    monitor = host.monitor(DUMMY)
    host.addresses.remove_link(OTHER)
    assert monitor.read() == [NodeAddressesChanged()]
    host.make_interface(OTHER)
    host.addresses.remove_link(OTHER)
    host.addresses.apply(DUMMY, [AddAddress(V4), RemoveAddress(V4)])
    assert monitor.read() == [DummyInterfaceChanged(removed=(V4,))]


def test_closing_ends_a_pending_read(host: Host) -> None:
    """It returns an empty list, as every later one does; closing twice does no harm."""
    monitor = host.monitor(DUMMY)
    answers: queue.Queue[Sequence[NodeAddressesChanged | DummyInterfaceChanged]] = queue.Queue()
    reader = threading.Thread(target=lambda: answers.put(monitor.read()))
    reader.start()
    monitor.close()
    assert answers.get(timeout=scaled(30)) == []
    reader.join(timeout=scaled(30))
    assert not reader.is_alive()
    assert monitor.read() == []
    monitor.close()
