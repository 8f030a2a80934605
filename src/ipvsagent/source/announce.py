"""Telling an operator through Kubernetes events what is wrong with an object.

Every node sees the same objects and would say the same of them. So an event's name follows from its object and its
words: the first node's is kept, the others are told that it exists, and a cluster of a thousand nodes has one event.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ipvsagent.errors import SourceError
from ipvsagent.log import Logger
from ipvsagent.model.objects import Problem

API_VERSIONS = {"Service": "v1", "EndpointSlice": "discovery.k8s.io/v1", "Node": "v1"}
"""Kinds of objects that events can be about."""

PAUSE_SECONDS = 0.2
"""Between two events, so that a cluster full of problems is no burden for its API server."""

_WAITING = 256
_CONFLICT, _CREATED = 409, 201
_LONGEST_MESSAGE = 1000  # the API allows 1,024


class Poster(Protocol):
    """What this needs of a transport."""

    def post(self, path: str, body: bytes) -> int:
        """As in `source.transport.Transport`."""


class Announcer:
    """Makes a Warning event of each problem with a Kubernetes object, in a thread of its own.

    Events are a courtesy: one that cannot be created is logged at debug level and forgotten.

    Args:
        node_name: whose agent it is that says so.
        now: the time of day, aware of its zone.
        pause_seconds: between two events.
    """

    def __init__(
        self,
        transport: Poster,
        node_name: str,
        log: Logger,
        *,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._transport = transport
        self._node_name = node_name
        self._log = log
        self._now = now
        self._pause_seconds = pause_seconds
        self._queue: queue.Queue[Problem | None] = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End; events that wait are dropped. The transport has to be closed before."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):  # the thread is awake, then, and looks at `_stopping`
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(1.0)

    def announce(self, problem: Problem) -> None:
        """Tell of a problem; never waits. Those that belong to no object are left out, and those beyond 256 waiting."""
        if problem.kind not in API_VERSIONS:
            return
        try:
            self._queue.put_nowait(problem)
        except queue.Full:
            self._log.debug("event left out, too many wait", problem=problem)

    def _work(self) -> None:
        while not self._stopping.is_set():
            problem = self._queue.get()
            if problem is None:
                return
            self._create(problem)
            self._stopping.wait(self._pause_seconds)

    def _create(self, problem: Problem) -> None:
        event = describe(problem, self._node_name, self._now())
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        try:
            status = self._transport.post(path, msgspec.json.encode(event))
        except SourceError as error:
            self._log.debug("event not created", problem=problem, error=error)
            return
        if status not in (_CREATED, _CONFLICT):
            self._log.debug("event not created", problem=problem, status=status)


def describe(problem: Problem, node_name: str, now: dt.datetime) -> dict[str, Any]:
    """The event (core/v1) about a problem; equal problems have equal names."""
    namespace, _, name = problem.name.rpartition("/")
    message = str(problem)[:_LONGEST_MESSAGE]
    digest = hashlib.sha256(f"{problem.kind} {message}".encode()).hexdigest()[:16]
    namespace = namespace or "default"  # where events about objects without a namespace go
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": f"{name[:200]}.{digest}"},
        "involvedObject": {
            "apiVersion": API_VERSIONS[problem.kind],
            "kind": problem.kind,
            "namespace": namespace,
            "name": name,
        },
        "type": "Warning",
        "reason": problem.label,
        "message": message,
        "source": {"component": "ipvsagent", "host": node_name},
        "reportingComponent": "ipvsagent",
        "reportingInstance": node_name,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
