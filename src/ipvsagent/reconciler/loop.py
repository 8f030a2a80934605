"""The owner thread: one thread owns objects, desired state, ledger and writes; others put values on its queue.

A pass takes everything that is queued, replans the Services that it concerns, compares what their plans touch
with the ledger and writes the differences. Nothing walks all Services because one changed; what concerns all of
them (settings, node facts) replans them all, and still writes differences only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ipvsagent.collection import spared_by_collections
from ipvsagent.config.types import Settings
from ipvsagent.instrumentation.counters import Counters, Drift
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.events import (
    Changed,
    ClusterNodeAddresses,
    Deleted,
    DummyInterfaceChanged,
    Listed,
    NodeAddressesChanged,
    NodePresence,
    Rejected,
    RulesChanged,
    SourceProblems,
    Stop,
)
from ipvsagent.model.objects import Announced, NodeNotice
from ipvsagent.model.state import DUMMY_INTERFACE, VirtualServerKey
from ipvsagent.model.statistics import ServicePortName
from ipvsagent.model.status import Progress, Status
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.planner.facts import KUBERNETES_API, NodeFacts
from ipvsagent.reconciler import tasks
from ipvsagent.reconciler.adopt import addresses_on_dummy, is_excluded, read_kernel
from ipvsagent.reconciler.cache import ObjectCache
from ipvsagent.reconciler.configuration import Configuration, ConfigurationRefused, Message
from ipvsagent.reconciler.configuration import Reconfigure as Reconfigure
from ipvsagent.reconciler.departures import Departures
from ipvsagent.reconciler.estimation import Estimation
from ipvsagent.reconciler.failures import Failures
from ipvsagent.reconciler.ledger import Ledger
from ipvsagent.reconciler.mailbox import Mailbox
from ipvsagent.reconciler.node import NodeWork
from ipvsagent.reconciler.planning import Planning
from ipvsagent.reconciler.prepare import (
    ensure_dummy,
    restore_sysctls,
    write_sysctls,
)
from ipvsagent.reconciler.programming import Programming
from ipvsagent.reconciler.schedulers import Schedulers
from ipvsagent.reconciler.timing import Timing
from ipvsagent.reconciler.verify import Verification
from ipvsagent.reconciler.writer import Writer


class Reconciler:
    """Keeps one node's kernel in step with the objects heard of.

    All methods but `put`, `progress` and `settings` belong to the owner thread.

    Args:
        families: those this node serves; each has a rules driver.
        node_name: this node's name, for locality (EP-09).
        random_fully: whether iptables knows ``--random-fully`` (IPT-05).
        clock: monotonic seconds.
        wall_clock: Unix time in seconds.
    """

    def __init__(
        self,
        drivers: Drivers,
        *,
        settings: Settings,
        node_name: str,
        families: tuple[Family, ...],
        log: Logger,
        random_fully: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = Counters()
        self._drivers = drivers
        self._configuration = Configuration(drivers, settings, log, announce=self._tell)
        self._settings = settings  # those in force
        self._newest_settings = settings
        self.families = families
        self._log = log
        self._clock = clock
        self._timing = Timing(self.counters, clock, wall_clock)
        self._mailbox = Mailbox(self._timing, clock)
        self._cache = ObjectCache(node_name)
        self._desired = Desired()
        self._failures = Failures(log, clock)
        self._writer = Writer(drivers, self._desired, Ledger(), settings.exclude_networks, counters=self.counters)
        self._programming = Programming(
            drivers, self._writer, self._failures, counters=self.counters, log=log, clock=clock
        )
        schedulers = Schedulers(
            drivers.modules, log, clock, failed=lambda error: self._failures.failed(tasks.LOAD_SCHEDULERS, error)
        )
        self._planning = Planning(self._cache, self._desired, NodeFacts(node_name, families=families), schedulers)
        self._node = NodeWork(
            drivers,
            self._cache,
            self.counters,
            log,
            name=node_name,
            families=families,
            random_fully=random_fully,
        )
        self._verification = Verification(drivers, families)
        self._first_sync_done = False
        self._estimation = Estimation(drivers.sysctls, self.counters, log)
        self._tasks: dict[str, Callable[[], object]] = {
            tasks.READ_KERNEL: self._reread,
            tasks.CHECK_FAMILIES: lambda: self._node.check_families(self._settings),
            tasks.READ_ADDRESSES: self._learn_facts,
            tasks.WRITE_RULES: lambda: self._node.write_rules(self._settings),
            tasks.CHECK_RULES: self._node.check_rules,
            tasks.CREATE_SETS: self._node.create_sets,
            tasks.VERIFY: self._verify,
            tasks.WRITE_SYSCTLS: lambda: write_sysctls(drivers, self._settings, log),
            tasks.CHECK_SYSCTLS: lambda: restore_sysctls(drivers, self._settings, log),
            tasks.CREATE_DUMMY: self._create_dummy,
            tasks.CLEAN_FLOWS: self._programming.clean_flows,
            tasks.RECONFIGURE: self._apply_settings,
            tasks.LOAD_SCHEDULERS: self._planning.try_schedulers_again,
        }
        self.status = Status()
        self.settings_applied: Callable[[Settings], None] = lambda _: None
        self.announce: Callable[[Announced], None] = lambda _: None  # set before `start` where events can be made
        self.published: Callable[[Status], None] = lambda _: None  # told of each status; set before `run`

    # -- called by other threads -------------------------------------------------------------------------------

    def put(self, event: Message) -> None:
        """Hand a value to the owner thread."""
        self._mailbox.put(event)

    @property
    def departures(self) -> Departures:
        """Endpoints that left; whoever can ask about nodes sets its `ask` before `run`."""
        return self._cache.departures

    @property
    def port_names(self) -> Callable[[], dict[VirtualServerKey, ServicePortName]]:
        """Answers which Service's port each virtual server serves; for any thread."""
        return self._planning.names.copy

    @property
    def ask_for_counts(self) -> Callable[[], None]:
        """To be called, by any thread, when the kernel's counts are read; answers at once."""
        return self._estimation.ask

    def progress(self) -> Progress:
        """How far the owner thread has come, also while it is stuck."""
        return self._mailbox.progress()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    # -- the owner thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the node ready and read what the kernel holds.

        Raises:
            NodeUnusable: the node lacks something that nothing can be done without.
        """
        self._settings = self._configuration.start()
        self._node.prepare(self._settings)
        self._attempt(tasks.READ_ADDRESSES)

    def run(self) -> None:
        """Work until `Stop` comes; the kernel state stays as it is then."""
        while True:
            wait = self.next_wakeup(verification=True)
            events = self._mailbox.gather(wait, least_period=self._settings.min_sync_period_seconds)
            if any(isinstance(e, Stop) for e in events):
                return
            self._mailbox.begin_pass()
            self.handle(events)
            self.reconcile()
            self._mailbox.end_pass(through=self._got_through())

    def _tell(self, notice: NodeNotice) -> None:
        self.announce(notice)

    def handle(self, events: Iterable[Message]) -> None:
        """Take events in; nothing is written yet."""
        for event in events:
            match event:
                case Listed() | Changed() | Deleted() | Rejected() | SourceProblems():
                    self._cache.apply(event)
                case ClusterNodeAddresses() | NodePresence():
                    self._cache.apply(event)
                case NodeAddressesChanged():
                    self._attempt(tasks.READ_ADDRESSES)
                case DummyInterfaceChanged():
                    self._dummy_changed(event)
                case RulesChanged(family):
                    self._node.suspect_rules(family)
                    self._verification.rules_changed(self._clock())
                case Reconfigure():
                    self._reconfigure(event.settings)
                case ConfigurationRefused():
                    self._configuration.refuse(event.reason)
                case Stop():
                    pass
            self._timing.heard(event, self._cache.dirty)

    def reconcile(self) -> None:
        """Plan what is dirty, write what differs, retry what is due, publish the status."""
        began = self._clock()
        if self._cache.nodes_changed:
            self._cache.nodes_changed = False
            self._attempt(tasks.CHECK_FAMILIES)
            if self._node.changed(self._settings):
                self._attempt(tasks.WRITE_RULES)
            self._attempt(tasks.READ_ADDRESSES)
        if self._cache.complete:
            if not self._first_sync_done:
                self._first_sync()
            else:
                self._programming.write(self._plan_dirty())
                self._programming.retry(self._attempt)
                self._programming.write(self._plan_dirty())  # a retry may have learned what concerns all
                self._programming.drain_further(
                    self._desired, self._cache.departures, limit_seconds=self._settings.drain_timeout_seconds
                )
                if tasks.VERIFY not in self._failures:
                    self._attempt(tasks.VERIFY)
            if self._programming.stale_flows and tasks.CLEAN_FLOWS not in self._failures:
                self._attempt(tasks.CLEAN_FLOWS)
            self._timing.pass_done(began, well=not self._failures)
            self._estimation.tick(self._settings.estimation, len(self._desired.virtual_servers), self._clock())
        self._publish()

    def next_wakeup(self, *, verification: bool = False) -> float | None:
        """Seconds until something is due without an event; None if nothing is.

        Args:
            verification: whether verification counts, which is always due again.
        """
        times = [self._failures.next_time(), self._programming.drain.next_time(), self._estimation.next_time()]
        if verification:
            times.append(self._verification.next_time())
        due = [t for t in times if t is not None]
        return max(0.0, min(due) - self._clock()) if due else None

    # -- events ------------------------------------------------------------------------------------------------

    def _dummy_changed(self, event: DummyInterfaceChanged) -> None:
        held = self._writer.ledger.addresses
        lost = len(held)
        if event.gone:
            if not self._attempt(tasks.CREATE_DUMMY):
                return
        else:
            held.difference_update(event.removed)
        lost -= len(self._writer.ledger.addresses)
        if lost > 0:  # else these were our own removals, which are no longer in the ledger
            self._log.warning("addresses were removed by somebody else", interface=DUMMY_INTERFACE, count=lost)
            self._programming.repair(self._writer.unbound())

    def _create_dummy(self) -> None:
        ensure_dummy(self._drivers)
        found = addresses_on_dummy(self._drivers.addresses)
        self._writer.ledger.addresses = {a for a in found if not is_excluded(a, self._settings.exclude_networks)}

    def _reconfigure(self, configured: Settings) -> None:
        self._newest_settings = configured
        self._attempt(tasks.RECONFIGURE)

    def _apply_settings(self) -> None:
        if not self._configuration.change(self._newest_settings):
            return
        self._settings = settings = self._configuration.in_force
        self._writer.exclude = settings.exclude_networks
        self._planning.plan_all_next()
        self._attempt(tasks.WRITE_SYSCTLS)
        self._attempt(tasks.WRITE_RULES)
        self._attempt(tasks.READ_ADDRESSES)
        self._attempt(tasks.CHECK_FAMILIES)
        self.settings_applied(settings)
        self._log.info("configuration applied", scheduler=settings.scheduler)

    # -- planning and writing ----------------------------------------------------------------------------------

    @spared_by_collections()
    def _first_sync(self) -> None:
        if not self._attempt(tasks.READ_KERNEL):
            return
        self._attempt(tasks.READ_ADDRESSES)
        for step in self._planning.first_steps():
            self._programming.write(self._planning.plan(step, self._settings))
        self._first_sync_done = True
        self._programming.stale_flows.note_all(self._writer.ledger)
        self._programming.write(self._writer.surplus())  # what is ours and no longer wanted goes last
        self._log.info(
            "first synchronisation done",
            services=len(self._desired),
            virtual_servers=len(self._desired.virtual_servers),
            failures=len(self._failures),
        )

    def _learn_facts(self) -> None:
        self._cache.infrastructure_changed = False  # what is read now takes it into account; a failure is retried
        self._planning.learn(self._node.read_facts(self._settings))

    def _plan_dirty(self) -> Touched:
        if KUBERNETES_API in self._cache.dirty or self._cache.infrastructure_changed:
            self._attempt(tasks.READ_ADDRESSES)  # the addresses of API servers and cluster DNS are among the facts
        return self._planning.plan_dirty(self._settings)

    def _reread(self) -> None:
        drivers = self._drivers
        ledger = read_kernel(
            drivers.ipvs,
            drivers.addresses,
            drivers.ip_sets,
            families=self.families,
            exclude=self._settings.exclude_networks,
        )
        self._verification.begin(ledger, self._clock())
        self._writer.ledger = ledger

    def _verify(self) -> None:
        finding = self._verification.tick(
            self._writer.ledger, now=self._clock(), exclude=self._settings.exclude_networks
        )
        if finding is None:
            return
        if finding.sets_missing:
            self.counters.note_drift(Drift.SET, 1, self._attempt(tasks.CREATE_SETS))
            self._attempt(tasks.WRITE_RULES)  # no set can go while a rule refers to it
        if finding.check_rules:
            self._attempt(tasks.CHECK_RULES)
            self._verification.rules_compared(self._clock())
            self._attempt(tasks.CHECK_SYSCTLS)
            self._estimation.look_again()
            self._planning.look_for_schedulers()
        touched = finding.touched
        if finding.unknown:
            known = self._attempt(tasks.READ_KERNEL)
            self.counters.note_drift(Drift.TABLE, 1, known)
            touched = self._writer.everything() if known else touched
        if touched:
            self._log.warning("the kernel was changed by somebody else; repairing", found=finding.describe())
            (self._programming.write if finding.unknown else self._programming.repair)(touched)

    # -- failures and status -----------------------------------------------------------------------------------

    def _attempt(self, name: str) -> bool:
        """Do something that concerns the whole node; a failure is retried."""
        well = self._failures.attempt(name, self._tasks[name])
        self.counters.note_task(name, well=well)
        return well

    def _got_through(self) -> bool:
        """Whether a pass did all that concerns the node; before all objects are listed there is nothing to do."""
        return not (self._failures.tasks() - tasks.SIDE_TASKS) and (self._first_sync_done or not self._cache.complete)

    def _publish(self) -> None:
        reports = self._cache.reports
        for origin in self._desired.take_doubtful():
            reports.replace(origin, self._desired.problems_of(origin))
        for problem in reports.take_new():
            subject = f"{problem.kind} {problem.name}"
            self._log.warning(
                "problem with an object", object=subject, field=problem.field, reason=problem.reason, kind=problem.label
            )
            self.announce(problem)
        self.counters.draining, self.counters.failing = len(self._programming.drain), len(self._failures)
        self.status = Status(
            complete=self._cache.complete,
            synchronised=self._first_sync_done and not self._failures,
            services=len(self._desired),
            virtual_servers=len(self._desired.virtual_servers),
            failures=self._failures.texts(),
            configuration_refused=self._configuration.refusal,
            waiting_for_restart=self._configuration.waiting_for_restart,
            problems=reports.every(),
            prepared=self._first_sync_done,
            node_eligible=self._node.eligible,
            health_checks=self._desired.health_checks,
            health_check_addresses=self._planning.facts.health_check_addresses,
            no_local_endpoints=self._desired.no_local_endpoints.copy(),
        )
        self.published(self.status)
