"""What annotations ask for: a Service's own scheduler and ways in, and the weight of a slice's endpoints.

Each wish has a name of ours and, of a Service, the one that kube-router gave it (KR-30), so that manifests written for
kube-router mean the same here. Where both stand, ours counts. What cannot be used is ignored with a problem.
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
    """A word for a scheduler flag: its bit, and the one scheduler that it is for (empty: any)."""

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
# kube-router applies flags to mh alone (KR-02): on others they have never had an effect, and must not get one here.
_ROUTER_FLAGS = MappingProxyType({w: _Flag(f.bit, "mh") for w, f in _FLAGS.items() if f.scheduler != "sh"})


class Wish(enum.Enum):
    """What comes of an annotation that restricts a Service."""

    NONE = enum.auto()  # absent, or `false`
    GRANTED = enum.auto()
    UNREADABLE = enum.auto()  # restricts as far as it may have been meant to: it must not open anything (DEV-60)


class Wishes(Struct, frozen=True, gc=False):
    """What the annotations of one Service ask for.

    Args:
        local: external traffic policy Local and internal Cluster, whatever the Service says (KR-03); if it cannot
            be read, the internal policy stays the Service's.
        skips_balancer_ips: load balancer IPs are not served (KR-06).
    """

    scheduling: Scheduling | None = None
    local: Wish = Wish.NONE
    skips_balancer_ips: Wish = Wish.NONE


NO_WISHES = Wishes()
_NOTHING_GIVEN = api_types.ServiceAnnotations()


class _Given(NamedTuple):
    """An annotation that stands there, as text."""

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
    """The weight of a slice's endpoints (DEV-15)."""
    value = found.weight if found else UNSET
    if value is UNSET:
        return DEFAULT_WEIGHT
    field = "metadata.annotations[ipvsagent.io/weight]"
    text = _text(value, field, problems)
    if text is None:
        return DEFAULT_WEIGHT
    if text.isascii() and text.isdecimal() and len(text) <= len(str(HIGHEST_WEIGHT)) and int(text) <= HIGHEST_WEIGHT:
        return int(text)
    problems.add(field, f"`{_short(text)}` is not a number of 0-{HIGHEST_WEIGHT}; the weight is {DEFAULT_WEIGHT}")
    return DEFAULT_WEIGHT


def _scheduling(found: api_types.ServiceAnnotations, problems: Problems) -> Scheduling | None:
    """Scheduler and flags; without a scheduler that is known, the flags of an unknown one have no meaning either."""
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
    """The bits and the scheduler that they are for; no bits, and not 0, where none of the words can be used."""
    known = _ROUTER_FLAGS if given.of_router else _FLAGS
    bits, flags_for = 0, ""
    words = [w for w in map(str.strip, given.text.split(",")) if w]
    used = 0
    for word in words:
        flag = known.get(word)
        if flag is None:
            problems.add(given.field, f"`{_short(word)}` is none of {', '.join(known)}; it is ignored")
        elif flag.scheduler and flags_for not in ("", flag.scheduler):
            problems.add(given.field, f"`{word}` is no flag of `{flags_for}`; it is ignored")
        else:
            bits, flags_for, used = bits | flag.bit, flags_for or flag.scheduler, used + 1
    return (bits, flags_for) if used or not words else (None, "")


def _local(found: api_types.ServiceAnnotations, problems: Problems) -> Wish:
    """Any word but `true` means nothing under kube-router's name (KR-03); ours has to say `true` or `false`."""
    name, value = _present(found, "local")
    if isinstance(value, str) and name == "router_local" and value.strip() != "true":
        if value.strip() not in ("", "false"):
            problems.add(_FIELDS[name], f"`{_short(value.strip())}` is none of true, false; it is ignored")
        return Wish.NONE
    return _wish(name, value, "externalTrafficPolicy Local is used", problems)


def _skips_balancer_ips(found: api_types.ServiceAnnotations, problems: Problems) -> Wish:
    """kube-router's name counts by being there, whatever it says (KR-06); ours has to say `true` or `false`."""
    name, value = _present(found, "skip_balancer_ips")
    if name == "router_skip_balancer_ips" and value is not UNSET:
        return Wish.GRANTED
    return _wish(name, value, "load balancer IPs are not served", problems)


def _wish(name: str, value: object, consequence: str, problems: Problems) -> Wish:
    if value is UNSET or value is None:
        return Wish.NONE
    if not isinstance(value, str):
        problems.add(_FIELDS[name], f"is not text, which a value in quotes is; {consequence}")
        return Wish.UNREADABLE
    text = value.strip()
    if text in ("", "false"):
        return Wish.NONE
    if text != "true":
        problems.add(_FIELDS[name], f"`{_short(text)}` is none of true, false; {consequence}")
        return Wish.UNREADABLE
    return Wish.GRANTED


def _given(found: api_types.ServiceAnnotations, attribute: str, problems: Problems) -> _Given | None:
    """The annotation as text, under our name, else under kube-router's."""
    for name in (attribute, f"router_{attribute}"):
        value = getattr(found, name)
        if value is not UNSET:
            field = _FIELDS[name]
            text = _text(value, field, problems)
            if text is not None:
                return _Given(field, text, of_router=name != attribute)
    return None


def _present(found: api_types.ServiceAnnotations, attribute: str) -> tuple[str, object]:
    """The name and value under our name, else under kube-router's."""
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
    """An annotation's text; null is empty text, as for the API server. A number is no text to it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    problems.add(field, "is not text, which a value in quotes is; it is ignored")
    return None


def _short(text: str) -> str:
    """Enough of a text to recognise it."""
    return text if len(text) <= 40 else f"{text[:40]}…"
