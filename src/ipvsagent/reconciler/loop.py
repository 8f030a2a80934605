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
from ipvsagent.errors import AgentError, KernelError, NodeUnusable
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Address, Family
from ipvsagent.model.events import (
    Changed,
    Deleted,
    DummyInterfaceChanged,
    Event,
    Listed,
    NodeAddressesChanged,
    Rejected,
    SourceProblems,
    Stop,
)
from ipvsagent.model.objects import Node, ObjectKey, Problem
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DUMMY_INTERFACE, SetEntry, VirtualServerKey
from ipvsagent.model.status import Status
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.planner.facts import (
    KUBERNETES_API,
    NodeFacts,
    api_server_addresses,
    choose_node_port_addresses,
    usable_node_addresses,
)
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.planner.services import plan_service
from ipvsagent.reconciler.adopt import addresses_on_dummy, read_kernel
from ipvsagent.reconciler.cache import ObjectCache
from ipvsagent.reconciler.conntrack import StaleFlows
from ipvsagent.reconciler.drain import Drain
from ipvsagent.reconciler.ledger import Ledger
from ipvsagent.reconciler.order import first_sync_order
from ipvsagent.reconciler.prepare import (
    check_scheduler,
    ensure_dummy,
    ensure_rules,
    prepare_node,
    write_sysctls,
)
from ipvsagent.reconciler.retry import RetrySchedule
from ipvsagent.reconciler.writer import Item, Outcome, Writer

SERVICES_PER_STEP = 256
"""Services planned and written together; in a first sync the first step reaches the kernel before the next."""


# Work that concerns the whole node, by the name under which its failure is reported and retried.
_READ_KERNEL = "read the kernel"
_READ_ADDRESSES = "read node addresses"
_WRITE_RULES = "write rules"
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
        self._writer = Writer(drivers, self._desired, Ledger())
        self._facts = NodeFacts(node_name, families=families)
        self._retries: RetrySchedule[Item | str] = RetrySchedule()
        self._failures: dict[Item | str, AgentError] = {}
        self._rules: tuple[RuleSet, ...] = ()
        self._first_sync_done = False
        self._reported: frozenset[Problem] = frozenset()
        self._drain = Drain()
        self._stale_flows = StaleFlows(drivers.conntrack)
        self._replan_all = False
        self._pass_ended = -math.inf
        self._tasks: dict[str, Callable[[], object]] = {
            _READ_KERNEL: self._reread,
            _READ_ADDRESSES: self._read_node_addresses,
            _WRITE_RULES: self._write_rules,
            _WRITE_SYSCTLS: lambda: write_sysctls(drivers, self._settings, log),
            _CREATE_DUMMY: lambda: ensure_dummy(drivers),
            _CLEAN_FLOWS: self._clean_flows,
        }
        self.status = Status()

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
                case Listed() | Changed() | Deleted() | Rejected() | SourceProblems():
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
            if self._stale_flows and _CLEAN_FLOWS not in self._retries:
                self._attempt(_CLEAN_FLOWS)
        self._publish()

    def next_wakeup(self) -> float | None:
        """Seconds until something is due without an event; None if nothing is."""
        times = [t for t in (self._retries.next_time(), self._drain.next_time()) if t is not None]
        return max(0.0, min(times) - self._clock()) if times else None

    # -- events ------------------------------------------------------------------------------------------------

    def _gather(self) -> list[Event | Reconfigure]:
        """Wait for events or for something that is due; changes within the minimum period go together (SYN-06)."""
        try:
            events = [self._queue.get(timeout=self.next_wakeup())]
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
                self._failed(_READ_KERNEL, error)
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
        self._replan_all = True
        self._attempt(_WRITE_SYSCTLS)
        self._attempt(_WRITE_RULES)
        self._attempt(_READ_ADDRESSES)
        self._log.info("configuration applied", scheduler=settings.scheduler)

    def _write_rules(self) -> None:
        self._rules = self._plan_rules()
        for rules in self._rules:
            ensure_rules(self._drivers, rules)

    # -- node facts --------------------------------------------------------------------------------------------

    def _own_node(self) -> Node | None:
        return self._cache.nodes.get(ObjectKey("", self._node_name))

    def _plan_rules(self) -> tuple[RuleSet, ...]:
        return plan_rule_sets(self._settings, self._own_node(), self._families, random_fully=self._random_fully)

    def _node_changed(self) -> None:
        if self._plan_rules() != self._rules:
            self._attempt(_WRITE_RULES)
        self._attempt(_READ_ADDRESSES)

    def _read_node_addresses(self) -> None:
        listed = self._drivers.addresses.list_addresses()
        addresses = usable_node_addresses(a.address for a in listed if a.link_name != DUMMY_INTERFACE)
        node = self._own_node()
        internal = node.addresses if node else ()
        others = {a for n in self._cache.nodes.values() if n is not node for a in n.addresses}
        facts = NodeFacts(
            name=self._node_name,
            zone=node.zone if node else "",
            families=self._families,
            addresses=addresses,
            node_port_addresses=choose_node_port_addresses(
                self._settings.node_port_addresses, addresses, internal_addresses=internal
            ),
            internal_addresses=internal,
            other_node_addresses=frozenset(others),
            api_server_addresses=api_server_addresses(self._cache.slices_of(KUBERNETES_API)),
        )
        if facts != self._facts:
            self._facts = facts
            self._replan_all = True

    # -- planning and writing ----------------------------------------------------------------------------------

    def _first_sync(self) -> None:
        try:
            self._writer.ledger = self._read_ledger()
        except KernelError as error:
            self._failed(_READ_KERNEL, error)
            return
        self._well(_READ_KERNEL)
        self._attempt(_READ_ADDRESSES)
        dirty = [key for key in self._cache.dirty if key in self._cache.services]
        self._cache.dirty.clear()
        self._replan_all = False
        services = [(self._cache.services[key], self._cache.slices_of(key)) for key in dirty]
        for step in _steps(first_sync_order(services, self._node_name), SERVICES_PER_STEP):
            self._write(self._plan(step))
        self._first_sync_done = True
        self._stale_flows.note_all(self._writer.ledger)
        self._write(self._everything())  # what is ours and no longer wanted goes last
        self._log.info(
            "first synchronisation done",
            services=len(services),
            virtual_servers=len(self._desired.virtual_servers),
            failures=len(self._failures),
        )

    def _plan_dirty(self) -> Touched:
        dirty = self._cache.dirty
        if KUBERNETES_API in dirty:
            self._attempt(_READ_ADDRESSES)  # the API servers' addresses are among the facts
        if self._replan_all:
            self._replan_all = False
            dirty.update(dict.fromkeys(self._cache.services))
        keys = list(dirty)
        dirty.clear()
        return self._plan(keys)

    def _plan(self, services: Iterable[ObjectKey]) -> Touched:
        touched = Touched()
        for key in services:
            service = self._cache.services.get(key)
            plan = None
            if service is not None:
                slices = self._cache.slices_of(key)
                plan = plan_service(service, slices, node=self._facts, settings=self._settings)
            touched.update(self._desired.replace(key, plan))
        return touched

    def _write(self, touched: Touched) -> None:
        if not touched:
            return
        held = self._stale_flows.held(touched.virtual_servers, self._writer.ledger)
        outcome = self._writer.write(touched)
        self._stale_flows.note(held, self._writer.ledger)
        items: tuple[Item, ...] = (*touched.virtual_servers, *touched.addresses, *touched.entries)
        for item in items:
            if item not in outcome.failures:
                self._well(item)
        for item, error in outcome.failures.items():
            self._failed(item, error)
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
            self._failed(_READ_KERNEL, errors[0])

    def _recover(self, outcome: Outcome) -> None:
        if outcome.dummy_missing:
            self._attempt(_CREATE_DUMMY)
            self._writer.ledger.addresses.clear()
        if outcome.drift:
            self._failed(_READ_KERNEL, next(iter(outcome.failures.values())))

    def _retry(self) -> None:
        due = self._retries.take_due(self._clock())
        touched = Touched()
        for item in due:
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
        self._writer.ledger = self._read_ledger()

    def _read_ledger(self) -> Ledger:
        drivers = self._drivers
        return read_kernel(
            drivers.ipvs,
            drivers.addresses,
            drivers.ip_sets,
            families=self._families,
            exclude=self._settings.exclude_networks,
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

    def _attempt(self, name: str) -> None:
        """Do something that concerns the whole node; a failure is retried."""
        try:
            self._tasks[name]()
        except (KernelError, NodeUnusable) as error:
            self._failed(name, error)
        else:
            self._well(name)

    def _failed(self, item: Item | str, error: AgentError) -> None:
        if str(self._failures.get(item)) != str(error):
            self._log.warning("not written, will be retried", item=item, error=error)
        self._failures[item] = error
        self._retries.failed(item, self._clock())

    def _well(self, item: Item | str) -> None:
        if self._failures.pop(item, None) is not None:
            self._log.info("written after a failure", item=item)
            self._retries.succeeded([item])

    def _publish(self) -> None:
        problems = frozenset((*self._cache.problems(), *self._desired.problems()))
        for problem in sorted(problems - self._reported):
            self._log.warning(str(problem))
        self._reported = problems
        self.status = Status(
            complete=self._cache.complete,
            synchronised=self._first_sync_done and not self._failures,
            services=len(self._desired),
            virtual_servers=len(self._desired.virtual_servers),
            failures=tuple(f"{item}: {error}" for item, error in self._failures.items()),
            problems=tuple(sorted(problems)),
        )


def _steps(keys: list[ObjectKey], size: int) -> Iterable[list[ObjectKey]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
