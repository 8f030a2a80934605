"""Counts and durations of requests to the API server; the threads that send requests write, metrics read."""

from __future__ import annotations

import threading

from ipvsagent.instrumentation.counters import Histogram

REQUEST_BOUNDS_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Buckets of the time until a response began; client-go's (MET-21)."""

SIZE_BOUNDS_BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
"""Buckets of the sizes of bodies; client-go's (MET-21)."""

NO_ANSWER = "<error>"
"""Stands for a status code if no response came; client-go's word."""


class RequestCounts:
    """Requests by host, method and status code; their number is bounded, since the agent chooses hosts and methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], int] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._request_sizes: dict[tuple[str, str], Histogram] = {}
        self._response_sizes: dict[tuple[str, str], Histogram] = {}

    def note(self, host: str, method: str, code: str, seconds: float) -> None:
        """Count one request.

        Args:
            host: with its port.
            code: status code, or `NO_ANSWER`.
            seconds: until the response began or the request failed.
        """
        with self._lock:
            self._counts[code, host, method] = self._counts.get((code, host, method), 0) + 1
            key = host, method
            if key not in self._durations:
                self._durations[key] = Histogram(REQUEST_BOUNDS_SECONDS)
            self._durations[key].observe(seconds)

    def note_request_size(self, host: str, method: str, size_bytes: int) -> None:
        """Count the body of one request."""
        self._observe(self._request_sizes, (host, method), size_bytes)

    def note_response_size(self, host: str, method: str, size_bytes: int) -> None:
        """Count the body of one response that was read as a whole: watches have no size, as in client-go."""
        self._observe(self._response_sizes, (host, method), size_bytes)

    def by_code(self) -> dict[tuple[str, str, str], int]:
        """Return numbers of requests by code, host and method."""
        with self._lock:
            return self._counts.copy()

    def durations(self) -> dict[tuple[str, str], Histogram]:
        """Return times until responses began, by host and method."""
        return self._copy(self._durations)

    def request_sizes(self) -> dict[tuple[str, str], Histogram]:
        """Return bytes of the bodies of requests, by host and method."""
        return self._copy(self._request_sizes)

    def response_sizes(self) -> dict[tuple[str, str], Histogram]:
        """Return bytes of the bodies of responses, by host and method."""
        return self._copy(self._response_sizes)

    def _observe(self, sizes: dict[tuple[str, str], Histogram], key: tuple[str, str], size_bytes: int) -> None:
        with self._lock:
            if key not in sizes:
                sizes[key] = Histogram(SIZE_BOUNDS_BYTES)
            sizes[key].observe(size_bytes)

    def _copy(self, histograms: dict[tuple[str, str], Histogram]) -> dict[tuple[str, str], Histogram]:
        with self._lock:
            return {key: Histogram(h.bounds, h.counts.copy(), h.sum) for key, h in histograms.items()}
