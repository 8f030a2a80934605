"""Create Kubernetes events: problems of objects, and notices about this node's agent.

Every node sees the same objects and would report the same problems. Therefore the name of an event about an object is
derived from the object and the message: the first node creates the event, the others get a conflict, and a cluster of
a thousand nodes has one event. Each notice about this node is a separate event.
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
from ipvsagent.model.objects import Announced, ObjectKey, Problem

API_VERSIONS = {"Service": "v1", "EndpointSlice": "discovery.k8s.io/v1", "Node": "v1", "Pod": "v1"}
"""Kinds of objects that events can be about."""

PAUSE_SECONDS = 0.2
"""Pause between two events, so that many problems do not overload the API server."""

_WAITING = 256
_CONFLICT, _CREATED = 409, 201
_LONGEST_MESSAGE = 1000  # the API allows 1,024
_NO_NAMESPACE = "default"  # where events about objects without a namespace go


class Poster(Protocol):
    """The part of a transport that creates events."""

    def post(self, path: str, body: bytes) -> int:
        """As in `source.transport.Transport`."""


class EventRecorder:
    """Creates an event for each problem with a Kubernetes object and for each notice, in a separate thread.

    Serving does not depend on events: one that cannot be created is logged at debug level and dropped.

    Args:
        node_name: the node of this agent.
        pod: namespace and name of the agent's pod, for events about a problem with the node's name; None if the agent
            does not run in a pod or does not know it.
        now: the time of day, aware of its zone.
        pause_seconds: between two events.
    """

    def __init__(
        self,
        transport: Poster,
        node_name: str,
        log: Logger,
        *,
        pod: ObjectKey | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._transport = transport
        self._node_name = node_name
        self._log = log
        self._pod = pod
        self._now = now
        self._pause_seconds = pause_seconds
        self._queue: queue.Queue[Announced | None] = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)

    def start(self) -> None:
        """Start creating events, unless already started."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop, and drop the queued events. The transport must be closed before."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):  # then the thread is running and checks `_stopping`
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(1.0)

    def finish(self, within_seconds: float) -> None:
        """Create the queued events, then stop; `stop` drops those that were not created in time."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(within_seconds)

    def record(self, item: Announced) -> None:
        """Queue an event and return immediately. Drop problems without an object, and events if 256 are queued."""
        if isinstance(item, Problem) and item.kind not in API_VERSIONS:
            return
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._log.debug("event dropped, too many are queued", about=item)

    def _work(self) -> None:
        while not self._stopping.is_set():
            item = self._queue.get()
            if item is None:
                return
            self._create(item)
            self._stopping.wait(self._pause_seconds)

    def _create(self, item: Announced) -> None:
        event = describe(item, self._node_name, self._now(), self._pod)
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        try:
            status = self._transport.post(path, msgspec.json.encode(event))
        except SourceError as error:
            self._log.debug("event not created", about=item, error=error)
            return
        if status not in (_CREATED, _CONFLICT):
            self._log.debug("event not created", about=item, status=status)


def describe(item: Announced, node_name: str, now: dt.datetime, pod: ObjectKey | None = None) -> dict[str, Any]:
    """Return the event (core/v1). Equal problems have equal event names; each notice has a different name."""
    if isinstance(item, Problem):
        if item.label == "NodeUnknown" and pod is not None:  # there is no Node to attach the event to
            item = Problem("Pod", str(pod), "", str(item), item.label)
        return _about_object(item, node_name, now)
    digest = _digest(f"{item.label} {item.words} {now.isoformat()}")
    # kubectl finds events of a Node by its name as UID.
    involved = {"apiVersion": API_VERSIONS["Node"], "kind": "Node", "name": node_name, "uid": node_name}
    metadata = {"namespace": _NO_NAMESPACE, "name": f"{node_name[:200]}.{digest}"}
    event = _event(metadata, involved, item.label, item.words, node_name=node_name, now=now)
    return {**event, "type": "Warning" if item.warning else "Normal", "action": item.action}


def _about_object(problem: Problem, node_name: str, now: dt.datetime) -> dict[str, Any]:
    namespace, _, name = problem.name.rpartition("/")
    message = str(problem)
    digest = _digest(f"{problem.kind} {message[:_LONGEST_MESSAGE]}")
    involved = {"apiVersion": API_VERSIONS[problem.kind], "kind": problem.kind, "name": name}
    if namespace:
        involved["namespace"] = namespace
    metadata = {"namespace": namespace or _NO_NAMESPACE, "name": f"{name[:200]}.{digest}"}
    return _event(metadata, involved, problem.label, message, node_name=node_name, now=now)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _event(
    metadata: dict[str, str], involved: dict[str, str], reason: str, message: str, *, node_name: str, now: dt.datetime
) -> dict[str, Any]:
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": involved,
        "type": "Warning",
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "source": {"component": "ipvsagent", "host": node_name},
        "reportingComponent": "ipvsagent",
        "reportingInstance": node_name,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
