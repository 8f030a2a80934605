"""Which Services have to be planned anew, and what their plans touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import ObjectKey, Service
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.planner.facts import KUBERNETES_API, NodeFacts
from ipvsagent.planner.services import plan_service
from ipvsagent.reconciler.objects.cache import ObjectCache
from ipvsagent.reconciler.plans.order import first_sync_order
from ipvsagent.reconciler.plans.port_names import PortNames
from ipvsagent.reconciler.plans.schedulers import Schedulers

SERVICES_PER_STEP = 256
"""Services planned and written together; in a first sync the first step reaches the kernel before the next."""


class Planning:
    """The objects, the desired state that follows from them, and the Services whose plans are out of date.

    Attributes:
        facts: set by `learn`, and by planning where it finds a scheduler missing.
        names: which Service's port each virtual server serves.
    """

    def __init__(self, cache: ObjectCache, desired: Desired, facts: NodeFacts, schedulers: Schedulers) -> None:
        self._cache = cache
        self._schedulers = schedulers
        self._desired = desired
        self._all = False
        self.facts = facts
        self.names = PortNames(cache, desired)

    def learn(self, facts: NodeFacts) -> None:
        """Take new facts about the node; all plans are out of date if they differ."""
        facts = replace(facts, missing_schedulers=self._schedulers.missing)
        self._all |= facts != self.facts
        self.facts = facts

    def look_for_schedulers(self) -> None:
        """Look whether a scheduler that was missing has come, if it is time; it is used from the next planning on."""
        if self._schedulers.due:
            self._load_schedulers(self._cache.services)

    def try_schedulers_again(self) -> None:
        """Load schedulers that could not be loaded before; those that can now are used.

        Raises:
            KernelError: one of them cannot be loaded yet.
        """
        try:
            self._schedulers.try_again(_schedulers_of(self._cache.services.values()))
        finally:
            self.learn(self.facts)

    def plan_all_next(self) -> None:
        """Consider all plans out of date; schedulers that were missing are looked for again."""
        self._all = True
        self._schedulers.forget()

    def first_steps(self) -> Iterator[list[ObjectKey]]:
        """All Services in the order in which a first sync takes them, a step at a time.

        The API server's Service is a step of its own that comes before the others are even looked at: how long a new
        node waits for it does not depend on the size of the cluster.
        """
        services = self._cache.services
        dirty = self._cache.dirty
        self._all = False
        if KUBERNETES_API in dirty and KUBERNETES_API in services:
            del dirty[KUBERNETES_API]
            yield [KUBERNETES_API]
        known = [key for key in dirty if key in services]
        dirty.clear()
        keys = first_sync_order([(services[k], self._cache.slices_of(k)) for k in known], self.facts.name)
        for start in range(0, len(keys), SERVICES_PER_STEP):
            yield keys[start : start + SERVICES_PER_STEP]

    def plan_dirty(self, settings: Settings) -> Touched:
        """Plan all Services whose plans are out of date."""
        dirty = self._cache.dirty
        if self._all:
            self._all = False
            dirty.update(dict.fromkeys(self._cache.services))
        keys = list(dirty)
        dirty.clear()
        return self.plan(keys, settings)

    def plan(self, services: Iterable[ObjectKey], settings: Settings) -> Touched:
        """Plan these Services; those that are gone leave nothing."""
        touched = Touched()
        services = list(services)
        self._load_schedulers(services)
        for key in services:
            service = self._cache.services.get(key)
            plan = None
            if service is not None:
                plan = plan_service(service, self._cache.slices_of(key), node=self.facts, settings=settings)
            before = self._desired.plan(key)
            changed = self._desired.replace(key, plan)
            self.names.note(key, before)
            touched.update(changed)
        return touched

    def _load_schedulers(self, services: Iterable[ObjectKey]) -> None:
        """Have the schedulers loaded that these Services ask for, before anything is written with them."""
        known = (self._cache.services.get(key) for key in services)
        self._schedulers.load(_schedulers_of(s for s in known if s is not None))
        missing = self._schedulers.missing
        if missing != self.facts.missing_schedulers:
            self._all |= bool(self.facts.missing_schedulers - missing)  # others may have done without it
            self.facts = replace(self.facts, missing_schedulers=missing)


def _schedulers_of(services: Iterable[Service]) -> set[str]:
    """The schedulers that Services ask for."""
    return {s.scheduling.scheduler for s in services if s.scheduling and s.scheduling.scheduler}
