"""From desired state and ledger to the operations that are needed, and to no others.

Invariant: make before break. Within a virtual server, real servers are added before others are drained or removed;
settings change in place, never by removing and adding (design, section 2).
"""

from __future__ import annotations

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
from ipvsagent.model.state import RealServer, VirtualServer


def diff_virtual_server(
    held: VirtualServer | None, wanted: VirtualServer | None
) -> tuple[list[IpvsOperation], tuple[RealServer, ...]]:
    """Compare what the kernel holds with what it should hold under one key.

    A surplus real server of a TCP virtual server gets weight 0 and stays until it is idle (GT-03); those of UDP and
    SCTP go at once (GT-02).

    Args:
        held: None: the kernel has no such virtual server.
        wanted: None: it should have none.

    Returns:
        The operations, and the real servers that drain once they are carried out.
    """
    if held is wanted:
        return [], ()
    if wanted is None:
        return ([RemoveVirtualServer(held.key)] if held else []), ()
    key = wanted.key
    if held is None:
        adding: list[IpvsOperation] = [AddVirtualServer(wanted)]
        if wanted.real_servers:
            adding.append(AddRealServers(key, wanted.real_servers))
        return adding, ()
    operations: list[IpvsOperation] = []
    if held.settings != wanted.settings:
        operations.append(ChangeVirtualServer(wanted))
    surplus = {(s.address, s.port): s for s in held.real_servers}
    for server in wanted.real_servers:
        known = surplus.pop((server.address, server.port), None)
        if known is None:
            operations.append(AddRealServer(key, server))
        elif known.weight != server.weight:
            operations.append(ChangeRealServer(key, server))
    if key.protocol is not Protocol.TCP:
        operations += [RemoveRealServer(key, address, port) for address, port in surplus]
        return operations, ()
    draining = tuple(RealServer(s.address, s.port, 0) for s in surplus.values())
    operations += [
        ChangeRealServer(key, quiet) for quiet, s in zip(draining, surplus.values(), strict=True) if s.weight
    ]
    return operations, draining
