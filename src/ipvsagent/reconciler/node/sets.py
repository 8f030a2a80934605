"""The ipsets that the rules match: create them, replace wrong ones, enlarge full ones."""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from ipvsagent.errors import Busy, NodeUnusable, NotFound
from ipvsagent.kernel.api import Drivers, IpSets
from ipvsagent.model.address import Family
from ipvsagent.model.ops import AddEntry
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import ObservedSet, SetSpec
from ipvsagent.planner.sets import set_specs

_TEMPORARY_SET = "KUBE-IPVSAGENT-TEMP"


def ensure_sets(drivers: Drivers, rules: RuleSet) -> None:
    """Create missing sets of a family and replace those of the wrong type, family or size (SET-34, DEV-25)."""
    present = {s.name: s for s in drivers.ip_sets.list_sets()}
    if _TEMPORARY_SET in present:  # left by an interrupted replacement
        drivers.ip_sets.destroy(_TEMPORARY_SET)
    for spec in set_specs(rules.family):
        observed = present.get(spec.name)
        if observed is None:
            drivers.ip_sets.create(spec)
        elif not _serves(observed, spec):
            _replace_set(drivers, observed, spec, rules)


def grow_set(drivers: Drivers, name: str) -> int:
    """Replace a full set with one of twice the size and the same entries; return the new size (DEV-24).

    Raises:
        KernelError: it could not be replaced; the old one stays.
    """
    observed = next(s for s in drivers.ip_sets.list_sets() if s.name == name)
    spec = next(s for family in Family for s in set_specs(family) if s.name == name)
    grown = replace(spec, max_elements=2 * observed.max_elements)
    _swap_in(drivers.ip_sets, grown)
    return grown.max_elements


def _serves(observed: ObservedSet, spec: SetSpec) -> bool:
    same_kind = observed.type == spec.type and observed.family is spec.family
    return same_kind and observed.max_elements >= spec.max_elements


def _replace_set(drivers: Drivers, observed: ObservedSet, spec: SetSpec, rules: RuleSet) -> None:
    """Replace a wrong set, by swapping if the kernel can."""
    if observed.type == spec.type and observed.family is spec.family:
        _swap_in(drivers.ip_sets, spec)
        return
    drivers.rules[rules.family].remove(rules)  # they are written again right after this
    try:
        drivers.ip_sets.destroy(spec.name)
    except Busy as error:
        raise NodeUnusable(
            f"ipset `{spec.name}` is of type {observed.type} and in use by a foreign rule",
            f"remove the rule that matches `{spec.name}`",
        ) from error
    drivers.ip_sets.create(spec)


def _swap_in(ip_sets: IpSets, spec: SetSpec) -> None:
    """Replace a set with one of the right size and the same entries, atomically.

    Raises:
        KernelError: the new set could not be created or filled; the old one stays.
    """
    with contextlib.suppress(NotFound):
        ip_sets.destroy(_TEMPORARY_SET)
    ip_sets.create(SetSpec(_TEMPORARY_SET, spec.type, spec.family, spec.max_elements))
    results = ip_sets.apply([AddEntry(replace(e, set_name=_TEMPORARY_SET)) for e in ip_sets.list_entries(spec)])
    for error in results:
        if error is not None:
            raise error
    ip_sets.swap(_TEMPORARY_SET, spec.name)
    ip_sets.destroy(_TEMPORARY_SET)
