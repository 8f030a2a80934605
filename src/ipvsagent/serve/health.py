"""Whether this node is well, for kubelet and load balancers: `/healthz`, `/livez`, health check node ports.

    health server (10256)      owner thread keeps up? (HC-02) and, on /healthz, may traffic come here? (HC-03)
    health check node port     owner thread keeps up, and are there local endpoints of that Service? (HC-13)

Everything is answered from values that the owner thread published; nothing here waits for it, so a stuck owner
thread is told of and never waited for. How old the API server's data is does not count: when it is down, all nodes
would leave their load balancers at once while they still serve what they know.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from http import HTTPStatus

import msgspec
from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family
from ipvsagent.model.objects import ObjectKey
from ipvsagent.model.status import Progress, Status
from ipvsagent.serve.answers import AnswerCounts
from ipvsagent.serve.messages import JSON, NO_SNIFFING, Handler, Request, Response, plain_error

STALE_SECONDS = 600.0
"""What the API server has not confirmed for so long counts as old."""

_JSON_HEADERS = (("Content-Type", JSON), NO_SNIFFING)  # HC-04


class Sources(Struct, frozen=True):
    """Where answers come from; each may be called from any thread at any time and never waits.

    Args:
        silence_seconds: since the API server last confirmed what is known; None without an API server.
        source_faults: what is not followed at the moment.
        started_at: when the agent started, with its zone.
        families: those that the node serves.
        flags: the command line's options in force.
        metrics: content type and text of the metrics; None while there are none. May take its time.
        answers: counts what the health server answers (MET-12, MET-13).
        now: the time of day, with its zone.
        clock: monotonic seconds, the same clock as `Progress` uses.
    """

    status: Callable[[], Status]
    progress: Callable[[], Progress]
    settings: Callable[[], Settings]
    silence_seconds: Callable[[], float] | None = None
    source_faults: Callable[[], tuple[str, ...]] = tuple
    started_at: dt.datetime = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    families: tuple[Family, ...] = tuple(Family)
    flags: tuple[tuple[str, str], ...] = ()
    metrics: Callable[[], tuple[str, bytes]] | None = None
    answers: AnswerCounts = msgspec.field(default_factory=AnswerCounts)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    clock: Callable[[], float] = time.monotonic


class Health:
    """Answers about this node's health."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def late_seconds(self) -> float:
        """How long work has been outstanding; 0 if nothing is."""
        since = self._sources.progress().outstanding_since
        return 0.0 if since is None else max(0.0, self._sources.clock() - since)

    def is_healthy(self) -> bool:
        """Whether no work is outstanding for longer than twice the synchronisation period (HC-02, DEV-32)."""
        return self.late_seconds() <= 2 * self._sources.settings().sync_period_seconds

    def stale_seconds(self) -> float:
        """How long the API server has confirmed nothing of what this node serves; 0 up to `STALE_SECONDS`."""
        silence = self._sources.silence_seconds
        age = 0.0 if silence is None else silence()
        return age if age > STALE_SECONDS else 0.0

    def handle(self, request: Request) -> Response:
        """The health server: two paths, any method (HC-01)."""
        if request.path not in ("/healthz", "/livez"):
            return plain_error(HTTPStatus.NOT_FOUND)
        with_node = request.path == "/healthz"
        response = self._answer(with_node=with_node)
        self._sources.answers.note(request.path.removeprefix("/"), response.status)
        return response

    def handler_of_service(self, service: ObjectKey, family: Family) -> Handler:
        """Who answers on a Service's health check node port: any path and method (HC-13)."""
        return lambda _request: self._service_answer(service, family)

    def _answer(self, *, with_node: bool) -> Response:
        """HC-05: `lastUpdated` is now where all is well, else when the last complete pass ended.

        A configuration that was refused and old API data are named; the node is healthy nevertheless, with what it has.
        """
        now = self._sources.now()
        healthy = self.is_healthy()
        status = self._sources.status()
        eligible, refused = status.node_eligible, status.configuration_refused
        well = healthy and (eligible or not with_node)
        completed = rfc_3339(now - dt.timedelta(seconds=self._sources.clock() - self._sources.progress().completed_at))
        content: dict[str, object] = {
            "lastUpdated": rfc_3339(now) if well else completed,
            "currentTime": rfc_3339(now),
            **({"nodeEligible": eligible} if with_node else {}),
            "healthy": healthy,
            **({"configurationRefused": refused} if refused else {}),
            **({"apiDataAgeSeconds": round(age)} if (age := self.stale_seconds()) else {}),
            "status": {f.label: {"lastUpdated": completed, "healthy": healthy} for f in self._sources.families},
        }
        code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(code, _JSON_HEADERS, json.dumps(content, separators=(",", ":")).encode())

    def _service_answer(self, service: ObjectKey, family: Family) -> Response:
        checks = self._sources.status().health_checks.get(service, ())
        count = next((c.local_endpoints for c in checks if c.family is family), 0)
        healthy = self.is_healthy()
        code = HTTPStatus.OK if count and healthy else HTTPStatus.SERVICE_UNAVAILABLE
        content = {
            "service": {"namespace": service.namespace, "name": service.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        }
        body = json.dumps(content, indent="\t").encode()  # HC-16
        return Response(code, (*_JSON_HEADERS, ("X-Load-Balancing-Endpoint-Weight", str(count))), body)


def rfc_3339(time_of_day: dt.datetime) -> str:
    """As the Kubernetes API writes times, in UTC: ``2026-01-02T03:04:05.000006Z``."""
    return time_of_day.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
