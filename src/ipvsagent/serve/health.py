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
from http import HTTPStatus

from ipvsagent.http_server.http1 import JSON, NO_SNIFFING, Handler, Request, Response, plain_error
from ipvsagent.model.address import Family
from ipvsagent.model.objects import ObjectKey
from ipvsagent.serve.inputs import ServingInputs

_JSON_HEADERS = (("Content-Type", JSON), NO_SNIFFING)  # HC-04


class Health:
    """Answers about this node's health."""

    def __init__(self, inputs: ServingInputs) -> None:
        self._inputs = inputs

    def late_seconds(self) -> float:
        """How long work has been outstanding; 0 if nothing is."""
        since = self._inputs.progress().outstanding_since
        return 0.0 if since is None else max(0.0, self._inputs.clock() - since)

    def is_healthy(self) -> bool:
        """Whether no work is outstanding for longer than twice the synchronisation period (HC-02, DEV-32)."""
        return self.late_seconds() <= 2 * self._inputs.settings().sync_period_seconds

    def handle(self, request: Request) -> Response:
        """The health server: two paths, any method (HC-01)."""
        if request.path not in ("/healthz", "/livez"):
            return plain_error(HTTPStatus.NOT_FOUND)
        with_node = request.path == "/healthz"
        response = self._answer(with_node=with_node)
        self._inputs.health_responses.note(request.path.removeprefix("/"), response.status)
        return response

    def handler_of_service(self, service: ObjectKey, family: Family) -> Handler:
        """Who answers on a Service's health check node port: any path and method (HC-13)."""
        return lambda _request: self._service_answer(service, family)

    def _answer(self, *, with_node: bool) -> Response:
        """HC-05: `lastUpdated` is now where all is well, else when the last complete pass ended.

        A new configuration that was refused is named; the node is none the less healthy with the old one.
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
            "healthy": healthy,
            **({"configurationRefused": refused} if refused else {}),
            "status": {f.label: {"lastUpdated": completed, "healthy": healthy} for f in self._inputs.families},
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
    """As the Kubernetes API writes times, in UTC: ``2026-01-02T03:04:05.000006Z``."""
    return time_of_day.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
