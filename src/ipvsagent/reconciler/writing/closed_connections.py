"""Whether the connections that IPVS counts as inactive are closed.

IPVS counts as inactive what one side has closed and what both have: a half-closed connection, which may still carry
data for hours, and one in TIME_WAIT, which is only remembered, for two minutes. Connection tracking tells the two
apart. A client that comes back from the port of a closed connection is sent elsewhere: by `expire_nodest_conn`
where its real server drains, by `conn_reuse_mode` where IPVS has it in TIME_WAIT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ipvsagent.errors import KernelError
from ipvsagent.kernel.api import Drivers
from ipvsagent.model.address import Address
from ipvsagent.model.state import VirtualServerKey

LOOK_SECONDS = 5.0
"""How often the connections of one address are listed; each time costs the kernel a walk of its table."""

LISTINGS_PER_LOOK = 4
MOST_TRACKED = 500_000
"""With more tracked connections than this nothing is listed, and TIME_WAIT is waited for instead."""

_TRACKED = "net/netfilter/nf_conntrack_count"


class DrainingServer(NamedTuple):
    """One real server that drains."""

    key: VirtualServerKey
    address: Address
    port: int


class ClosedConnections:
    """Looks into connection tracking every few seconds; times are those of a monotonic clock in seconds."""

    def __init__(self) -> None:
        self._looked_at: dict[Address, float] = {}

    def all_closed(self, drivers: Drivers, inactive: Mapping[DrainingServer, int], now: float) -> list[DrainingServer]:
        """Choose the real servers all of whose inactive connections are known to be closed.

        Every one that IPVS counts must be accounted for, so what is not tracked keeps its real server.

        Args:
            inactive: how many inactive connections IPVS counts for each; none of them has active ones.
        """
        addresses = {d.address for d in inactive}
        self._looked_at = {a: at for a, at in self._looked_at.items() if a in addresses}
        due = [a for a in addresses if now - self._looked_at.get(a, -LOOK_SECONDS) >= LOOK_SECONDS]
        due.sort(key=lambda a: (self._looked_at.get(a, 0.0), a))
        found: list[DrainingServer] = []
        try:
            if due and int(drivers.sysctls.read(_TRACKED)) > MOST_TRACKED:
                return []
            for address in due[:LISTINGS_PER_LOOK]:
                self._looked_at[address] = now
                flows = drivers.conntrack.list_connections(address)
                counts = Counter(
                    (DrainingServer(f.frontend, f.reply_source, f.reply_source_port), f.over) for f in flows
                )
                found += [
                    d
                    for d, count in inactive.items()
                    if d.address == address and not counts[d, False] and counts[d, True] >= count
                ]
        except (KernelError, ValueError):  # the next look decides, or they end by themselves
            return found
        return found
