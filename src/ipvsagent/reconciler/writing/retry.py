"""When to retry failed items: each separately, with exponential delays."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0

T = TypeVar("T")


class RetrySchedule(Generic[T]):
    """Failed items with the time of their next attempt (seconds of a monotonic clock).

    The cost of `take_due` depends on the number of due items, not of failing ones.
    """

    def __init__(self) -> None:
        self._failing: dict[T, tuple[int, int]] = {}  # item: (number of failures, number of its entry in the queue)
        # A heap of time, number and item; an entry whose number differs from its item's is out of date.
        self._queue: list[tuple[float, int, T]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._failing)

    def __contains__(self, item: object) -> bool:
        return item in self._failing

    def failed(self, item: T, now: float) -> None:
        """Note one more failure; the delay doubles with each."""
        failures = self._failing.get(item, (0, 0))[0] + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 16), LONGEST_DELAY_SECONDS)
        number = next(self._numbers)
        self._failing[item] = failures, number
        heappush(self._queue, (now + delay, number, item))
        if len(self._queue) > 2 * len(self._failing) + 16:  # items that fail and succeed in turn
            self._queue = [entry for entry in self._queue if self._is_current(entry)]
            heapify(self._queue)

    def succeeded(self, items: Iterable[T]) -> None:
        """Forget items that no longer fail."""
        for item in items:
            self._failing.pop(item, None)

    def take_due(self, now: float) -> list[T]:
        """Return the due items, oldest first; they stay due until they succeed or fail again."""
        found = []
        while (time := self.next_time()) is not None and time <= now:
            found.append(heappop(self._queue))
        for entry in found:
            heappush(self._queue, entry)
        return [item for _, _, item in found]

    def next_time(self) -> float | None:
        """Return the earliest time at which something is due."""
        while self._queue and not self._is_current(self._queue[0]):
            heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def _is_current(self, entry: tuple[float, int, T]) -> bool:
        _, number, item = entry
        return item in self._failing and self._failing[item][1] == number
