"""Apply the desired state to the kernel: compare, write, and follow up.

After a write, failures are retried, real servers drain, stale flows are deleted, and full sets are enlarged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ipvsagent.errors import KernelError
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Address, Network
from ipvsagent.model.state import SetEntry, VirtualServerKey
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.ledger.verification import count_repairs
from ipvsagent.reconciler.node.sets import grow_set
from ipvsagent.reconciler.objects.departed_endpoints import DepartedEndpoints
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.writing.comparison import Item, compare
from ipvsagent.reconciler.writing.draining import DrainingServers
from ipvsagent.reconciler.writing.failures import Failures
from ipvsagent.reconciler.writing.stale_flows import StaleFlows
from ipvsagent.reconciler.writing.writer import Outcome, Writer


class Applier:
    """Applies the desired state to the kernel, only for given items.

    Args:
        clock: monotonic seconds.

    Attributes:
        stale_flows: flows to delete; true if there may be any.
        draining: the real servers that drain.
    """

    def __init__(
        self,
        drivers: Drivers,
        desired: Desired,
        ledger: Ledger,
        failures: Failures,
        *,
        counters: Counters,
        log: Logger,
        clock: Callable[[], float],
    ) -> None:
        self._drivers = drivers
        self._desired = desired
        self._ledger = ledger
        self._failures = failures
        self._counters = counters
        self._log = log
        self._clock = clock
        self._writer = Writer(drivers, ledger, counters)
        self.stale_flows = StaleFlows(drivers.conntrack, counters)
        self.draining = DrainingServers(counters)

    def apply(self, touched: Touched, *, drifted: Touched | None, exclude: Sequence[Network]) -> None:
        """Write the touched items that differ; each failed item is retried separately.

        Args:
            drifted: items that another program changed; counted as repaired once they are written.
            exclude: networks in which nothing is ever removed (DEV-28).
        """
        if drifted:
            touched.update(drifted)
        if not touched:
            return
        differences = compare(touched, self._desired, self._ledger, exclude)
        outcome = self._writer.write(differences)
        self.stale_flows.note((*differences.servers, *differences.servers_to_remove), self._ledger)
        self._note_failures(touched, outcome)
        for key, servers in outcome.draining.items():
            self.draining.begin(key, servers, self._clock())
        self._recover(outcome)
        if drifted:
            count_repairs(self._counters, drifted, outcome.failures.keys())

    def drain(self, departed: DepartedEndpoints, *, limit_seconds: float) -> list[VirtualServerKey]:
        """Remove real servers that have drained.

        Returns:
            The virtual servers of the removed real servers, whose settings may change now.
        """
        drained, errors = self.draining.tick(
            self._drivers,
            self._desired,
            self._ledger,
            now=self._clock(),
            limit_seconds=limit_seconds,
            departed=departed,
        )
        departed.keep(self.draining.addresses())
        if errors:
            self._failures.failed(Task.READ_KERNEL, errors[0])
        return drained

    def clean_flows(self) -> None:
        """Delete flows that lead to removed real servers.

        Raises:
            KernelError: they could not be listed or deleted.
        """
        began = self._clock()
        try:
            deleted = self.stale_flows.clean(self._ledger)
        finally:
            self._counters.flow_cleanings.observe(self._clock() - began)
        if deleted:
            self._log.debug("stale flows deleted", count=deleted)

    def _note_failures(self, touched: Touched, outcome: Outcome) -> None:
        if self._failures:
            items: tuple[Item, ...] = (*touched.virtual_servers, *touched.addresses, *touched.entries)
            for item in items:
                if item not in outcome.failures:
                    self._failures.succeeded(item)
        for item, error in outcome.failures.items():
            self._failures.failed(item, error)

    def _recover(self, outcome: Outcome) -> None:
        if outcome.dummy_missing:
            self._failures.failed(Task.CREATE_DUMMY, next(iter(outcome.failures.values())))
        for name in sorted(outcome.full_sets):
            try:
                size = grow_set(self._drivers, name)
            except KernelError as error:
                self._log.warning("set is full and cannot be replaced with a larger one", set=name, error=error)
                self._failures.failed(Task.CREATE_SETS, error)  # it removes the remains of the attempt
            else:
                self._log.info("set was full; replaced with a larger one", set=name, max_elements=size)
        if outcome.drift:
            self._failures.failed(Task.READ_KERNEL, next(iter(outcome.failures.values())))


def items_touched(items: Iterable[Item]) -> Touched:
    """Sort items by their kind."""
    touched = Touched()
    for item in items:
        match item:
            case VirtualServerKey():
                touched.virtual_servers[item] = None
            case SetEntry():
                touched.entries[item] = None
            case Address():
                touched.addresses[item] = None
    return touched
