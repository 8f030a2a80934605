"""Counts that only grow, made of the kernel's, which begin again at 0 with every virtual server that is made anew.

What a Service's port has counted is a sum that grows by the difference of each reading to the one before. It stays
while the virtual server is deleted and made again, and goes with the Service, so that there are never more sums than
ports of Services. Traffic after the last reading before a deletion is lost: the kernel itself brings its counts up to
date only every two seconds.
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
    """Cumulative counts by name, from readings by key; several keys may share a name.

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
        """Take a reading in.

        Args:
            reading: what the kernel counted; a key that is missing keeps what it has.
            names: every key that counts; what is not in it is forgotten.
            created: a value that differs from the last one's if the kernel's counts began anew in between; a key
                without any began before this process, or is not known to have begun anew.
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
    """By how much counts grew; if one of them fell, all began anew, unless it passed its largest value."""
    if now == before:
        return ()
    steps = [n - b if n - b >= -_MODULUS // 2 else n - b + _MODULUS for b, n in zip(before, now, strict=True)]
    return now if min(steps) < 0 else tuple(steps)
