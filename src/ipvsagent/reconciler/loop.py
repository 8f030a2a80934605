"""The owner thread: one thread owns all state and all writes; other threads send it messages.

A pass goes through the rooms in one order: take in (`objects/`), replan (`plans/`), compare and write (`writing/`),
follow up, publish. If the follow-up finds something to write (a retry, a drained real server, drift), another pass
starts at once, so each room is entered once a pass. A changed Service never causes a walk over all Services. A change
of settings or node facts replans all Services, but only differences are written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.garbage_collection import without_garbage_collection_then_freeze
from ipvsagent.instrumentation.counters import Counters
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
from ipvsagent.model.objects import Announced
from ipvsagent.model.state import DUMMY_INTERFACE, VirtualServerKey
from ipvsagent.model.statistics import ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.planner.desired import Touched
from ipvsagent.planner.facts import KUBERNETES_API, NodeFacts
from ipvsagent.reconciler.actions import Actions, Rooms
from ipvsagent.reconciler.configuration import Configuration
from ipvsagent.reconciler.ledger.verification import Verification
from ipvsagent.reconciler.mailbox import ConfigurationRefused, Mailbox, Message, Reconfigure
from ipvsagent.reconciler.node.maintenance import NodeMaintenance
from ipvsagent.reconciler.node.rate_estimation import RateEstimation
from ipvsagent.reconciler.objects.cache import ObjectCache
from ipvsagent.reconciler.plans.replanning import Replanning
from ipvsagent.reconciler.plans.schedulers import Schedulers
from ipvsagent.reconciler.published import Published
from ipvsagent.reconciler.state import State
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.timing import Timing
from ipvsagent.reconciler.writing.apply import Applier
from ipvsagent.reconciler.writing.comparison import surplus
from ipvsagent.reconciler.writing.failures import Failures


class Listeners(Struct, frozen=True):
    """The functions that the owner thread calls, in its own thread; none of them may block.

    Args:
        report: called with each new problem of an object, and with other facts that become Kubernetes events.
        ask_for_node: asks whether the cluster has a node; the answer comes as the message `NodePresence`.
        status_published: called with each status, after it was published.
        settings_applied: called with new settings once they are in force.
    """

    report: Callable[[Announced], None] = lambda _item: None
    ask_for_node: Callable[[str], None] = lambda _name: None
    status_published: Callable[[Status], None] = lambda _status: None
    settings_applied: Callable[[Settings], None] = lambda _settings: None


class Reconciler:
    """Keeps one node's kernel in sync with the objects of the cluster.

    Args:
        mailbox: where messages come from.
        published: where others read status and settings; holds the settings that the process was started with.
        node_name: this node's name, for locality (EP-09).
            families: the address families that this node may serve; each has a rules driver.
        random_fully: whether iptables supports ``--random-fully`` (IPT-05).
        clock: monotonic seconds.
        wall_clock: Unix time in seconds.

    Attributes:
        counters: counters of the owner thread; other threads may read them.
        state: belongs to the owner thread.
        actions: runs node-wide tasks; belongs to the owner thread.
    """

    def __init__(
        self,
        drivers: Drivers,
        mailbox: Mailbox,
        published: Published,
        *,
        node_name: str,
        families: tuple[Family, ...],
        log: Logger,
        listeners: Listeners = Listeners(),  # noqa: B008 - immutable
        random_fully: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = counters = Counters()
        self._mailbox = mailbox
        self._published = published
        self._listeners = listeners
        self._log = log
        self._clock = clock
        self._timing = Timing(counters, clock, wall_clock)
        self.state = state = State(
            published.settings,
            ObjectCache(node_name, listeners.ask_for_node),
            NodeFacts(node_name, families=families),
        )
        self._failures = failures = Failures(log, clock)
        schedulers = Schedulers(
            drivers.modules, log, clock, failed=lambda error: failures.failed(Task.LOAD_SCHEDULERS, error)
        )
        self._rooms = Rooms(
            configuration=Configuration(state, drivers, log, report=listeners.report),
            replanning=Replanning(state, schedulers),
            applier=Applier(drivers, state.desired, state.ledger, failures, counters=counters, log=log, clock=clock),
            failures=failures,
            node=NodeMaintenance(
                drivers, state.objects, counters, log, name=node_name, families=families, random_fully=random_fully
            ),
            verification=Verification(drivers),
            estimation=RateEstimation(drivers.sysctls, counters, log),
        )
        self.actions = Actions(
            drivers,
            state,
            self._rooms,
            published,
            counters=counters,
            log=log,
            clock=clock,
            applied=listeners.settings_applied,
        )
        self._first_sync_done = False

    # -- for any thread ----------------------------------------------------------------------------------------

    def port_names(self) -> dict[VirtualServerKey, ServicePortName]:
        """Return the Service port that each virtual server serves."""
        return self._rooms.replanning.port_names.copy()

    def request_counters(self) -> None:
        """Request current counters from the kernel, without waiting for them."""
        self._rooms.estimation.ask()

    # -- the owner thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Prepare the node and read its addresses.

        Raises:
            NodeUnusable: the node lacks something that the agent cannot work without.
        """
        self._rooms.configuration.start()
        self._published.settings = self.state.settings
        self._rooms.node.prepare(self.state.settings)
        self.actions.attempt(Task.READ_ADDRESSES)

    def run(self) -> None:
        """Process messages until `Stop` arrives; the kernel state stays as it is."""
        while True:
            wait = self.next_wakeup(verification=True)
            messages = self._mailbox.gather(wait, least_period=self.state.settings.min_sync_period_seconds)
            if any(isinstance(m, Stop) for m in messages):
                return
            self._mailbox.begin_pass()
            self.handle(messages)
            self.reconcile()
            self._mailbox.end_pass(through=self.got_through())

    def handle(self, messages: Iterable[Message]) -> None:
        """Take in messages; this does not write Services yet."""
        for message in messages:
            match message:
                case Listed() | Changed() | Deleted() | Rejected() | SourceProblems():
                    self.state.objects.apply(message)
                case ClusterNodeAddresses() | NodePresence():
                    self.state.objects.apply(message)
                case NodeAddressesChanged():
                    self.actions.attempt(Task.READ_ADDRESSES)
                case DummyInterfaceChanged():
                    self._dummy_changed(message)
                case RulesChanged(family):
                    self._rooms.node.suspect_rules(family)
                    self._rooms.verification.rules_changed(self._clock())
                case Reconfigure():
                    self._rooms.configuration.take(message.settings)
                    self.actions.attempt(Task.RECONFIGURE)
                case ConfigurationRefused():
                    self._rooms.configuration.refuse(message.reason)
                case Stop():
                    pass
            self._timing.heard(message, self.state.objects.dirty)

    def reconcile(self) -> None:
        """Run passes until nothing is left to write now, then publish the status."""
        began = self._clock()
        self._update_node()
        if self.state.objects.complete:
            if self._first_sync_done:
                self._pass()
                while self.actions.pending or self._rooms.replanning.is_due:
                    self._pass()
            else:
                self._first_sync()
            if self._rooms.applier.stale_flows and Task.CLEAN_FLOWS not in self._failures:
                self.actions.attempt(Task.CLEAN_FLOWS)
            self._timing.pass_done(began, take_arrivals=self._mailbox.take_arrivals, nothing_fails=not self._failures)
            virtual_servers = len(self.state.desired.virtual_servers)
            self._rooms.estimation.tick(self.state.settings.estimation, virtual_servers, self._clock())
        self._publish()

    def next_wakeup(self, *, verification: bool = False) -> float | None:
        """Return the seconds until something is due without a message; None if nothing is.

        Args:
            verification: whether to include verification, which is always due again.
        """
        rooms = self._rooms
        times = [self._failures.next_time(), rooms.applier.draining.next_time(), rooms.estimation.next_time()]
        if verification:
            times.append(rooms.verification.next_time())
        due = [t for t in times if t is not None]
        return max(0.0, min(due) - self._clock()) if due else None

    def got_through(self) -> bool:
        """Return whether the last pass completed all node-wide work; there is none before all objects are listed."""
        return not self._failures.a_stage_fails() and (self._first_sync_done or not self.state.objects.complete)

    # -- a pass ------------------------------------------------------------------------------------------------

    def _update_node(self) -> None:
        """Update the node's own state after changes of objects."""
        objects = self.state.objects
        if objects.take_nodes_changed():
            self.actions.attempt(Task.CHECK_FAMILIES)
            if self._rooms.node.changed(self.state.settings):
                self.actions.attempt(Task.WRITE_RULES)
            self.actions.attempt(Task.READ_ADDRESSES)
        # The facts include the addresses of API servers and cluster DNS.
        if self._first_sync_done and (KUBERNETES_API in objects.dirty or objects.infrastructure_changed):
            self.actions.attempt(Task.READ_ADDRESSES)

    def _pass(self) -> None:
        """Replan, compare and write, follow up."""
        pending = self.actions.take_pending()
        touched = self._rooms.replanning.replan()
        if pending:
            touched.update(pending.touched)
        self._write(touched, drifted=pending.drifted)
        self._follow_up()

    def _write(self, touched: Touched, *, drifted: Touched | None = None) -> None:
        self._rooms.applier.apply(touched, drifted=drifted, exclude=self.state.settings.exclude_networks)

    def _follow_up(self) -> None:
        """Retry what is due, drain, search for drift; the next pass writes what they find."""
        actions = self.actions
        actions.retry_due()
        limit = self.state.settings.drain_timeout_seconds
        drained = self._rooms.applier.drain(self.state.objects.departed, limit_seconds=limit)
        actions.pending.touched.virtual_servers.update(dict.fromkeys(drained))
        if Task.VERIFY not in self._failures:
            actions.attempt(Task.VERIFY)

    @without_garbage_collection_then_freeze()
    def _first_sync(self) -> None:
        """Read the kernel, then plan and write all Services in steps; remove surplus objects last."""
        if not self.actions.attempt(Task.READ_KERNEL):
            return
        self.actions.attempt(Task.READ_ADDRESSES)
        replanning, state = self._rooms.replanning, self.state
        for step in replanning.first_steps():
            self._write(replanning.plan(step))
        self._first_sync_done = True
        self._rooms.applier.stale_flows.note_all(state.ledger)
        self._write(surplus(state.desired, state.ledger))
        self._log.info(
            "first synchronisation done",
            services=len(state.desired),
            virtual_servers=len(state.desired.virtual_servers),
            failures=len(self._failures),
        )

    def _dummy_changed(self, message: DummyInterfaceChanged) -> None:
        ledger = self.state.ledger
        lost = len(ledger.addresses)
        if message.gone:
            if not self.actions.attempt(Task.CREATE_DUMMY):
                return
        else:
            ledger.lose_addresses(message.removed)
        lost -= len(ledger.addresses)
        if lost > 0:  # otherwise the agent removed them itself, and the ledger no longer has them
            self._log.warning("addresses were removed by another program", interface=DUMMY_INTERFACE, count=lost)
            self.actions.pending.drifted.update(self.actions.unbound_addresses())

    def _publish(self) -> None:
        state, rooms, problems = self.state, self._rooms, self.state.objects.problems
        for origin in state.desired.take_doubtful():
            problems.replace(origin, state.desired.problems_of(origin))
        for problem in problems.take_new():
            subject = f"{problem.kind} {problem.name}"
            self._log.warning(
                "problem with an object", object=subject, field=problem.field, reason=problem.reason, kind=problem.label
            )
            self._listeners.report(problem)
        self.counters.draining, self.counters.failing = len(rooms.applier.draining), len(self._failures)
        self._published.status = status = Status(
            complete=state.objects.complete,
            synchronised=self._first_sync_done and not self._failures,
            services=len(state.desired),
            virtual_servers=len(state.desired.virtual_servers),
            failures=self._failures.texts(),
            configuration_refused=rooms.configuration.refusal,
            waiting_for_restart=rooms.configuration.waiting_for_restart,
            problems=problems.every(),
            prepared=self._first_sync_done,
            families=rooms.node.families,
            node_eligible=rooms.node.eligible,
            node_unknown=rooms.node.unknown,
            health_checks=state.desired.health_checks,
            health_check_addresses=state.facts.health_check_addresses,
            no_local_endpoints=state.desired.no_local_endpoints.copy(),
        )
        self._listeners.status_published(status)
