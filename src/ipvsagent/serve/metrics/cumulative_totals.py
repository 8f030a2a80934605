"""Totals that only grow, from the kernel's counts, which restart at 0 when a virtual server is recreated.

The total of a Service port grows by the difference between two readings. It is kept while the virtual server is deleted
and created again, and removed with the Service, so there are never more totals than Service ports. Traffic between the
last reading and a deletion is lost: the kernel itself updates its counts only every two seconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from ipvsagent.model.statistics import Counts

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=Hashable)

_FIELDS = 5
_MODULUS = 1 << 64


class Totals(Generic[K, N]):
    """Cumulative counts by name, from readings by key; several keys may have the same name.

    Invariant: a name's counts never fall while it has a key.
    """

    def __init__(self) -> None:
        self._last: dict[K, tuple[Counts, object]] = {}
        self._sums: dict[N, Counts] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def items(self) -> Iterable[tuple[N, Counts]]:
        """Names with their counts."""
        return self._sums.items()

    def update(self, reading: Mapping[K, Counts], names: Mapping[K, N], created: Mapping[K, object]) -> None:
        """Add a reading.

        Args:
            reading: the kernel's counts; a missing key keeps its total.
            names: all keys with their names; totals of other keys are removed.
            created: for each key a value that changes when the kernel's counts restart at 0; no value if they have not
                restarted since this process began.
        """
        sums = {name: self._sums.get(name, (0,) * _FIELDS) for name in names.values()}
        last = {key: known for key, known in self._last.items() if key in names}
        for key, counts in reading.items():
            name = names.get(key)
            if name is None:
                continue
            mark = created.get(key)
            before = last.get(key)
            last[key] = counts, mark
            grown = _growth(before[0], counts) if before is not None and before[1] == mark else counts
            if any(grown):
                sums[name] = tuple(map(int.__add__, sums[name], grown))
        self._sums, self._last = sums, last


def _growth(before: Counts, now: Counts) -> Counts:
    """The growth of counts; if one of them fell, all restarted at 0, unless it wrapped at its largest value."""
    if now == before:
        return ()
    steps = [n - b if n - b >= -_MODULUS // 2 else n - b + _MODULUS for b, n in zip(before, now, strict=True)]
    return now if min(steps) < 0 else tuple(steps)
