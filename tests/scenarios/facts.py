"""Facts of a plan as short texts, so that a scenario states what must be, in the words of the tools."""

from __future__ import annotations

from collections.abc import Sequence

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import EndpointSlice, Service
from ipvsagent.model.state import DesiredState
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.planner.plan import plan_all, whole_state
from support.builders import NODE


def plan(
    services: Service | Sequence[Service],
    *slices: EndpointSlice,
    node: NodeFacts = NODE,
    settings: Settings = Settings(),  # noqa: B008 - immutable
) -> DesiredState:
    """Plan objects from scratch."""
    several = [services] if isinstance(services, Service) else services
    return whole_state(plan_all(several, slices, facts=node, settings=settings), rules=())


def real_servers(state: DesiredState, virtual_server: str) -> list[str]:
    """The real servers of ``10.96.0.10:80/TCP``, sorted; fails if there is no such virtual server."""
    by_name = {str(v.key): v for v in state.virtual_servers}
    return [str(r) for r in by_name[virtual_server].real_servers]


def virtual_servers(state: DesiredState) -> list[str]:
    """All virtual servers as ``10.96.0.10:80/TCP``."""
    return [str(v.key) for v in state.virtual_servers]


def entries(state: DesiredState, set_name: str) -> list[str]:
    """The entries of one set in ipset's words."""
    return [e.text for e in state.entries if e.set_name == set_name]


def sets_in_use(state: DesiredState) -> dict[str, list[str]]:
    """All entries by set."""
    names = sorted({e.set_name for e in state.entries})
    return {name: entries(state, name) for name in names}


def bound(state: DesiredState) -> list[str]:
    """Addresses on the dummy interface."""
    return [str(a) for a in state.addresses]


def problems(state: DesiredState) -> list[str]:
    """All problems as text."""
    return [str(p) for p in state.problems]
