"""Repeating what the kernel could not do just now, where there is no loop yet that would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ipvsagent.errors import AcknowledgementsLost, Busy, DumpInterrupted

DELAYS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)

T = TypeVar("T")


def patiently(action: Callable[[], T], *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Do something that may be repeated, again after a listing that changed meanwhile, a busy object or a lost answer.

    Other errors, and the last of these, come through.
    """
    for delay in DELAYS_SECONDS:
        try:
            return action()
        except (Busy, DumpInterrupted, AcknowledgementsLost):
            sleep(delay)
    return action()
