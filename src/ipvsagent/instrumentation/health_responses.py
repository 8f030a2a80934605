"""How often `/healthz` and `/livez` were answered, and with which status code (MET-12, MET-13)."""

from __future__ import annotations

import threading


class HealthResponseCounts:
    """Counts that the threads of HTTP servers add to.

    Paths are ``healthz`` and ``livez``; nothing that a client chooses gets here, so the number of counts is bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}

    def note(self, path: str, code: int) -> None:
        """Count one answer."""
        with self._lock:
            self._counts[path, code] = self._counts.get((path, code), 0) + 1

    def of(self, path: str) -> dict[int, int]:
        """Answers by status code."""
        with self._lock:
            return {code: count for (name, code), count in self._counts.items() if name == path}
