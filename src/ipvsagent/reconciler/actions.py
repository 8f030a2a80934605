"""The actions of the tasks in `tasks.py`: each action calls the rooms that it concerns.

A failed task is recorded and retried later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ipvsagent.config.types import Settings
from ipvsagent.errors import KernelError, NodeUnusable
from ipvsagent.instrumentation.counters import Counters, Drift
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.planner.desired import Touched
from ipvsagent.reconciler.adoption import addresses_on_dummy, is_excluded, read_kernel
from ipvsagent.reconciler.configuration import Configuration
from ipvsagent.reconciler.ledger.verification import Verification
from ipvsagent.reconciler.node.kernel_settings import restore_sysctls, write_sysctls
from ipvsagent.reconciler.node.maintenance import NodeMaintenance
from ipvsagent.reconciler.node.preparation import ensure_dummy
from ipvsagent.reconciler.node.rate_estimation import RateEstimation
from ipvsagent.reconciler.plans.replanning import Replanning
from ipvsagent.reconciler.published import Published
from ipvsagent.reconciler.state import State
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.writing.apply import Applier, items_touched
from ipvsagent.reconciler.writing.comparison import everything, unbound_addresses
from ipvsagent.reconciler.writing.failures import Failures


@dataclass(slots=True)
class Rooms:
    """The parts of the owner thread; the loop creates them, the actions use them."""

    configuration: Configuration
    replanning: Replanning
    applier: Applier
    failures: Failures
    node: NodeMaintenance
    verification: Verification
    estimation: RateEstimation


@dataclass(slots=True)
class Pending:
    """What the next pass must compare and write, in addition to changed plans.

    Attributes:
        touched: items that may differ.
        drifted: items that another program changed; counted as repaired once they are written.
    """

    touched: Touched = field(default_factory=Touched)
    drifted: Touched = field(default_factory=Touched)

    def __bool__(self) -> bool:
        return bool(self.touched or self.drifted)


class Actions:
    """Runs the tasks.

    Args:
        clock: monotonic seconds.
        published: receives settings that come into force.
        applied: called with the settings after that.

    Attributes:
        pending: what the tasks left for the next pass.
    """

    def __init__(
        self,
        drivers: Drivers,
        state: State,
        rooms: Rooms,
        published: Published,
        *,
        counters: Counters,
        log: Logger,
        clock: Callable[[], float],
        applied: Callable[[Settings], None],
    ) -> None:
        self._drivers = drivers
        self._state = state
        self._rooms = rooms
        self._published = published
        self._counters = counters
        self._log = log
        self._clock = clock
        self._applied = applied
        self.pending = Pending()

    def attempt(self, task: Task) -> bool:
        """Run a task; retry it later if it fails.

        Returns:
            Whether it succeeded.
        """
        try:
            task.run(self)
        except (KernelError, NodeUnusable) as error:
            self._rooms.failures.failed(task, error)
            worked = False
        else:
            self._rooms.failures.succeeded(task)
            worked = True
        self._counters.note_task(str(task), well=worked)
        return worked

    def retry_due(self) -> None:
        """Retry what is due: tasks immediately, items with the next write."""
        due = self._rooms.failures.take_due()
        if not due:
            return
        self.pending.touched.update(items_touched(i for i in due if not isinstance(i, Task)))
        for task in (i for i in due if isinstance(i, Task)):
            if self.attempt(task):
                self.pending.touched.update(task.follow_up(self))

    def take_pending(self) -> Pending:
        """Return and clear what the tasks left for the next write."""
        pending = self.pending
        if pending:
            self.pending = Pending()
        return pending

    # -- the node ----------------------------------------------------------------------------------------------

    def check_families(self) -> None:
        """Check that this node serves its primary family."""
        self._rooms.node.check_families(self._state.settings)

    def read_addresses(self) -> None:
        """Read the facts about the node."""
        self._state.objects.infrastructure_read()  # the facts read now include the change; a failure is retried
        self._rooms.replanning.learn(self._rooms.node.read_facts(self._state.settings))

    def write_rules(self) -> None:
        """Write the rules of all families."""
        try:
            self._rooms.node.write_rules(self._state.settings)
        finally:
            self._follow_families()

    def check_rules(self) -> None:
        """Check one family's rules, or those that may have been changed."""
        try:
            self._rooms.node.check_rules()
            self._rooms.node.look_for_missing_parts()
        finally:
            self._follow_families()

    def _follow_families(self) -> None:
        """Plan for the families that are served now (DEV-81)."""
        if self._rooms.node.families != self._state.facts.families:
            self.attempt(Task.READ_ADDRESSES)
            self.attempt(Task.CHECK_FAMILIES)

    def create_sets(self) -> None:
        """Create the missing ipsets."""
        self._rooms.node.create_sets()

    def create_dummy(self) -> None:
        """Create the dummy interface, and read its addresses."""
        ensure_dummy(self._drivers)
        found = addresses_on_dummy(self._drivers.addresses)
        excluded = self._state.settings.exclude_networks
        self._state.ledger.replace_addresses(a for a in found if not is_excluded(a, excluded))

    def write_sysctls(self) -> None:
        """Write all kernel settings."""
        write_sysctls(self._drivers, self._state.settings, self._log)

    def check_sysctls(self) -> None:
        """Restore the kernel settings that the data plane depends on."""
        restore_sysctls(self._drivers, self._state.settings, self._log)

    # -- the ledger --------------------------------------------------------------------------------------------

    def read_kernel(self) -> None:
        """Read the whole kernel into the ledger."""
        read = read_kernel(
            self._drivers.ipvs,
            self._drivers.addresses,
            self._drivers.ip_sets,
            families=tuple(Family),  # also what an earlier agent left in a family that is not served (DEV-81)
            exclude=self._state.settings.exclude_networks,
        )
        self._rooms.verification.begin(read, self._clock())
        self._state.ledger.replace_all(read)

    def verify(self) -> None:
        """Search for drift, if it is time; the next write repairs it."""
        verification, settings = self._rooms.verification, self._state.settings
        finding = verification.tick(
            self._state.ledger,
            families=self._state.facts.families,
            now=self._clock(),
            exclude=settings.exclude_networks,
        )
        if finding is None:
            return
        if finding.sets_missing:
            self._counters.note_drift(Drift.SET, 1, self.attempt(Task.CREATE_SETS))
            self.attempt(Task.WRITE_RULES)  # a set can only be removed if no rule refers to it
        if finding.check_rules:
            self.attempt(Task.CHECK_RULES)
            verification.rules_compared(self._clock())
            self.attempt(Task.CHECK_SYSCTLS)
            self._rooms.estimation.look_again()
            self._rooms.replanning.look_for_schedulers()
        touched, to_write = finding.touched, self.pending.drifted
        if finding.unknown:
            known = self.attempt(Task.READ_KERNEL)
            self._counters.note_drift(Drift.TABLE, 1, known)
            touched, to_write = self.everything() if known else touched, self.pending.touched
        if touched:
            self._log.warning("the kernel was changed by another program; repairing", found=finding.describe())
            to_write.update(touched)

    # -- plans and writes --------------------------------------------------------------------------------------

    def clean_flows(self) -> None:
        """Delete stale flows."""
        self._rooms.applier.clean_flows()

    def load_schedulers(self) -> None:
        """Retry loading the schedulers that could not be loaded."""
        self._rooms.replanning.try_schedulers_again()

    def reconfigure(self) -> None:
        """Put the newest settings in force."""
        if not self._rooms.configuration.apply():
            return
        self._rooms.replanning.plan_all_next()
        for task in (Task.WRITE_SYSCTLS, Task.WRITE_RULES, Task.READ_ADDRESSES, Task.CHECK_FAMILIES):
            self.attempt(task)
        self._published.settings = settings = self._state.settings
        self._applied(settings)
        self._log.info("configuration applied", scheduler=settings.scheduler)

    # -- what follows from tasks -------------------------------------------------------------------------------

    def everything(self) -> Touched:
        """Return everything that is desired or held."""
        return everything(self._state.desired, self._state.ledger)

    def unbound_addresses(self) -> Touched:
        """Return the desired addresses that are not on the dummy interface."""
        return unbound_addresses(self._state.desired, self._state.ledger)
