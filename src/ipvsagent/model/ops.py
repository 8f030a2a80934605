"""Changes to the kernel, as values: the diff makes them, the drivers apply them, tests count them.

Operations are strict, like the kernel: it is an error to add an item that exists, and to change or remove one that does
not. (ipset entries are the exception: see `kernel.api.IpSets`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from ipvsagent.model.address import Address
from ipvsagent.model.state import RealServer, SetEntry, VirtualServer, VirtualServerKey, endpoint_text


class AddVirtualServer(Struct, frozen=True, gc=False, tag=True):
    """Create a virtual server; separate operations add its real servers."""

    virtual_server: VirtualServer

    def __str__(self) -> str:
        return f"add virtual server {self.virtual_server.key}"


class ChangeVirtualServer(Struct, frozen=True, gc=False, tag=True):
    """Set scheduler, flags and persistence of an existing virtual server; connections stay."""

    virtual_server: VirtualServer

    def __str__(self) -> str:
        return f"change virtual server {self.virtual_server.key}"


class RemoveVirtualServer(Struct, frozen=True, gc=False, tag=True):
    """Remove a virtual server with all its real servers."""

    key: VirtualServerKey

    def __str__(self) -> str:
        return f"remove virtual server {self.key}"


class AddRealServer(Struct, frozen=True, gc=False, tag=True):
    """Add a real server (masquerading, thresholds 0)."""

    key: VirtualServerKey
    real_server: RealServer

    def __str__(self) -> str:
        return f"add real server {self.real_server} to {self.key}"


class AddRealServers(Struct, frozen=True, gc=False, tag=True):
    """Add several real servers; it has one result for each, in order, like separate `AddRealServer` operations.

    Most operations of a first sync add real servers. As one value, the common part of their messages is encoded once.
    """

    key: VirtualServerKey
    real_servers: tuple[RealServer, ...]

    def __str__(self) -> str:
        return f"add {len(self.real_servers)} real servers to {self.key}"


class ChangeRealServer(Struct, frozen=True, gc=False, tag=True):
    """Set weight, forwarding method (masquerading) and thresholds (0) of an existing real server."""

    key: VirtualServerKey
    real_server: RealServer

    def __str__(self) -> str:
        return f"set weight {self.real_server.weight} of real server {self.real_server} of {self.key}"


class RemoveRealServer(Struct, frozen=True, gc=False, tag=True):
    """Remove a real server."""

    key: VirtualServerKey
    address: Address
    port: int

    def __str__(self) -> str:
        return f"remove real server {endpoint_text(self.address, self.port)} of {self.key}"


class AddAddress(Struct, frozen=True, gc=False, tag=True):
    """Add an address to the dummy interface, as /32 or /128 (ADR-02)."""

    address: Address

    def __str__(self) -> str:
        return f"add address {self.address}"


class RemoveAddress(Struct, frozen=True, gc=False, tag=True):
    """Remove an address from the dummy interface."""

    address: Address

    def __str__(self) -> str:
        return f"remove address {self.address}"


class AddEntry(Struct, frozen=True, gc=False, tag=True):
    """Add an entry to its ipset."""

    entry: SetEntry

    def __str__(self) -> str:
        return f"add entry {self.entry}"


class RemoveEntry(Struct, frozen=True, gc=False, tag=True):
    """Remove an entry from its ipset."""

    entry: SetEntry

    def __str__(self) -> str:
        return f"remove entry {self.entry}"


SingleIpvsOperation = (
    AddVirtualServer | ChangeVirtualServer | RemoveVirtualServer | AddRealServer | ChangeRealServer | RemoveRealServer
)
"""Operations that are one message, and so have one result."""

IpvsOperation = SingleIpvsOperation | AddRealServers
AddressOperation = AddAddress | RemoveAddress
EntryOperation = AddEntry | RemoveEntry
Operation = IpvsOperation | AddressOperation | EntryOperation


def one_by_one(operations: Iterable[IpvsOperation]) -> Iterator[SingleIpvsOperation]:
    """Split operations so that each has one result."""
    for operation in operations:
        if isinstance(operation, AddRealServers):
            for server in operation.real_servers:
                yield AddRealServer(operation.key, server)
        else:
            yield operation


def count_results(operations: Iterable[IpvsOperation]) -> int:
    """Return the number of results of these operations."""
    return sum([len(o.real_servers) if isinstance(o, AddRealServers) else 1 for o in operations])
