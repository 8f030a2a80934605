"""From what the kernel holds and what it should hold to the operations that are needed, and to no others.

Invariant: make before break. Within a virtual server, real servers are added before others are drained or removed;
settings change in place, never by removing and adding (DEV-47).

A scheduler that hashes goes on choosing a real server that drains, and its weight of 0 refuses the client. So while one
drains, and only then, the virtual server may fall back to the others (DEV-16): the flag is set before the weight goes
and taken back when nothing drains any more. A flag alone leaves the scheduler as it is.
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
    """What one virtual server needs.

    Args:
        before: what the kernel holds; None: no such virtual server.
        after: what it holds once the operations are carried out; None: no such virtual server.
        operations: empty if the kernel holds it already.
        draining: the real servers that drain then.
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

    A surplus real server of a TCP virtual server gets weight 0 and stays until it is idle (GT-03); those of UDP and
    SCTP are removed at once (GT-02).

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
    """What the kernel holds for a desired virtual server as long as these real servers drain."""
    if not draining:
        return wanted
    flags = wanted.flags
    if wanted.real_servers and wanted.scheduler in _CAN_FALL_BACK:
        flags |= _FALL_BACK
    return replace(wanted, flags=flags, real_servers=(*wanted.real_servers, *draining))


def _with_settings(operations: list[IpvsOperation], held: VirtualServer, wanted: VirtualServer) -> list[IpvsOperation]:
    """Put the change of settings, if any is needed, first; last where it takes falling back away."""
    if held.settings == wanted.settings:
        return operations
    change = ChangeVirtualServer(wanted)
    return [*operations, change] if held.flags & ~wanted.flags & _FALL_BACK else [change, *operations]
