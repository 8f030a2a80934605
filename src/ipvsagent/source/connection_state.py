"""The state of the connection for each resource, for the log and for `/statusz`.

A broken connection is not a problem of an object. The log has one line when it breaks and one when it is restored,
however many resources and attempts are affected: resources that fail for the same reason share their lines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from msgspec import Struct

from ipvsagent.log import Logger


class _Outage(Struct):
    """Resources that fail for one reason."""

    began: float
    resources: set[str]


class _Broken(Struct):
    """One resource that is not followed."""

    began: float
    reason: str  # the latest
    outage: _Outage


class ConnectionState:
    """Records which resources are broken; for any thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._stopped = False
        self._broken: dict[str, _Broken] = {}
        self._outages: dict[str, _Outage] = {}  # by the reason of the first fault

    def broke(self, resource: str, reason: str) -> None:
        """Note that following a resource failed, or failed again."""
        with self._lock:
            if self._stopped:
                return
            known = self._broken.get(resource)
            if known is not None:
                known.reason = reason
                self._log.debug("API server still not reached", resource=resource, reason=reason)
                return
            now = self._clock()
            outage = self._outages.get(reason)
            if outage is None:
                outage = self._outages[reason] = _Outage(now, set())
                self._log.warning("connection to the API server broke", resource=resource, reason=reason)
            outage.resources.add(resource)
            self._broken[resource] = _Broken(now, reason, outage)

    def recovered(self, resource: str, at: float) -> None:
        """Note that data of a resource arrives again.

        Args:
            at: when the request for the data began, on the clock.
        """
        if resource not in self._broken:  # the usual case, without the lock
            return
        with self._lock:
            broken = self._broken.pop(resource, None)
            if broken is None:
                return
            outage = broken.outage
            outage.resources.discard(resource)
            if not outage.resources:
                self._outages = {reason: o for reason, o in self._outages.items() if o is not outage}
                gap = max(0.0, at - outage.began)
                self._log.info("connection to the API server is back", resource=resource, gap_seconds=round(gap, 1))

    def stop(self) -> None:
        """Ignore all faults from now on: the connections are being closed on purpose."""
        with self._lock:
            self._stopped = True

    def faults(self) -> tuple[str, ...]:
        """Return what is broken now, as text for people."""
        with self._lock:
            now = self._clock()
            return tuple(
                f"API server {resource}: not followed for {now - broken.began:.0f} s: {broken.reason}"
                for resource, broken in sorted(self._broken.items())
            )
