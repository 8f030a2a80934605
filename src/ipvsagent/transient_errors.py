"""Retry kernel calls that fail temporarily, outside of the owner thread, which has its own retries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ipvsagent.errors import AcknowledgementsLost, Busy, DumpInterrupted

DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

TRANSIENT_ERRORS = (Busy, DumpInterrupted, AcknowledgementsLost)

T = TypeVar("T")


def retry_transient(action: Callable[[], T], *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Call an action that may be repeated; retry it after an interrupted listing, a busy object or a lost answer.

    Other errors are raised immediately; these errors are raised after the last attempt.
    """
    for delay in DELAYS_SECONDS:
        try:
            return action()
        except TRANSIENT_ERRORS:
            sleep(delay)
    return action()
