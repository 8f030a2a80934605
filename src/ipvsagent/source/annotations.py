"""Read annotations: a Service's scheduler and traffic restrictions, and the weight of a slice's endpoints.

Each annotation has our name; those of Services also have kube-router's name (KR-30), so that manifests written for
kube-router have the same meaning here. If both are present, ours counts. An invalid value is ignored with a problem.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec import UNSET, Struct

from ipvsagent.config.values import SCHEDULERS
from ipvsagent.config.words import near_miss
from ipvsagent.model.objects import DEFAULT_WEIGHT, Scheduling
from ipvsagent.model.state import FLAG_SCHEDULER_1, FLAG_SCHEDULER_2, FLAG_SCHEDULER_3
from ipvsagent.source import api_types
from ipvsagent.source.problems import Problems

HIGHEST_WEIGHT = 65535


class _Flag(NamedTuple):
    """A word for a scheduler flag: its bit, and the only scheduler that it applies to (empty: any)."""

    bit: int
    scheduler: str


_FLAGS: Mapping[str, _Flag] = MappingProxyType(
    {
        "flag-1": _Flag(FLAG_SCHEDULER_1, ""),
        "flag-2": _Flag(FLAG_SCHEDULER_2, ""),
        "flag-3": _Flag(FLAG_SCHEDULER_3, ""),
        "sh-fallback": _Flag(FLAG_SCHEDULER_1, "sh"),
        "sh-port": _Flag(FLAG_SCHEDULER_2, "sh"),
        "mh-fallback": _Flag(FLAG_SCHEDULER_1, "mh"),
        "mh-port": _Flag(FLAG_SCHEDULER_2, "mh"),
    }
)
# kube-router applies flags only to mh (KR-02): they have no effect on other schedulers, and must not have one here.
_ROUTER_FLAGS = MappingProxyType({w: _Flag(f.bit, "mh") for w, f in _FLAGS.items() if f.scheduler != "sh"})


class Wish(enum.Enum):
    """The state of an annotation that restricts a Service."""

    NONE = enum.auto()  # absent, or `false`
    GRANTED = enum.auto()
    UNREADABLE = enum.auto()  # gets the most restrictive meaning (DEV-60)


class Wishes(Struct, frozen=True, gc=False):
    """The values of one Service's annotations.

    Args:
        local: external traffic policy Local and internal policy Cluster, whatever the spec says (KR-03); if it cannot
            be read, the internal policy of the spec applies.
        skips_balancer_ips: load balancer IPs are not served (KR-06).
    """

    scheduling: Scheduling | None = None
    local: Wish = Wish.NONE
    skips_balancer_ips: Wish = Wish.NONE


NO_WISHES = Wishes()
_NOTHING_GIVEN = api_types.ServiceAnnotations()


class _Given(NamedTuple):
    """An annotation that is present, as text."""

    field: str
    text: str
    of_router: bool


def wishes_of(found: api_types.ServiceAnnotations, problems: Problems) -> Wishes:
    """Read the annotations of a Service (KR-01 to KR-03, KR-06)."""
    if found == _NOTHING_GIVEN:
        return NO_WISHES
    return Wishes(
        _scheduling(found, problems),
        _local(found, problems),
        _skips_balancer_ips(found, problems),
    )


def weight_of(found: api_types.SliceAnnotations | None, problems: Problems) -> int:
    """Return the weight of a slice's endpoints (DEV-15)."""
    value = found.weight if found else UNSET
    if value is UNSET:
        return DEFAULT_WEIGHT
    field = "metadata.annotations[ipvsagent.io/weight]"
    text = _text(value, field, problems)
    if text is None:
        return DEFAULT_WEIGHT
    if text.isascii() and text.isdecimal() and len(text) <= len(str(HIGHEST_WEIGHT)) and int(text) <= HIGHEST_WEIGHT:
        return int(text)
    problems.add(field, f"`{_short(text)}` is not a number in 0-{HIGHEST_WEIGHT}; the weight is {DEFAULT_WEIGHT}")
    return DEFAULT_WEIGHT


def _scheduling(found: api_types.ServiceAnnotations, problems: Problems) -> Scheduling | None:
    """Return scheduler and flags; None if the scheduler is unknown, because its flags then have no meaning."""
    named, flags = _given(found, "scheduler", problems), _given(found, "scheduler_flags", problems)
    scheduler = named.text if named else ""
    if named and scheduler and scheduler not in SCHEDULERS:
        what = f"`{_short(scheduler)}` is not a scheduler{near_miss(scheduler[:16], SCHEDULERS)}"
        problems.add(named.field, f"{what}; the cluster's scheduler is used")
        return None
    bits, flags_for = _flags(flags, problems) if flags else (None, "")
    if not scheduler and bits is None:
        return None
    return Scheduling(scheduler, bits, flags_for, named.field if named else "", flags.field if flags else "")


def _flags(given: _Given, problems: Problems) -> tuple[int | None, str]:
    """Return the bits and the scheduler that they apply to; None instead of bits if no word is valid."""
    known = _ROUTER_FLAGS if given.of_router else _FLAGS
    bits, flags_for = 0, ""
    words = [w for w in map(str.strip, given.text.split(",")) if w]
    used = 0
    for word in words:
        flag = known.get(word)
        if flag is None:
            problems.add(given.field, f"`{_short(word)}` is none of {', '.join(known)}; it is ignored")
        elif flag.scheduler and flags_for not in ("", flag.scheduler):
            problems.add(given.field, f"`{word}` is not a flag of `{flags_for}`; it is ignored")
        else:
            bits, flags_for, used = bits | flag.bit, flags_for or flag.scheduler, used + 1
    return (bits, flags_for) if used or not words else (None, "")


def _local(found: api_types.ServiceAnnotations, problems: Problems) -> Wish:
    """Read the annotation; kube-router's is ignored unless it is `true` (KR-03), ours must be `true` or `false`."""
    name, value = _present(found, "local")
    if isinstance(value, str) and name == "router_local" and value.strip() != "true":
        if value.strip() not in ("", "false"):
            problems.add(_FIELDS[name], f"`{_short(value.strip())}` is none of true, false; it is ignored")
        return Wish.NONE
    return _wish(name, value, "externalTrafficPolicy Local is used", problems)


def _skips_balancer_ips(found: api_types.ServiceAnnotations, problems: Problems) -> Wish:
    """Read the annotation; kube-router's counts with any value (KR-06), ours must be `true` or `false`."""
    name, value = _present(found, "skip_balancer_ips")
    if name == "router_skip_balancer_ips" and value is not UNSET:
        return Wish.GRANTED
    return _wish(name, value, "load balancer IPs are not served", problems)


def _wish(name: str, value: object, consequence: str, problems: Problems) -> Wish:
    if value is UNSET or value is None:
        return Wish.NONE
    if not isinstance(value, str):
        problems.add(_FIELDS[name], f"is not a string (quote the value); {consequence}")
        return Wish.UNREADABLE
    text = value.strip()
    if text in ("", "false"):
        return Wish.NONE
    if text != "true":
        problems.add(_FIELDS[name], f"`{_short(text)}` is none of true, false; {consequence}")
        return Wish.UNREADABLE
    return Wish.GRANTED


def _given(found: api_types.ServiceAnnotations, attribute: str, problems: Problems) -> _Given | None:
    """Return the annotation with our name as text, otherwise the one with kube-router's name."""
    for name in (attribute, f"router_{attribute}"):
        value = getattr(found, name)
        if value is not UNSET:
            field = _FIELDS[name]
            text = _text(value, field, problems)
            if text is not None:
                return _Given(field, text, of_router=name != attribute)
    return None


def _present(found: api_types.ServiceAnnotations, attribute: str) -> tuple[str, object]:
    """Return our name and its value if present, otherwise kube-router's."""
    value: object = getattr(found, attribute)
    if value is not UNSET:
        return attribute, value
    return f"router_{attribute}", getattr(found, f"router_{attribute}")


_FIELDS = {
    attribute: f"metadata.annotations[{name}]"
    for attribute, name in zip(
        api_types.ServiceAnnotations.__struct_fields__,
        api_types.ServiceAnnotations.__struct_encode_fields__,
        strict=True,
    )
}


def _text(value: object, field: str, problems: Problems) -> str | None:
    """Return an annotation's text; null is empty text, as in the API server. A number is a problem."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    problems.add(field, "is not a string (quote the value); it is ignored")
    return None


def _short(text: str) -> str:
    """Return the beginning of a text, enough to recognise it."""
    return text if len(text) <= 40 else f"{text[:40]}…"
