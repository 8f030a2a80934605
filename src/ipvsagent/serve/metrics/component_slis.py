"""The component SLIs at `/metrics/slis` (HC-20): the current result of each health check, and counts of its results.

The names are the same as in every component of Kubernetes, so one dashboard works for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

CHECKS = {"healthz": "ping", "livez": "progress", "readyz": "synchronisation"}
"""The check behind each path of the metrics server."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ComponentSlis:
    """Counts of health check results; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}

    def note(self, check_type: str, *, well: bool) -> None:
        """Count one result.

        Args:
            check_type: a key of `CHECKS`.
        """
        key = check_type, "success" if well else "error"
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1

    def text(self, well: Mapping[str, bool]) -> str:
        """All samples in Prometheus' text format.

        Args:
            well: the current result of each check by its type.
        """
        with self._lock:
            counts = sorted(self._counts.items())
        lines = [
            "# HELP kubernetes_healthcheck This metric records the result of a single healthcheck.",
            "# TYPE kubernetes_healthcheck gauge",
            *(f'kubernetes_healthcheck{{name="{CHECKS[t]}",type="{t}"}} {int(w)}' for t, w in sorted(well.items())),
            "# HELP kubernetes_healthchecks_total This metric records the results of all healthcheck.",
            "# TYPE kubernetes_healthchecks_total counter",
            *(
                f'kubernetes_healthchecks_total{{name="{CHECKS[t]}",status="{status}",type="{t}"}} {count}'
                for (t, status), count in counts
            ),
        ]
        return "".join(f"{line}\n" for line in lines)
