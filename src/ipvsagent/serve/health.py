"""This node's health, for kubelet and load balancers: `/healthz`, `/livez`, health check node ports.

    health server (10256)      does the owner thread keep up (HC-02)? On /healthz also: is the node eligible (HC-03)?
    health check node port     does the owner thread keep up, and has the Service local endpoints (HC-13)?

Responses are made from values that the owner thread published, without waiting for it: so a stuck owner thread is
reported. The age of the API server's data does not count. If it did, all nodes would leave their load balancers as soon
as the API server is down, although they still serve the Services that they know.
"""

from __future__ import annotations

import datetime as dt
import json
from http import HTTPStatus

from ipvsagent.http_server.http1 import JSON, NO_SNIFFING, Handler, Request, Response, plain_error
from ipvsagent.model.address import Family
from ipvsagent.model.objects import ObjectKey
from ipvsagent.serve.inputs import ServingInputs

STALE_SECONDS = 600.0
"""Data that the API server has not confirmed for longer than this counts as old."""

_JSON_HEADERS = (("Content-Type", JSON), NO_SNIFFING)  # HC-04


class Health:
    """Responds to health checks of this node."""

    def __init__(self, inputs: ServingInputs) -> None:
        self._inputs = inputs

    def late_seconds(self) -> float:
        """Return how long work has been outstanding; 0 if there is none."""
        since = self._inputs.progress().outstanding_since
        return 0.0 if since is None else max(0.0, self._inputs.clock() - since)

    def is_healthy(self) -> bool:
        """Return whether no work is outstanding for longer than twice the synchronisation period (HC-02, DEV-32)."""
        return self.late_seconds() <= 2 * self._inputs.settings().sync_period_seconds

    def stale_seconds(self) -> float:
        """Return how long the API server has not confirmed what this node serves; 0 up to `STALE_SECONDS`."""
        silence = self._inputs.silence_seconds
        age = 0.0 if silence is None else silence()
        return age if age > STALE_SECONDS else 0.0

    def handle(self, request: Request) -> Response:
        """Handle a request to the health server: two paths, any method (HC-01)."""
        if request.path not in ("/healthz", "/livez"):
            return plain_error(HTTPStatus.NOT_FOUND)
        with_node = request.path == "/healthz"
        response = self._answer(with_node=with_node)
        self._inputs.health_responses.note(request.path.removeprefix("/"), response.status)
        return response

    def handler_of_service(self, service: ObjectKey, family: Family) -> Handler:
        """Return the handler for a Service's health check node port: any path and method (HC-13)."""
        return lambda _request: self._service_answer(service, family)

    def _answer(self, *, with_node: bool) -> Response:
        """Respond to `/healthz` or `/livez`.

        `lastUpdated` is the current time if the response is 200, else the end of the last complete pass (HC-05).
        A refused configuration and old API data are shown, but the node stays healthy: it uses what it has.
        """
        now = self._inputs.now()
        healthy = self.is_healthy()
        status = self._inputs.status()
        eligible, refused = status.node_eligible, status.configuration_refused
        well = healthy and (eligible or not with_node)
        completed = rfc_3339(now - dt.timedelta(seconds=self._inputs.clock() - self._inputs.progress().completed_at))
        content: dict[str, object] = {
            "lastUpdated": rfc_3339(now) if well else completed,
            "currentTime": rfc_3339(now),
            **({"nodeEligible": eligible} if with_node else {}),
            **({"nodeUnknown": status.node_unknown} if with_node and status.node_unknown else {}),
            "healthy": healthy,
            **({"configurationRefused": refused} if refused else {}),
            **({"apiDataAgeSeconds": round(age)} if (age := self.stale_seconds()) else {}),
            "status": {f.label: {"lastUpdated": completed, "healthy": healthy} for f in self._inputs.status().families},
        }
        code = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(code, _JSON_HEADERS, json.dumps(content, separators=(",", ":")).encode())

    def _service_answer(self, service: ObjectKey, family: Family) -> Response:
        checks = self._inputs.status().health_checks.get(service, ())
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
    """Format a time as the Kubernetes API does, in UTC: ``2026-01-02T03:04:05.000006Z``."""
    return time_of_day.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
