"""Phrases for messages about invalid values."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class WrongValue(ValueError):
    """A value that its field does not allow.

    Args:
        reasons: one phrase each, such as ``must be a string, not `5```; the caller adds the field's path.
    """

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__(*reasons)


def near_miss(word: str, candidates: Collection[str]) -> str:
    """Return ``; did you mean `x``` if a candidate is close to the word, otherwise an empty string."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`" if close else ""


def listed(allowed: Collection[str]) -> str:
    """Return the allowed words, separated by commas."""
    return ", ".join(a or '""' for a in allowed)


def shown(value: object) -> str:
    """Return a value as messages show it."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float() | str():
            return f"`{value}`"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case None:
            return "null"
        case _:
            return type(value).__name__
