"""Draining real servers: weight 0 until they are idle or reach their deadline (rules GT, DEV-18, DEV-19).

A real server drains if the ledger holds it and the desired state does not. This class only adds since when, and reads
the connection counts only of the virtual servers concerned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ipvsagent.errors import KernelError
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Drivers, Ipvs
from ipvsagent.model.address import Address
from ipvsagent.model.ops import RemoveRealServer
from ipvsagent.model.state import RealServer, VirtualServerKey
from ipvsagent.planner.desired import Desired
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.objects.departed_endpoints import DepartedEndpoints
from ipvsagent.reconciler.writing.closed_connections import ClosedConnections, DrainingServer

TICK_SECONDS = 1.0


class DrainingServers:
    """All draining real servers; times are seconds of a monotonic clock."""

    def __init__(self, counters: Counters | None = None) -> None:
        self._counters = counters or Counters()
        self._since: dict[DrainingServer, float] = {}
        self._fresh: list[DrainingServer] = []  # not checked yet
        self._next_tick: float | None = None
        self._closed_connections = ClosedConnections()

    def __len__(self) -> int:
        return len(self._since)

    def addresses(self) -> set[Address]:
        """Return the addresses of all draining real servers."""
        return {d.address for d in self._since}

    def begin(self, key: VirtualServerKey, servers: Iterable[RealServer], now: float) -> None:
        """Note real servers that got weight 0; one that already drains keeps its start time."""
        for server in servers:
            item = DrainingServer(key, server.address, server.port)
            if item not in self._since:
                self._since[item] = now
                self._fresh.append(item)
        if self._since and self._next_tick is None:
            self._next_tick = now + TICK_SECONDS

    def next_time(self) -> float | None:
        """Return when to call `tick` again; None if nothing drains."""
        return self._next_tick

    def tick(
        self,
        drivers: Drivers,
        desired: Desired,
        ledger: Ledger,
        *,
        now: float,
        limit_seconds: float,
        departed: DepartedEndpoints,
    ) -> tuple[list[VirtualServerKey], list[KernelError]]:
        """Remove real servers that are idle or have reached their deadline; forget those that no longer drain.

        Args:
            limit_seconds: how long a real server may drain.
            departed: knows the addresses whose pods have ended, so that nothing can drain.

        Returns:
            Virtual servers that lost a real server, and errors that show that the kernel differs from the ledger.
        """
        if self._next_tick is None or (now < self._next_tick and not self._fresh):
            return [], []
        due = now >= self._next_tick
        looked_at, self._fresh = [*self._since] if due else self._fresh, []
        for item in [d for d in looked_at if not _still_drains(d, desired, ledger)]:
            del self._since[item]
        looked_at = [d for d in looked_at if d in self._since]
        finished = [d for d in looked_at if now - self._since[d] >= limit_seconds or departed.has_ended(d.address, now)]
        if due:
            over = set(finished)
            waiting = [d for d in looked_at if d not in over]
            with contextlib.suppress(KernelError):  # the counts come with the next tick
                finished += self._idle(drivers, waiting, departed, now)
        operations = [RemoveRealServer(*d) for d in finished]
        results = drivers.ipvs.apply(operations) if operations else []
        self._counters.note_operations(operations, results)
        errors: list[KernelError] = []
        drained: list[VirtualServerKey] = []
        for item, operation, error in zip(finished, operations, results, strict=True):
            if error is None:
                ledger.acknowledge([operation])
                del self._since[item]
                drained.append(item.key)
            else:
                errors.append(error)
        if not self._since:
            self._next_tick = None
        elif due:
            self._next_tick = now + TICK_SECONDS
        return drained, errors

    def _idle(
        self, drivers: Drivers, waiting: list[DrainingServer], departed: DepartedEndpoints, now: float
    ) -> list[DrainingServer]:
        """Return the real servers with only closed connections; ask whether the nodes of the others still exist."""
        connections = _connections(drivers.ipvs, waiting)
        inactive = {d: count for d, (active, count) in connections.items() if count and not active}
        idle = {d for d, counts in connections.items() if counts == (0, 0)}
        idle.update(self._closed_connections.all_closed(drivers, inactive, now))
        for address in {d.address for d in waiting if d not in idle}:
            departed.inquire(address, now)
        return [d for d in waiting if d in idle]


def _still_drains(item: DrainingServer, desired: Desired, ledger: Ledger) -> bool:
    held, wanted = ledger.virtual_servers.get(item.key), desired.virtual_servers.get(item.key)
    if held is None or wanted is None:
        return False
    at = (item.address, item.port)
    return at in {(s.address, s.port) for s in held.real_servers} and at not in {
        (s.address, s.port) for s in wanted.real_servers
    }


def _connections(ipvs: Ipvs, waiting: list[DrainingServer]) -> dict[DrainingServer, tuple[int, int]]:
    """Return the active and inactive connections of each; a missing real server has none, and its removal will fail."""
    found = dict.fromkeys(waiting, (0, 0))
    for key in dict.fromkeys(d.key for d in waiting):
        for server in ipvs.list_real_servers(key):
            item = DrainingServer(key, server.address, server.port)
            if item in found:
                found[item] = server.active_connections, server.inactive_connections
    return found
