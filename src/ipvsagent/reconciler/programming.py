"""Writing what plans touch, and all that follows from it: failures, draining real servers, stale flows, full sets."""

from __future__ import annotations

from collections.abc import Callable

from ipvsagent.errors import KernelError
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Address
from ipvsagent.model.state import SetEntry, VirtualServerKey
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.reconciler import tasks
from ipvsagent.reconciler.conntrack import StaleFlows
from ipvsagent.reconciler.departures import Departures
from ipvsagent.reconciler.drain import Drain
from ipvsagent.reconciler.failures import Failures
from ipvsagent.reconciler.prepare import grow_set
from ipvsagent.reconciler.verify import count_repairs
from ipvsagent.reconciler.writer import Item, Outcome, Writer


class Programming:
    """Brings the kernel in step with the desired state, for given items only.

    Args:
        clock: monotonic seconds.

    Attributes:
        writer: has the ledger, of what the kernel holds.
        stale_flows: those to be deleted; true if there may be any.
        drain: the real servers that drain.
    """

    def __init__(
        self,
        drivers: Drivers,
        writer: Writer,
        failures: Failures,
        *,
        counters: Counters,
        log: Logger,
        clock: Callable[[], float],
    ) -> None:
        self._drivers = drivers
        self._failures = failures
        self._counters = counters
        self._log = log
        self._clock = clock
        self.writer = writer
        self.stale_flows = StaleFlows(drivers.conntrack, counters)
        self.drain = Drain(counters)

    def repair(self, touched: Touched) -> None:
        """Write what somebody else changed."""
        count_repairs(self._counters, touched, self.write(touched).failures.keys())

    def write(self, touched: Touched) -> Outcome:
        """Write whatever differs among the items touched; a failure is retried by itself."""
        if not touched:
            return Outcome()
        held = self.stale_flows.held(touched.virtual_servers, self.writer.ledger)
        outcome = self.writer.write(touched)
        self.stale_flows.note(held, self.writer.ledger)
        if self._failures:
            items: tuple[Item, ...] = (*touched.virtual_servers, *touched.addresses, *touched.entries)
            for item in items:
                if item not in outcome.failures:
                    self._failures.well(item)
        for item, error in outcome.failures.items():
            self._failures.failed(item, error)
        for key, servers in outcome.draining.items():
            self.drain.begin(key, servers, self._clock())
        self._recover(outcome)
        return outcome

    def clean_flows(self) -> None:
        """Delete flows that lead to real servers that are gone.

        Raises:
            KernelError: they could not be listed or deleted.
        """
        began = self._clock()
        try:
            deleted = self.stale_flows.clean(self.writer.ledger)
        finally:
            self._counters.flow_cleanings.observe(self._clock() - began)
        if deleted:
            self._log.debug("stale flows deleted", count=deleted)

    def drain_further(self, desired: Desired, departures: Departures, *, limit_seconds: float) -> None:
        """Remove real servers that have drained, and what was only needed while they did."""
        drained, errors = self.drain.tick(
            self._drivers,
            desired,
            self.writer.ledger,
            now=self._clock(),
            limit_seconds=limit_seconds,
            departures=departures,
        )
        departures.keep(self.drain.addresses())
        self.write(Touched(dict.fromkeys(drained)))  # its settings may be others without them
        if errors:
            self._failures.failed(tasks.READ_KERNEL, errors[0])

    def retry(self, attempt: Callable[[str], bool]) -> None:
        """Try again what is due.

        Args:
            attempt: does a task, by its name.
        """
        touched = Touched()
        for item in self._failures.take_due():
            match item:
                case VirtualServerKey():
                    touched.virtual_servers[item] = None
                case SetEntry():
                    touched.entries[item] = None
                case Address():
                    touched.addresses[item] = None
                case str():
                    attempt(item)
                    if item == tasks.READ_KERNEL:
                        touched.update(self.writer.everything())
                    elif item == tasks.CREATE_DUMMY:
                        touched.update(self.writer.unbound())
        self.write(touched)

    def _recover(self, outcome: Outcome) -> None:
        if outcome.dummy_missing:
            self._failures.failed(tasks.CREATE_DUMMY, next(iter(outcome.failures.values())))
        for name in sorted(outcome.full_sets):
            try:
                size = grow_set(self._drivers, name)
            except KernelError as error:
                self._log.warning("set is full and cannot be replaced by a larger one", set=name, error=error)
                self._failures.failed(tasks.CREATE_SETS, error)  # what is left of the attempt has to go
            else:
                self._log.info("set was full; replaced by a larger one", set=name, max_elements=size)
        if outcome.drift:
            self._failures.failed(tasks.READ_KERNEL, next(iter(outcome.failures.values())))
