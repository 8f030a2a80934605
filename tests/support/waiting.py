"""Waiting for a condition, for as long as the speed of the machine asks for."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.speed import scaled

PATIENCE_SECONDS = scaled(20.0)


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    *,
    limit_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.005,
) -> None:
    """Check a condition until it holds.

    Args:
        what: the condition in words, for the failure; a function can add what was found last.
        limit_seconds: how long to wait on this machine: `scaled` has been applied.
        pause_seconds: time between two checks.

    Raises:
        AssertionError: the condition does not hold in time.
    """
    deadline = time.monotonic() + limit_seconds
    while not condition():
        if time.monotonic() >= deadline:
            words = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {limit_seconds:.0f} s until {words}")
        time.sleep(pause_seconds)
