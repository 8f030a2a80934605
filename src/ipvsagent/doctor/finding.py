"""Results of the checks."""

from __future__ import annotations

import enum

from msgspec import Struct


class Level(enum.StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"  # works with limits, or could not be checked
    FAIL = "fail"  # some or all Services do not work


class Trouble(Struct, frozen=True):
    """A problem that a check found.

    Args:
        what: the fact, with the values that show it.
        remedy: what to do, with the command if there is one.
    """

    level: Level
    what: str
    remedy: str


class Finding(Struct, frozen=True):
    """One result: a check without problems, or one of its problems.

    Args:
        check: the check's stable name, as in docs/reference/doctor.md.
        remedy: empty only if the level is ok.
    """

    check: str
    level: Level
    what: str
    remedy: str = ""


def warn(what: str, remedy: str) -> Trouble:
    """Return a problem of level warn."""
    return Trouble(Level.WARN, what, remedy)


def fail(what: str, remedy: str) -> Trouble:
    """Return a problem of level fail."""
    return Trouble(Level.FAIL, what, remedy)


def enumerate_few(names: list[str], most: int = 5) -> str:
    """Return the first names of a list, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
