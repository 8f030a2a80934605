"""Replanning: which Services to replan, in which order, and what their plans touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from ipvsagent.model.objects import EndpointSlice, ObjectKey, Service
from ipvsagent.planner.desired import Touched
from ipvsagent.planner.endpoints import any_local
from ipvsagent.planner.facts import KUBERNETES_API, NodeFacts, is_cluster_dns
from ipvsagent.planner.services import plan_service
from ipvsagent.reconciler.plans.port_names import PortNames
from ipvsagent.reconciler.plans.schedulers import Schedulers
from ipvsagent.reconciler.state import State

SERVICES_PER_STEP = 256
"""Services planned and written together; in a first sync, each step is written before the next is planned."""


class Replanning:
    """Updates the desired state when objects, settings or facts about the node change.

    The only writer of `State.desired` and `State.facts`.

    Attributes:
        port_names: the Service port that each virtual server serves.
    """

    def __init__(self, state: State, schedulers: Schedulers) -> None:
        self._state = state
        self._schedulers = schedulers
        self._all = False
        self.port_names = PortNames(state.objects, state.desired)

    def learn(self, facts: NodeFacts) -> None:
        """Take new facts about the node; all plans are out of date if they differ."""
        facts = replace(facts, missing_schedulers=self._schedulers.missing)
        self._all |= facts != self._state.facts
        self._state.facts = facts

    @property
    def is_due(self) -> bool:
        """Return whether a plan is out of date."""
        return self._all or bool(self._state.objects.dirty)

    def look_for_schedulers(self) -> None:
        """Check for schedulers that were missing, if it is time; the next plans use those that are found."""
        if self._schedulers.due:
            self._load_schedulers(self._state.objects.services)

    def try_schedulers_again(self) -> None:
        """Retry loading schedulers that could not be loaded; use those that can be loaded now.

        Raises:
            KernelError: one of them cannot be loaded yet.
        """
        try:
            self._schedulers.try_again(_schedulers_of(self._state.objects.services.values()))
        finally:
            self.learn(self._state.facts)

    def plan_all_next(self) -> None:
        """Mark all plans as out of date, and check again for schedulers that were missing."""
        self._all = True
        self._schedulers.forget()

    def first_steps(self) -> Iterator[list[ObjectKey]]:
        """Yield all Services in the order of a first sync, in steps.

        The API server's Service is a separate first step: it is written before the other Services are even sorted, so
        that a new node's wait for it does not depend on the size of the cluster.
        """
        objects = self._state.objects
        services, dirty = objects.services, objects.take_dirty()
        self._all = False
        if KUBERNETES_API in dirty and KUBERNETES_API in services:
            del dirty[KUBERNETES_API]
            yield [KUBERNETES_API]
        known = [key for key in dirty if key in services]
        keys = first_sync_order([(services[k], objects.slices_of(k)) for k in known], self._state.facts.name)
        for start in range(0, len(keys), SERVICES_PER_STEP):
            yield keys[start : start + SERVICES_PER_STEP]

    def replan(self) -> Touched:
        """Plan all Services whose plans are out of date."""
        dirty = self._state.objects.take_dirty()
        if self._all:
            self._all = False
            dirty.update(dict.fromkeys(self._state.objects.services))
        return self.plan(dirty)

    def plan(self, services: Iterable[ObjectKey]) -> Touched:
        """Plan these Services; a removed Service has an empty plan."""
        state, objects = self._state, self._state.objects
        touched = Touched()
        services = list(services)
        self._load_schedulers(services)
        for key in services:
            service = objects.services.get(key)
            plan = None
            if service is not None:
                plan = plan_service(service, objects.slices_of(key), node=state.facts, settings=state.settings)
            before = state.desired.plan(key)
            changed = state.desired.replace(key, plan)
            self.port_names.note(key, before)
            touched.update(changed)
        return touched

    def _load_schedulers(self, services: Iterable[ObjectKey]) -> None:
        """Load the schedulers that these Services request, before anything is written with them."""
        known = (self._state.objects.services.get(key) for key in services)
        self._schedulers.load(_schedulers_of(s for s in known if s is not None))
        missing = self._schedulers.missing
        if missing != self._state.facts.missing_schedulers:
            self._all |= bool(self._state.facts.missing_schedulers - missing)  # some plans may lack it
            self._state.facts = replace(self._state.facts, missing_schedulers=missing)


def _schedulers_of(services: Iterable[Service]) -> set[str]:
    """Return the schedulers that Services request."""
    return {s.scheduling.scheduler for s in services if s.scheduling and s.scheduling.scheduler}


def first_sync_order(services: Iterable[tuple[Service, Sequence[EndpointSlice]]], node_name: str) -> list[ObjectKey]:
    """Sort: the API server, cluster DNS, Services with endpoints on this node, the rest (DEV-06)."""
    ranked = sorted((_rank(service, slices, node_name), service.key) for service, slices in services)
    return [key for _, key in ranked]


def _rank(service: Service, slices: Sequence[EndpointSlice], node_name: str) -> int:
    if service.key == KUBERNETES_API:
        return 0
    if is_cluster_dns(service):
        return 1
    if any(any_local(piece.endpoints, node_name) for piece in slices):
        return 2
    return 3
