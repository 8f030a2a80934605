"""Waiting for a condition, for as long as the speed of the machine asks for."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.speed import scaled


def wait_until(condition: Callable[[], object], what: str, *, patience_seconds: float = 20.0) -> None:
    """Check a condition until it holds.

    Args:
        what: the condition in words, for the failure.
        patience_seconds: how long to wait on a machine of usual speed.

    Raises:
        AssertionError: the condition does not hold in time.
    """
    limit = scaled(patience_seconds)
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s until {what}"
        time.sleep(0.005)
