"""When to try a failed item again: each by itself, with exponential delays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0

T = TypeVar("T")


class RetrySchedule(Generic[T]):
    """Failed items with the time of their next attempt (seconds of a monotonic clock)."""

    def __init__(self) -> None:
        self._due: dict[T, tuple[int, float]] = {}  # item: (failures so far, time of the next attempt)

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, item: object) -> bool:
        return item in self._due

    def failed(self, item: T, now: float) -> None:
        """Note one more failure; the delay doubles with each."""
        failures = self._due.get(item, (0, 0.0))[0] + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 16), LONGEST_DELAY_SECONDS)
        self._due[item] = failures, now + delay

    def succeeded(self, items: Iterable[T]) -> None:
        """Forget items that are well."""
        for item in items:
            self._due.pop(item, None)

    def take_due(self, now: float) -> list[T]:
        """Items whose time has come; they stay known until they succeed."""
        return [item for item, (_, due) in self._due.items() if due <= now]

    def next_time(self) -> float | None:
        """The earliest time at which something is due."""
        return min((due for _, due in self._due.values()), default=None)
