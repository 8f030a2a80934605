"""The desired state of the whole node, changed one Service's plan at a time.

`Desired` combines the plans: it resolves claims and counts how many frontends share an address or a set entry. A
change returns what it touched, so that only these items are compared with the kernel.

Invariant: the state depends only on the plans, not on the order in which they were added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ipvsagent.model.address import Address
from ipvsagent.model.objects import ObjectKey, Problem
from ipvsagent.model.state import (
    Frontend,
    HealthCheck,
    NoLocalEndpoints,
    ServicePlan,
    SetEntry,
    VirtualServer,
    VirtualServerKey,
)
from ipvsagent.planner.claims import Claim, Claims

Origin = ObjectKey | VirtualServerKey
"""The origin of problems: a Service's plan, or a virtual server that several Services claim."""


@dataclass(slots=True)
class Touched:
    """What a change of plans may have changed; dicts serve as ordered sets."""

    virtual_servers: dict[VirtualServerKey, None] = field(default_factory=dict)
    addresses: dict[Address, None] = field(default_factory=dict)
    entries: dict[SetEntry, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.virtual_servers or self.addresses or self.entries)

    def update(self, other: Touched) -> None:
        """Add what another change touched."""
        self.virtual_servers.update(other.virtual_servers)
        self.addresses.update(other.addresses)
        self.entries.update(other.entries)


class Desired:
    """The state that the kernel should have, from the plans of all Services."""

    def __init__(self) -> None:
        self.virtual_servers: dict[VirtualServerKey, VirtualServer] = {}
        self.addresses: dict[Address, int] = {}  # on the dummy interface, with the number of frontends
        self.entries: dict[SetEntry, int] = {}  # with the number of frontends and plans that have it
        self._plans: dict[ObjectKey, ServicePlan] = {}
        self._troubled: dict[ObjectKey, None] = {}  # Services whose plan has problems; there are few
        self._doubtful: dict[Origin, None] = {}  # origins whose problems may have changed
        self._claims = Claims()
        self.no_local_endpoints: Counter[NoLocalEndpoints] = Counter()  # number of Services (EP-38)
        self._health_checks: dict[ObjectKey, tuple[HealthCheck, ...]] = {}
        self._health_checks_copy: Mapping[ObjectKey, tuple[HealthCheck, ...]] | None = None

    def __len__(self) -> int:
        """Return the number of Services that have a plan."""
        return len(self._plans)

    @property
    def health_checks(self) -> Mapping[ObjectKey, tuple[HealthCheck, ...]]:
        """Return the health checks of all Services; an immutable value, the same one until a plan changes it."""
        if self._health_checks_copy is None:
            self._health_checks_copy = MappingProxyType(self._health_checks.copy())
        return self._health_checks_copy

    def plan(self, service: ObjectKey) -> ServicePlan | None:
        """Return the plan of a Service."""
        return self._plans.get(service)

    def owner(self, key: VirtualServerKey) -> ObjectKey | None:
        """Return the Service that owns a virtual server."""
        return self._claims.owner(key)

    def replace(self, service: ObjectKey, plan: ServicePlan | None) -> Touched:
        """Replace the plan of a Service.

        Args:
            plan: None removes the Service.

        Returns:
            Everything whose desired state may differ from before; empty if the plan is the same.
        """
        touched = Touched()
        old = self._plans.get(service)
        if old == plan:
            return touched
        self._troubled.pop(service, None)
        if (old.problems if old else ()) != (plan.problems if plan else ()):
            self._doubtful[service] = None
        if (old.health_checks if old else ()) != (plan.health_checks if plan else ()):
            self._change_health_checks(service, plan.health_checks if plan else ())
        if old is not None and old.no_local_endpoints:
            self.no_local_endpoints.subtract(old.no_local_endpoints)
        if plan is not None and plan.no_local_endpoints:
            self.no_local_endpoints.update(plan.no_local_endpoints)
        if plan is None:
            del self._plans[service]
        else:
            self._plans[service] = plan
            if plan.problems:
                self._troubled[service] = None
        for entry in plan.entries if plan else ():
            self._hold_entry(entry, touched)
        for entry in old.entries if old else ():
            self._drop_entry(entry, touched)
        old_frontends = {f.virtual_server.key: f for f in old.frontends} if old else {}
        new_frontends = {f.virtual_server.key: f for f in plan.frontends} if plan else {}
        created_at = plan.created_at if plan else ""
        # New frontends first: an entry or address that moves to another frontend is never removed in between.
        for key in (*new_frontends, *(k for k in old_frontends if k not in new_frontends)):
            new = new_frontends.get(key)
            if new is not None and self._claims.take_free(key, new.kind, created_at, service):  # nearly always
                touched.virtual_servers[key] = None
                self.virtual_servers[key] = new.virtual_server
                self._hold(new, touched)
                continue
            self._move(key, service, old_frontends.get(key), new_frontends.get(key), created_at, touched)
        return touched

    def conflicts(self) -> Iterator[Problem]:
        """Yield every lost claim as a problem of the Service that lost it."""
        for key in self._claims.losers():
            yield from self._conflicts_over(key)

    def problems(self) -> Iterator[Problem]:
        """Yield the problems of all plans, including conflicts."""
        for service in self._troubled:
            yield from self._plans[service].problems
        yield from self.conflicts()

    def take_doubtful(self) -> list[Origin]:
        """Return the origins whose problems may have changed since the last call."""
        doubtful, self._doubtful = self._doubtful, {}
        return list(doubtful)

    def problems_of(self, origin: Origin) -> tuple[Problem, ...]:
        """Return the current problems of one origin."""
        if isinstance(origin, VirtualServerKey):
            return tuple(self._conflicts_over(origin))
        plan = self._plans.get(origin)
        return plan.problems if plan else ()

    def _conflicts_over(self, key: VirtualServerKey) -> Iterator[Problem]:
        owner = self._claims.owner(key)
        for claim in self._claims.losers_of(key):
            reason = f"{key} belongs to Service {owner}, which has precedence; it moves here when that one is removed"
            yield Problem("Service", str(claim.service), "", reason, "AddressConflict")

    def _change_health_checks(self, service: ObjectKey, checks: tuple[HealthCheck, ...]) -> None:
        self._health_checks.pop(service, None)
        if checks:
            self._health_checks[service] = checks
        self._health_checks_copy = None

    def _move(
        self,
        key: VirtualServerKey,
        service: ObjectKey,
        old: Frontend | None,
        new: Frontend | None,
        created_at: str,
        touched: Touched,
    ) -> None:
        """Replace a Service's frontend on a virtual server, no matter which Service owns it before and after."""
        before, contested = self._claims.owner(key), bool(self._claims.losers_of(key))
        held = old if before == service else self._frontend(before, key)
        if old is not None:
            self._claims.withdraw(key, service)
        if new is not None:
            self._claims.enter(key, Claim.of(new.kind, created_at, service))
        after = self._claims.owner(key)
        if contested or self._claims.losers_of(key):
            self._doubtful[key] = None
        wanted = new if after == service else self._frontend(after, key)
        if held == wanted:
            return
        touched.virtual_servers[key] = None
        if wanted is not None:
            self.virtual_servers[key] = wanted.virtual_server
            self._hold(wanted, touched)
        else:
            del self.virtual_servers[key]
        if held is not None:
            self._release(held, touched)

    def _frontend(self, owner: ObjectKey | None, key: VirtualServerKey) -> Frontend | None:
        plan = self._plans.get(owner) if owner else None
        if plan is None:
            return None
        return next((f for f in plan.frontends if f.virtual_server.key == key), None)

    def _hold(self, frontend: Frontend, touched: Touched) -> None:
        for entry in frontend.entries:
            self._hold_entry(entry, touched)
        if frontend.bind:
            address = frontend.virtual_server.key.address
            count = self.addresses.get(address, 0)
            self.addresses[address] = count + 1
            if not count:
                touched.addresses[address] = None

    def _release(self, frontend: Frontend, touched: Touched) -> None:
        for entry in frontend.entries:
            self._drop_entry(entry, touched)
        if frontend.bind:
            address = frontend.virtual_server.key.address
            self.addresses[address] -= 1
            if not self.addresses[address]:
                del self.addresses[address]
                touched.addresses[address] = None

    def _hold_entry(self, entry: SetEntry, touched: Touched) -> None:
        count = self.entries.get(entry, 0)
        self.entries[entry] = count + 1
        if not count:
            touched.entries[entry] = None

    def _drop_entry(self, entry: SetEntry, touched: Touched) -> None:
        self.entries[entry] -= 1
        if not self.entries[entry]:
            del self.entries[entry]
            touched.entries[entry] = None
