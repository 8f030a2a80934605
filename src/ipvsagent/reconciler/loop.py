"""The owner thread: one thread owns objects, desired state, ledger and writes; others put values on its queue.

A pass takes everything that is queued, replans the Services that it concerns, compares what their plans touch
with the ledger and writes the differences. Nothing walks all Services because one changed; what concerns all of
them (settings, node facts) replans them all, and still writes differences only.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.errors import AgentError, KernelError
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Address, Family
from ipvsagent.model.events import (
    Changed,
    ClusterNodeAddresses,
    Deleted,
    DummyInterfaceChanged,
    Event,
    Listed,
    NodeAddressesChanged,
    Rejected,
    SourceProblems,
    Stop,
)
from ipvsagent.model.objects import Problem
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DUMMY_INTERFACE, SetEntry, VirtualServerKey
from ipvsagent.model.status import Status
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.planner.facts import KUBERNETES_API, NodeFacts
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.reconciler.adopt import addresses_on_dummy, read_kernel
from ipvsagent.reconciler.cache import ObjectCache
from ipvsagent.reconciler.collection import without_collections
from ipvsagent.reconciler.conntrack import StaleFlows
from ipvsagent.reconciler.drain import Drain
from ipvsagent.reconciler.facts import own_node, read_facts
from ipvsagent.reconciler.failures import Failures
from ipvsagent.reconciler.ledger import Ledger
from ipvsagent.reconciler.planning import Planning
from ipvsagent.reconciler.prepare import (
    check_scheduler,
    ensure_dummy,
    ensure_rules,
    ensure_sets,
    grow_set,
    prepare_node,
    restore_sysctls,
    write_sysctls,
)
from ipvsagent.reconciler.verify import Verification
from ipvsagent.reconciler.writer import Item, Outcome, Writer

# Work that concerns the whole node, by the name under which its failure is reported and retried.
_READ_KERNEL = "read the kernel"
_READ_ADDRESSES = "read node addresses"
_WRITE_RULES = "write rules"
_CREATE_SETS = "create ipsets"
_CHECK_RULES = "check rules"
_CHECK_SYSCTLS = "check kernel settings"
_VERIFY = "verify the kernel"
_WRITE_SYSCTLS = "write kernel settings"
_CREATE_DUMMY = "create the dummy interface"
_CLEAN_FLOWS = "delete stale flows"


class Reconfigure(Struct, frozen=True):
    """New settings, already validated."""

    settings: Settings


class Reconciler:
    """Keeps one node's kernel in step with the objects heard of.

    All methods but `put` belong to the owner thread.

    Args:
        families: those this node serves; each has a rules driver.
        node_name: this node's name, for locality (EP-09).
        random_fully: whether iptables knows ``--random-fully`` (IPT-05).
        clock: monotonic seconds.
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
    ) -> None:
        self._drivers = drivers
        self._settings = settings
        self._node_name = node_name
        self._families = families
        self._random_fully = random_fully
        self._log = log
        self._clock = clock
        self._queue: queue.SimpleQueue[Event | Reconfigure] = queue.SimpleQueue()
        self._cache = ObjectCache()
        self._desired = Desired()
        self._writer = Writer(drivers, self._desired, Ledger(), settings.exclude_networks)
        self._planning = Planning(self._cache, self._desired, NodeFacts(node_name, families=families))
        self._failures = Failures(log, clock)
        self._verification = Verification(drivers, families)
        self._rules: tuple[RuleSet, ...] = ()
        self._rules_checked = 0
        self._first_sync_done = False
        self._reported: frozenset[Problem] = frozenset()
        self._drain = Drain()
        self._stale_flows = StaleFlows(drivers.conntrack)
        self._pass_ended = -math.inf
        self._tasks: dict[str, Callable[[], object]] = {
            _READ_KERNEL: self._reread,
            _READ_ADDRESSES: self._read_node_addresses,
            _WRITE_RULES: self._write_rules,
            _CHECK_RULES: self._check_rules,
            _CREATE_SETS: self._create_sets,
            _VERIFY: self._verify,
            _WRITE_SYSCTLS: lambda: write_sysctls(drivers, self._settings, log),
            _CHECK_SYSCTLS: lambda: restore_sysctls(drivers, self._settings, log),
            _CREATE_DUMMY: lambda: ensure_dummy(drivers),
            _CLEAN_FLOWS: self._clean_flows,
        }
        self.status = Status()
        self.announce: Callable[[Problem], None] = lambda _: None  # set before `run` where events can be made

    # -- called by other threads -------------------------------------------------------------------------------

    def put(self, event: Event | Reconfigure) -> None:
        """Hand a value to the owner thread; the only method for other threads."""
        self._queue.put(event)

    # -- the owner thread --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the node ready and read what the kernel holds.

        Raises:
            NodeUnusable: the node lacks something that nothing can be done without.
        """
        self._rules = self._plan_rules()
        prepare_node(self._drivers, self._settings, self._rules, self._log)
        self._attempt(_READ_ADDRESSES)

    def run(self) -> None:
        """Work until `Stop` comes; the kernel state stays as it is then."""
        while True:
            events = self._gather()
            if any(isinstance(e, Stop) for e in events):
                return
            self.handle(events)
            self.reconcile()
            self._pass_ended = self._clock()

    def handle(self, events: Iterable[Event | Reconfigure]) -> None:
        """Take events in; nothing is written yet."""
        for event in events:
            match event:
                case Listed() | Changed() | Deleted() | Rejected() | SourceProblems() | ClusterNodeAddresses():
                    self._cache.apply(event)
                case NodeAddressesChanged():
                    self._attempt(_READ_ADDRESSES)
                case DummyInterfaceChanged():
                    self._dummy_changed(event)
                case Reconfigure():
                    self._reconfigure(event.settings)
                case Stop():
                    pass

    def reconcile(self) -> None:
        """Plan what is dirty, write what differs, retry what is due, publish the status."""
        if self._cache.nodes_changed:
            self._cache.nodes_changed = False
            self._node_changed()
        if self._cache.complete:
            if not self._first_sync_done:
                self._first_sync()
            else:
                self._write(self._plan_dirty())
                self._retry()
                self._drain_further()
                if _VERIFY not in self._failures:
                    self._attempt(_VERIFY)
            if self._stale_flows and _CLEAN_FLOWS not in self._failures:
                self._attempt(_CLEAN_FLOWS)
        self._publish()

    def next_wakeup(self, *, verification: bool = False) -> float | None:
        """Seconds until something is due without an event; None if nothing is.

        Args:
            verification: whether verification counts, which is always due again.
        """
        times = [self._failures.next_time(), self._drain.next_time()]
        if verification:
            times.append(self._verification.next_time())
        due = [t for t in times if t is not None]
        return max(0.0, min(due) - self._clock()) if due else None

    # -- events ------------------------------------------------------------------------------------------------

    def _gather(self) -> list[Event | Reconfigure]:
        """Wait for events or for something that is due; changes within the minimum period go together (SYN-06)."""
        try:
            events = [self._queue.get(timeout=self.next_wakeup(verification=True))]
        except queue.Empty:
            return []
        not_before = self._pass_ended + self._settings.min_sync_period_seconds
        while True:
            wait = not_before - self._clock()
            try:
                events.append(self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait())
            except queue.Empty:
                return events
            if isinstance(events[-1], Stop):
                return events

    def _dummy_changed(self, event: DummyInterfaceChanged) -> None:
        ledger = self._writer.ledger
        lost = set(event.removed) & ledger.addresses
        if event.gone:
            self._attempt(_CREATE_DUMMY)
            try:
                lost = ledger.addresses - addresses_on_dummy(self._drivers.addresses)
            except KernelError as error:
                self._failures.failed(_READ_KERNEL, error)
        if not lost:
            return  # our own removals, which are no longer in the ledger
        self._log.warning("addresses were removed by somebody else", interface=DUMMY_INTERFACE, count=len(lost))
        ledger.addresses -= lost
        self._write(Touched(addresses=dict.fromkeys(sorted(lost, key=lambda a: a.sort_key))))

    def _reconfigure(self, settings: Settings) -> None:
        if settings == self._settings:
            return
        try:
            check_scheduler(self._drivers, settings.scheduler)
        except AgentError as error:
            self._log.error("new configuration refused; the old one stays in force", error=error)
            return
        self._settings = settings
        self._writer.exclude = settings.exclude_networks
        self._planning.plan_all_next()
        self._attempt(_WRITE_SYSCTLS)
        self._attempt(_WRITE_RULES)
        self._attempt(_READ_ADDRESSES)
        self._log.info("configuration applied", scheduler=settings.scheduler)

    def _write_rules(self) -> None:
        self._rules = self._plan_rules()
        for rules in self._rules:
            ensure_rules(self._drivers, rules)

    # -- node facts --------------------------------------------------------------------------------------------

    def _plan_rules(self) -> tuple[RuleSet, ...]:
        node = own_node(self._cache, self._node_name)
        return plan_rule_sets(self._settings, node, self._families, random_fully=self._random_fully)

    def _node_changed(self) -> None:
        if self._plan_rules() != self._rules:
            self._attempt(_WRITE_RULES)
        self._attempt(_READ_ADDRESSES)

    def _read_node_addresses(self) -> None:
        facts = read_facts(
            self._drivers.addresses,
            self._cache,
            node_name=self._node_name,
            families=self._families,
            settings=self._settings,
        )
        self._planning.learn(facts)

    # -- planning and writing ----------------------------------------------------------------------------------

    @without_collections()
    def _first_sync(self) -> None:
        if not self._attempt(_READ_KERNEL):
            return
        self._attempt(_READ_ADDRESSES)
        for step in self._planning.first_steps():
            self._write(self._planning.plan(step, self._settings))
        self._first_sync_done = True
        self._stale_flows.note_all(self._writer.ledger)
        self._write(self._surplus())  # what is ours and no longer wanted goes last
        self._log.info(
            "first synchronisation done",
            services=len(self._desired),
            virtual_servers=len(self._desired.virtual_servers),
            failures=len(self._failures),
        )

    def _plan_dirty(self) -> Touched:
        if KUBERNETES_API in self._cache.dirty:
            self._attempt(_READ_ADDRESSES)  # the API servers' addresses are among the facts
        return self._planning.plan_dirty(self._settings)

    def _write(self, touched: Touched) -> None:
        if not touched:
            return
        held = self._stale_flows.held(touched.virtual_servers, self._writer.ledger)
        outcome = self._writer.write(touched)
        self._stale_flows.note(held, self._writer.ledger)
        if self._failures:
            items: tuple[Item, ...] = (*touched.virtual_servers, *touched.addresses, *touched.entries)
            for item in items:
                if item not in outcome.failures:
                    self._failures.well(item)
        for item, error in outcome.failures.items():
            self._failures.failed(item, error)
        for key, servers in outcome.draining.items():
            self._drain.begin(key, servers, self._clock())
        self._recover(outcome)

    def _clean_flows(self) -> None:
        deleted = self._stale_flows.clean(self._writer.ledger)
        if deleted:
            self._log.debug("stale flows deleted", count=deleted)

    def _drain_further(self) -> None:
        errors = self._drain.tick(
            self._drivers.ipvs,
            self._desired,
            self._writer.ledger,
            now=self._clock(),
            limit_seconds=self._settings.drain_timeout_seconds,
        )
        if errors:
            self._failures.failed(_READ_KERNEL, errors[0])

    def _recover(self, outcome: Outcome) -> None:
        if outcome.dummy_missing:
            self._attempt(_CREATE_DUMMY)
            self._writer.ledger.addresses.clear()
        for name in sorted(outcome.full_sets):
            try:
                size = grow_set(self._drivers, name)
            except KernelError as error:
                self._log.warning("set is full and cannot be replaced by a larger one", set=name, error=error)
            else:
                self._log.info("set was full; replaced by a larger one", set=name, max_elements=size)
        if outcome.drift:
            self._failures.failed(_READ_KERNEL, next(iter(outcome.failures.values())))

    def _retry(self) -> None:
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
                    self._attempt(item)
                    if item == _READ_KERNEL:
                        touched.update(self._everything())
        self._write(touched)

    def _reread(self) -> None:
        drivers = self._drivers
        ledger = read_kernel(
            drivers.ipvs,
            drivers.addresses,
            drivers.ip_sets,
            families=self._families,
            exclude=self._settings.exclude_networks,
        )
        self._verification.begin(ledger, self._clock())
        self._writer.ledger = ledger

    def _check_rules(self) -> None:
        """One family at a time, in turn."""
        self._rules_checked += 1
        for rules in self._rules[self._rules_checked % len(self._rules) :][:1]:
            if ensure_rules(self._drivers, rules):
                self._log.warning("rules were changed by somebody else; repaired", family=rules.family.label)

    def _create_sets(self) -> None:
        for rules in self._rules:
            ensure_sets(self._drivers, rules)

    def _verify(self) -> None:
        finding = self._verification.tick(
            self._writer.ledger, now=self._clock(), exclude=self._settings.exclude_networks
        )
        if finding is None:
            return
        if finding.sets_missing:
            self._attempt(_CREATE_SETS)
            self._attempt(_WRITE_RULES)  # no set can go while a rule refers to it
        if finding.check_rules:
            self._attempt(_CHECK_RULES)
            self._attempt(_CHECK_SYSCTLS)
        touched = finding.touched
        if finding.unknown and self._attempt(_READ_KERNEL):
            touched = self._everything()
        if touched:
            self._log.warning("the kernel was changed by somebody else; repairing", found=finding.describe())
            self._write(touched)

    def _surplus(self) -> Touched:
        """All that is held and not desired."""
        desired, ledger = self._desired, self._writer.ledger
        return Touched(
            dict.fromkeys(k for k in ledger.virtual_servers if k not in desired.virtual_servers),
            dict.fromkeys(a for a in ledger.addresses if a not in desired.addresses),
            dict.fromkeys(e for e in ledger.entries if e not in desired.entries),
        )

    def _everything(self) -> Touched:
        """All that is desired and all that is held: the differences between the two are found among them."""
        desired, ledger = self._desired, self._writer.ledger
        return Touched(
            dict.fromkeys((*desired.virtual_servers, *ledger.virtual_servers)),
            dict.fromkeys((*desired.addresses, *ledger.addresses)),
            dict.fromkeys((*desired.entries, *ledger.entries)),
        )

    # -- failures and status -----------------------------------------------------------------------------------

    def _attempt(self, name: str) -> bool:
        """Do something that concerns the whole node; a failure is retried."""
        return self._failures.attempt(name, self._tasks[name])

    def _publish(self) -> None:
        problems = frozenset((*self._cache.problems(), *self._desired.problems()))
        for problem in sorted(problems - self._reported):
            self._log.warning(str(problem))
            self.announce(problem)
        self._reported = problems
        self.status = Status(
            complete=self._cache.complete,
            synchronised=self._first_sync_done and not self._failures,
            services=len(self._desired),
            virtual_servers=len(self._desired.virtual_servers),
            failures=self._failures.texts(),
            problems=tuple(sorted(problems)),
        )
