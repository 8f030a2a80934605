"""Delete stale flows of changed UDP and SCTP frontends: flows that lead to a removed real server.

Only frontends that lost a real server, were removed or got their first real server are checked (CT-01 as changed by
DEV-21), after all writes of a pass: then no new flow can use the old real server. A pass without such frontends lists
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ipvsagent.errors import NotFound
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Conntrack
from ipvsagent.model.state import VirtualServer, VirtualServerKey
from ipvsagent.planner.conntrack import CLEANED_PROTOCOLS, AddressAndPort, stale_flows
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.writing.diff import ServerChange


class StaleFlows:
    """The frontends whose flows must still be checked."""

    def __init__(self, conntrack: Conntrack, counters: Counters | None = None) -> None:
        self._conntrack = conntrack
        self._counters = counters or Counters()
        self._pending: dict[VirtualServerKey, None] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, changes: Iterable[ServerChange], ledger: Ledger) -> None:
        """Mark the frontends that lost a real server, were removed or got their first real server.

        Args:
            ledger: after the changes were written.
        """
        for change in changes:
            if change.key.protocol in CLEANED_PROTOCOLS and change.operations:
                before, now = _addresses(change.before), _addresses(ledger.virtual_servers.get(change.key))
                if before - now or (now and not before):
                    self._pending[change.key] = None

    def note_all(self, ledger: Ledger) -> None:
        """Mark every frontend: an earlier run may have stopped between its writes and its cleaning."""
        self._pending.update(dict.fromkeys(k for k in ledger.virtual_servers if k.protocol in CLEANED_PROTOCOLS))

    def clean(self, ledger: Ledger) -> int:
        """Delete the stale flows of all marked frontends: one listing per family, then one batch (CT-05, CT-07).

        Returns:
            How many were deleted, without those that no longer existed.

        Raises:
            KernelError: something could not be listed or deleted; the frontends stay marked.
        """
        frontends = {k: _addresses(ledger.virtual_servers.get(k)) for k in self._pending if k not in ledger.foreign}
        families = dict.fromkeys(k.address.family for k in frontends)
        stale = [flow for family in families for flow in stale_flows(self._conntrack.list_flows(family), frontends)]
        results = self._conntrack.delete(stale) if stale else []
        self._counters.note_operations(stale, results)
        for flow, result in zip(stale, results, strict=True):
            if result is None:
                self._counters.note_flow_deleted(flow.family)
        for error in results:
            if error is not None and not isinstance(error, NotFound):
                raise error
        self._pending.clear()
        return results.count(None)


def _addresses(server: VirtualServer | None) -> frozenset[AddressAndPort]:
    return frozenset((s.address, s.port) for s in server.real_servers) if server else frozenset()
