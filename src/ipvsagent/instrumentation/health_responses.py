"""Responses of `/healthz` and `/livez` by status code (MET-12, MET-13)."""

from __future__ import annotations

import threading


class HealthResponseCounts:
    """Counts of responses; the threads of HTTP servers add to them.

    Paths are ``healthz`` and ``livez``: clients cannot choose them, so the number of counts is bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}

    def note(self, path: str, code: int) -> None:
        """Count one response."""
        with self._lock:
            self._counts[path, code] = self._counts.get((path, code), 0) + 1

    def of(self, path: str) -> dict[int, int]:
        """Return numbers of responses by status code."""
        with self._lock:
            return {code: count for (name, code), count in self._counts.items() if name == path}
