"""Compute the operations that change what the kernel holds into what it should hold, and no others.

Invariant: make before break. Within a virtual server, real servers are added before others are drained or removed;
settings change in place, never by removing and adding (DEV-47).

A hashing scheduler continues to choose a draining real server, and its weight of 0 refuses the client. So only while a
real server drains, the virtual server has the flag to fall back to the others (DEV-16): it is set before the weight
becomes 0 and cleared when nothing drains any more. Changing only a flag keeps the scheduler's state.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ipvsagent.model.address import Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddRealServers,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import FLAG_SCHEDULER_1, RealServer, VirtualServer, VirtualServerKey

_FALL_BACK = FLAG_SCHEDULER_1
_CAN_FALL_BACK = frozenset({"sh", "mh"})


class ServerChange(NamedTuple):
    """The change of one virtual server.

    Args:
        before: what the kernel holds; None: no such virtual server.
        after: what it holds after the operations; None: no such virtual server.
        operations: empty if nothing must change.
        draining: the real servers that drain after the operations.
    """

    key: VirtualServerKey
    before: VirtualServer | None
    after: VirtualServer | None
    operations: list[IpvsOperation]
    draining: tuple[RealServer, ...] = ()


def diff_virtual_server(
    key: VirtualServerKey, held: VirtualServer | None, wanted: VirtualServer | None
) -> ServerChange:
    """Compare what the kernel holds with what it should hold under one key.

    A surplus real server of a TCP virtual server gets weight 0 and stays until it is idle (GT-03); for UDP and
    SCTP it is removed immediately (GT-02).

    Args:
        held: None: the kernel has no such virtual server.
        wanted: None: it should have none.
    """
    if held is wanted:
        return ServerChange(key, held, wanted, [])
    if wanted is None:
        return ServerChange(key, held, None, [RemoveVirtualServer(key)])
    if held is None:
        adding: list[IpvsOperation] = [AddVirtualServer(wanted)]
        if wanted.real_servers:
            adding.append(AddRealServers(key, wanted.real_servers))
        return ServerChange(key, None, wanted, adding)
    operations: list[IpvsOperation] = []
    surplus = {(s.address, s.port): s for s in held.real_servers}
    for server in wanted.real_servers:
        known = surplus.pop((server.address, server.port), None)
        if known is None:
            operations.append(AddRealServer(key, server))
        elif known.weight != server.weight:
            operations.append(ChangeRealServer(key, server))
    if key.protocol is not Protocol.TCP:
        operations += [RemoveRealServer(key, address, port) for address, port in surplus]
        return ServerChange(key, held, wanted, _with_settings(operations, held, wanted))
    draining = tuple(RealServer(s.address, s.port, 0) for s in surplus.values())
    operations += [
        ChangeRealServer(key, quiet) for quiet, s in zip(draining, surplus.values(), strict=True) if s.weight
    ]
    after = _while_draining(wanted, draining)
    return ServerChange(key, held, after, _with_settings(operations, held, after), draining)


def _while_draining(wanted: VirtualServer, draining: tuple[RealServer, ...]) -> VirtualServer:
    """Return what the kernel holds for a desired virtual server while these real servers drain."""
    if not draining:
        return wanted
    flags = wanted.flags
    if wanted.real_servers and wanted.scheduler in _CAN_FALL_BACK:
        flags |= _FALL_BACK
    return replace(wanted, flags=flags, real_servers=(*wanted.real_servers, *draining))


def _with_settings(operations: list[IpvsOperation], held: VirtualServer, wanted: VirtualServer) -> list[IpvsOperation]:
    """Put a needed change of settings first; last if it clears the flag to fall back."""
    if held.settings == wanted.settings:
        return operations
    change = ChangeVirtualServer(wanted)
    return [*operations, change] if held.flags & ~wanted.flags & _FALL_BACK else [change, *operations]
