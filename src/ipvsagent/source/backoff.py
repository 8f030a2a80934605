"""Delays between attempts, as in client-go's reflectors.

Delays double up to a limit, with jitter so that not all nodes reconnect at once. They start again from the first delay
after a success, or if the last failure is two minutes old.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_SECONDS = 0.8
LONGEST_SECONDS = 30.0
RESET_SECONDS = 120.0


class Backoff:
    """Delays after consecutive failures.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, randomness: random.Random | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._random = randomness or random.Random()
        self._clock = clock
        self._failures = 0
        self._due = clock()  # when the last delay ended

    def failed(self, at_least: float | None = None) -> float:
        """Return the seconds to wait after one more failure.

        Args:
            at_least: minimum delay that the server requested (Retry-After).
        """
        if self._clock() - self._due > RESET_SECONDS:
            self._failures = 0
        delay: float = min(FIRST_SECONDS * 2.0 ** min(self._failures, 16), LONGEST_SECONDS)
        self._failures += 1
        delay = max(at_least or 0.0, float(delay) * self._random.uniform(1.0, 2.0))
        self._due = self._clock() + delay
        return delay

    def succeeded(self) -> None:
        """Reset the delay of the next failure to the first delay."""
        self._failures = 0
