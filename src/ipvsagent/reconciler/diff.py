"""From desired state and ledger to the operations that are needed, and to no others.

Invariant: make before break. Within a virtual server, real servers are added before others are removed;
settings change in place, never by removing and adding (design, section 2).
"""

from __future__ import annotations

from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import VirtualServer


def diff_virtual_server(held: VirtualServer | None, wanted: VirtualServer | None) -> list[IpvsOperation]:
    """Compare what the kernel holds with what it should hold under one key.

    Args:
        held: None: the kernel has no such virtual server.
        wanted: None: it should have none.
    """
    if held is wanted:
        return []
    if wanted is None:
        return [RemoveVirtualServer(held.key)] if held else []
    key = wanted.key
    if held is None:
        return [AddVirtualServer(wanted), *(AddRealServer(key, s) for s in wanted.real_servers)]
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
    operations += [RemoveRealServer(key, address, port) for address, port in surplus]
    return operations
