"""What values a field of the configuration takes: in words for people, and as JSON Schema for programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct

from ipvsagent.config.load import SCHEDULER_FLAGS
from ipvsagent.config.types import ESTIMATION_MODES, SCHEDULERS

_DURATION_PATTERN = r"^\+?(0|([0-9]+(\.[0-9]+)?(h|ms|m|s|us|µs|ns))+)$"
LARGEST = 2**31 - 1


class Form(Struct, frozen=True):
    """What values a field takes.

    Args:
        allowed: in words.
        schema: as JSON Schema.
    """

    allowed: str
    schema: Mapping[str, object]


def one_of(words: Collection[str]) -> Form:
    """One of several words."""
    return Form(", ".join(f"`{w}`" if w else "empty" for w in words), {"type": "string", "enum": list(words)})


def whole(low: int, high: int) -> Form:
    """A whole number within limits."""
    return Form(f"{low}..{high}", {"type": "integer", "minimum": low, "maximum": high})


TEXT = Form("text", {"type": "string"})
BOOLEAN = Form("true, false", {"type": "boolean"})
ADDRESS = Form("address", {"type": "string"})
SOCKET = Form("address with or without a port", {"type": "string"})
DURATION = Form("duration such as `1m30s`", {"type": "string", "pattern": _DURATION_PATTERN})
CIDR_LIST = {"type": "array", "items": {"type": "string"}}
CIDRS = Form("list of CIDRs", CIDR_LIST)
SCHEDULER = one_of(("", *SCHEDULERS))
ESTIMATION = Form(
    ", ".join(f"`{word}`" for word in ESTIMATION_MODES),
    {"enum": [*ESTIMATION_MODES, True, False]},  # what YAML makes of `on` and `off` without quotes
)
CLUSTER_CIDR = Form(
    "one CIDR a family, comma-separated without blanks, or a list of them",
    {"anyOf": [{"type": "string"}, CIDR_LIST]},
)
FLAGS = Form(
    "list of `flag-1`, `flag-2`, `flag-3`",
    {"type": ["array", "null"], "items": {"type": "string", "enum": list(SCHEDULER_FLAGS)}},
)
