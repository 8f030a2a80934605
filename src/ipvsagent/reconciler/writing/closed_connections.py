"""Find out whether the connections that IPVS counts as inactive are closed.

IPVS counts two kinds of connections as inactive: half-closed ones, which may still carry data for hours, and those in
TIME_WAIT, which are only remembered for two minutes. Connection tracking distinguishes the two. A client that reuses
the port of a closed connection is sent to another real server: by `expire_nodest_conn` if its real server drains, by
`conn_reuse_mode` if IPVS has the connection in TIME_WAIT.
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
"""How often the connections of one address are listed; for each listing the kernel walks its whole table."""

LISTINGS_PER_LOOK = 4
MOST_TRACKED = 500_000
"""Above this number of tracked connections nothing is listed; the agent waits for the end of TIME_WAIT instead."""

_TRACKED = "net/netfilter/nf_conntrack_count"


class DrainingServer(NamedTuple):
    """One real server that drains."""

    key: VirtualServerKey
    address: Address
    port: int


class ClosedConnections:
    """Checks connection tracking every few seconds; times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._looked_at: dict[Address, float] = {}

    def all_closed(self, drivers: Drivers, inactive: Mapping[DrainingServer, int], now: float) -> list[DrainingServer]:
        """Return the real servers whose inactive connections are all known to be closed.

        Each connection that IPVS counts must be found in connection tracking; an untracked one keeps its real server.

        Args:
            inactive: the number of inactive connections of each real server, as IPVS counts them; none has active ones.
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
        except (KernelError, ValueError):  # the next check decides, or the connections time out
            return found
        return found
