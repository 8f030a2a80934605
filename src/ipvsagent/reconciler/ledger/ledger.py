"""The state that the kernel has acknowledged, and the state found when it was read.

Values in sync with the desired state are the same Python objects as in the desired state, so that holding both costs
little more memory than holding one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain

from ipvsagent.model.address import Address
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveRealServer,
    RemoveVirtualServer,
    SingleIpvsOperation,
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

UNUSABLE_WEIGHT = -1
"""Weight that stands for "must be set again": an adopted real server with wrong method or thresholds (DEV-17)."""


class EntryTable:
    """The entries of our ipsets, grouped by set so that the number of entries in each set is known."""

    def __init__(self) -> None:
        self._by_set: dict[str, set[SetEntry]] = {}

    def __contains__(self, entry: SetEntry) -> bool:
        return entry in self._by_set.get(entry.set_name, ())

    def __iter__(self) -> Iterator[SetEntry]:
        return chain.from_iterable(self._by_set.values())

    def of(self, set_name: str) -> AbstractSet[SetEntry]:
        """Return the entries of one set."""
        return self._by_set.get(set_name, frozenset())


class _MutableEntryTable(EntryTable):
    """The same table with methods that change it; only the ledger uses it."""

    def add(self, entries: Iterable[SetEntry]) -> None:
        by_set = self._by_set
        for entry in entries:
            by_set.setdefault(entry.set_name, set()).add(entry)

    def discard(self, entry: SetEntry) -> None:
        self._by_set.get(entry.set_name, set()).discard(entry)

    def replace(self, set_name: str, entries: Iterable[SetEntry]) -> None:
        self._by_set[set_name] = set(entries)

    def take_from(self, other: _MutableEntryTable) -> None:
        self._by_set = other._by_set


class Ledger:
    """The kernel's state as far as it is known; only the methods of this class change it.

    Attributes:
        virtual_servers: every virtual server, including those that others created.
        counted: the number of IPv4 virtual servers, which the kernel counts, too.
        foreign: keys of virtual servers that others created; they are changed only if a Service claims them, and
            never removed.
        addresses: on the dummy interface.
        entries: of our ipsets.
    """

    virtual_servers: Mapping[VirtualServerKey, VirtualServer]
    foreign: AbstractSet[VirtualServerKey]
    addresses: AbstractSet[Address]
    entries: EntryTable

    def __init__(self) -> None:
        self.virtual_servers = self._virtual_servers = dict[VirtualServerKey, VirtualServer]()
        self.foreign = self._foreign = set[VirtualServerKey]()
        self.addresses = self._addresses = set[Address]()
        self.entries = self._entries = _MutableEntryTable()
        self.counted = 0

    # -- what was read from the kernel -------------------------------------------------------------------------

    def replace_all(self, read: Ledger) -> None:
        """Take over the state just read from the whole kernel; the other ledger is not used afterwards."""
        self.virtual_servers = self._virtual_servers = read._virtual_servers
        self.foreign = self._foreign = read._foreign
        self.addresses = self._addresses = read._addresses
        self._entries.take_from(read._entries)
        self.counted = read.counted

    def mark_foreign(self, key: VirtualServerKey) -> None:
        """Note that another program created a virtual server."""
        self._foreign.add(key)

    def replace_addresses(self, found: Iterable[Address]) -> None:
        """Replace the addresses of the dummy interface."""
        self.addresses = self._addresses = set(found)

    def lose_addresses(self, gone: Iterable[Address]) -> None:
        """Note that the kernel reported addresses as removed."""
        self._addresses.difference_update(gone)

    def replace_entries(self, set_name: str, found: Iterable[SetEntry]) -> None:
        """Replace the entries of a set."""
        self._entries.replace(set_name, found)

    # -- what the kernel acknowledged --------------------------------------------------------------------------

    def claim(self, key: VirtualServerKey) -> None:
        """Note that a Service claims a virtual server: it is not foreign any more."""
        if self._foreign:
            self._foreign.discard(key)

    def hold(self, server: VirtualServer) -> None:
        """Note a virtual server with its settings and real servers."""
        key = server.key
        if key not in self._virtual_servers:
            self.counted += len(key.address) == 4
        self._virtual_servers[key] = server

    def forget(self, key: VirtualServerKey) -> None:
        """Note that a virtual server no longer exists."""
        if self._virtual_servers.pop(key, None) is not None:
            self.counted -= len(key.address) == 4
        self._foreign.discard(key)

    def add_address(self, address: Address) -> None:
        """Note an address on the dummy interface."""
        self._addresses.add(address)

    def remove_address(self, address: Address) -> None:
        """Note that an address is not on the dummy interface."""
        self._addresses.discard(address)

    def add_entries(self, entries: Iterable[SetEntry]) -> None:
        """Note entries of sets."""
        self._entries.add(entries)

    def remove_entry(self, entry: SetEntry) -> None:
        """Note that a set has no such entry."""
        self._entries.discard(entry)

    def acknowledge(self, operations: Iterable[SingleIpvsOperation]) -> None:
        """Record operations on virtual servers, in the order they were carried out."""
        for operation in operations:
            self._acknowledge(operation)

    def _acknowledge(self, operation: SingleIpvsOperation) -> None:
        match operation:
            case AddVirtualServer(virtual_server) | ChangeVirtualServer(virtual_server):
                held = self._virtual_servers.get(virtual_server.key)
                self._put(virtual_server, held.real_servers if held else ())
            case RemoveVirtualServer(key):
                self.forget(key)
            case AddRealServer(key, server) | ChangeRealServer(key, server):
                held = self._virtual_servers[key]
                self._put(held, (*_without(held.real_servers, server.address, server.port), server))
            case RemoveRealServer(key, address, port):
                held = self._virtual_servers[key]
                self._put(held, _without(held.real_servers, address, port))

    def _put(self, settings: VirtualServer, real_servers: tuple[RealServer, ...]) -> None:
        self.hold(
            VirtualServer(
                settings.key,
                settings.scheduler,
                settings.flags,
                settings.persistence_timeout_seconds,
                real_servers,
            )
        )


def from_observed(observed: ObservedVirtualServer) -> VirtualServer:
    """Convert a listed virtual server for the ledger (VS-07)."""
    return VirtualServer(
        observed.key,
        observed.scheduler,
        observed.flags,
        observed.persistence_timeout_seconds,
        tuple(_real_server(r) for r in observed.real_servers),
    )


def _real_server(observed: ObservedRealServer) -> RealServer:
    right = (
        observed.forwarding_method == ForwardingMethod.MASQUERADE
        and not observed.upper_threshold
        and not observed.lower_threshold
    )
    return RealServer(observed.address, observed.port, observed.weight if right else UNUSABLE_WEIGHT)


def _without(servers: tuple[RealServer, ...], address: Address, port: int) -> tuple[RealServer, ...]:
    return tuple(s for s in servers if s.address != address or s.port != port)
