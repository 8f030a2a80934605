"""Links and addresses of the fake kernel, and notifications about them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence

from ipvsagent.errors import kernel_error
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.model.address import Address
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddAddress, AddressOperation
from ipvsagent.model.state import Link, LinkAddress


class FakeAddresses:
    """Links and their addresses; implements `api.Addresses`.

    A new kernel has the loopback interface with 127.0.0.1/8.

    Attributes:
        links: by name.
        held: prefix length by link name and address.
        listeners: called after a change with the link's name, the address (None: the link itself) and whether it exists
            now.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last_index = 1
        self.links: dict[str, Link] = {"lo": Link(1, "lo")}
        self.held: dict[tuple[str, Address], int] = {("lo", Address.parse("127.0.0.1")): 8}
        self.listeners: list[Callable[[str, Address | None, bool], None]] = []

    def list_links(self) -> list[Link]:
        """As in `api.Addresses`."""
        return list(self.links.values())

    def list_addresses(self) -> list[LinkAddress]:
        """As in `api.Addresses`."""
        return [LinkAddress(link, address, length) for (link, address), length in self.held.items()]

    def add_dummy(self, name: str) -> None:
        """As in `api.Addresses`."""
        self.put_link(name, "dummy")
        self._journal.record(f"add interface {name}")

    def remove_link(self, name: str) -> None:
        """As in `api.Addresses`."""
        if name not in self.links:
            raise kernel_error("remove interface", name, errno.ENODEV)
        for place in [p for p in self.held if p[0] == name]:
            self.take_address(*place)
        del self.links[name]
        self._tell(name, None, False)
        self._journal.record(f"remove interface {name}")

    def apply(self, link_name: str, operations: Sequence[AddressOperation]) -> Results:
        """As in `api.Addresses`."""
        self._require(link_name)
        self._journal.count_batch(len(operations))
        results: Results = []
        for operation in operations:
            number = self._carry_out(link_name, operation)
            results.append(kernel_error(str(operation), "", number) if number else None)
            if not number:
                self._journal.record(operation)
        return results

    def put_link(self, name: str, kind: str) -> None:
        """Create a network interface; `AlreadyExists` if the name is taken."""
        if name in self.links:
            raise kernel_error("add interface", name, errno.EEXIST)
        self._last_index += 1  # the kernel never reuses an index either
        self.links[name] = Link(self._last_index, name, kind)
        self._tell(name, None, True)

    def put_address(self, link_name: str, address: Address, prefix_length: int) -> None:
        """Add an address to an interface; `NotFound` if there is no such interface."""
        self._require(link_name)
        self.held[link_name, address] = prefix_length
        self._tell(link_name, address, True)

    def take_address(self, link_name: str, address: Address) -> None:
        """Remove an address, which must exist, from an interface."""
        del self.held[link_name, address]
        self._tell(link_name, address, False)

    def _carry_out(self, link_name: str, operation: AddressOperation) -> int:
        address = operation.address
        length = self.held.get((link_name, address))
        if isinstance(operation, AddAddress):
            if length is not None:
                return errno.EEXIST
            self.put_address(link_name, address, address.family.bits)
            return 0
        if length != address.family.bits:
            return errno.EADDRNOTAVAIL
        self.take_address(link_name, address)
        return 0

    def _require(self, link_name: str) -> None:
        if link_name not in self.links:
            raise kernel_error("find interface", link_name, errno.ENODEV)

    def _tell(self, link_name: str, address: Address | None, present: bool) -> None:
        for listener in self.listeners:
            listener(link_name, address, present)


class FakeMonitor:
    """Notifications about addresses, and about one dummy interface; implements `api.Monitor`.

    One thread reads; any thread may change the kernel or close.
    """

    def __init__(self, addresses: FakeAddresses, dummy_name: str) -> None:
        self._dummy_name = dummy_name
        self._news = threading.Condition()
        self._closed = False
        self._node_changed = False
        self._gone = False
        self._removed: dict[Address, None] = {}
        addresses.listeners.append(self._hear)

    def read(self) -> list[NodeAddressesChanged | DummyInterfaceChanged]:
        """As in `api.Monitor`; empty only after `close`."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._node_changed or self._gone or self._removed)
            events: list[NodeAddressesChanged | DummyInterfaceChanged] = []
            if self._closed:
                return events
            if self._node_changed:
                events.append(NodeAddressesChanged())
            if self._gone or self._removed:
                events.append(DummyInterfaceChanged(tuple(self._removed), self._gone))
            self._node_changed = self._gone = False
            self._removed = {}
            return events

    def close(self) -> None:
        """As in `api.Monitor`."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _hear(self, link_name: str, address: Address | None, present: bool) -> None:
        with self._news:
            if link_name != self._dummy_name:
                self._node_changed |= address is not None and not address.is_link_local_ipv6
            elif not present and address is None:
                self._gone = True
            elif not present and address is not None:
                self._removed[address] = None
            self._news.notify_all()
