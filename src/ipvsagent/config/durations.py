"""Parse and format Go's durations, such as ``1m30s``."""

from __future__ import annotations

import re
from decimal import Decimal

_PART = re.compile(r"(?:(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns))")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def parse_duration(text: str) -> float | None:
    """Return the seconds of a Go duration; None if the text is not a duration. ``0`` needs no unit."""
    negative = text.startswith("-")
    rest = text.lstrip("+-") if len(text) - len(text.lstrip("+-")) <= 1 else ""
    if rest == "0":
        return 0.0
    position, seconds = 0, 0.0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            return None
        seconds += float(part[1]) * _UNIT_SECONDS[part[2]]
        position = part.end()
    if not rest:
        return None
    return -seconds if negative else seconds


def format_duration(seconds: float) -> str:
    """Format a duration for a file, in the shortest form that `parse_duration` reads as exactly these seconds."""
    if seconds != int(seconds):
        milliseconds = f"{seconds * 1000:g}ms"
        exact = parse_duration(milliseconds) == seconds
        return milliseconds if exact else f"{Decimal(repr(seconds)):f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def go_duration(seconds: float) -> str:
    """Format a duration as Go prints it: ``0s``, ``500ms``, ``1m30s``, ``24h0m0s``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(round(seconds, 9), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}h{minutes}m{rest:g}s"
    return f"{minutes}m{rest:g}s" if minutes else f"{rest:g}s"
