"""Problems of objects, updated one origin at a time: an origin is an object, a plan, or a contested virtual server.

A pass processes only the origins that it changed, however many problems a cluster has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable

from ipvsagent.model.objects import Problem

_FEW = 64
"""Up to this number of changes, each is inserted separately; above it, sorting everything again is cheaper."""


class ProblemTable:
    """Problems by origin.

    Invariant: `every` returns the problems of all origins, sorted, each problem once.
    """

    def __init__(self) -> None:
        self._by_origin: dict[Hashable, tuple[Problem, ...]] = {}
        self._counts: dict[Problem, int] = {}  # number of origins
        self._unsorted: dict[Problem, None] = {}  # added or removed since `_sorted` was up to date
        self._unreported: dict[Problem, None] = {}  # added or removed since `take_new`
        self._reported: set[Problem] = set()
        self._sorted: list[Problem] = []
        self._every: tuple[Problem, ...] = ()

    def replace(self, origin: Hashable, problems: tuple[Problem, ...]) -> None:
        """Replace an origin's problems; an origin without problems is forgotten."""
        old = self._by_origin.pop(origin, ())
        if problems:
            self._by_origin[origin] = problems
        if problems == old:
            return
        for problem in problems:
            self._counts[problem] = self._counts.get(problem, 0) + 1
            self._note(problem)
        for problem in old:
            self._counts[problem] -= 1
            if not self._counts[problem]:
                del self._counts[problem]
            self._note(problem)

    def every(self) -> tuple[Problem, ...]:
        """Return all problems; the same value until one is added or removed."""
        if self._unsorted:
            self._sort()
            self._every = tuple(self._sorted)
        return self._every

    def take_new(self) -> list[Problem]:
        """Return the problems that are new since the last call, sorted."""
        touched, self._unreported = self._unreported, {}
        new = [p for p in touched if p in self._counts and p not in self._reported]
        self._reported.difference_update(p for p in touched if p not in self._counts)
        self._reported.update(new)
        return sorted(new)

    def _note(self, problem: Problem) -> None:
        self._unsorted[problem] = None
        self._unreported[problem] = None

    def _sort(self) -> None:
        changed, self._unsorted = self._unsorted, {}
        if len(changed) > _FEW:
            self._sorted = sorted(self._counts)
            return
        for problem in changed:
            at = bisect_left(self._sorted, problem)
            held = self._sorted[at : at + 1] == [problem]
            if problem in self._counts and not held:
                self._sorted.insert(at, problem)
            elif problem not in self._counts and held:
                del self._sorted[at]
