"""How long to wait between attempts: doubling, capped, with jitter so that nodes do not come back all at once."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.8
LONGEST_SECONDS = 30.0


class Backoff:
    """Delays after failures in a row."""

    def __init__(self, randomness: random.Random | None = None) -> None:
        self._random = randomness or random.Random()
        self._failures = 0

    def failed(self, at_least: float | None = None) -> float:
        """Seconds to wait after one more failure.

        Args:
            at_least: what the server asked for (Retry-After).
        """
        delay: float = min(FIRST_SECONDS * 2.0 ** min(self._failures, 16), LONGEST_SECONDS)
        self._failures += 1
        return max(at_least or 0.0, float(delay) * self._random.uniform(1.0, 2.0))

    def succeeded(self) -> None:
        """Begin anew at the next failure."""
        self._failures = 0
