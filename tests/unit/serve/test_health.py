"""What probes and load balancers are told, byte for byte."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from msgspec.structs import replace

from ipvsagent.http_server.http1 import Request
from ipvsagent.model.address import Family
from ipvsagent.model.state import HealthCheck
from ipvsagent.model.status import Progress, Status
from ipvsagent.serve.health import Health, rfc_3339
from support.builders import key
from unit.serve.states import NOW, STUCK, WELL, inputs

CHECKS = {
    key("shop/web"): (HealthCheck(Family.IPV4, 32000, 3), HealthCheck(Family.IPV6, 32000, 0)),
}
JSON_HEADERS = (("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff"))


def health_of(status: Status = WELL, progress: Progress | None = None) -> Health:
    """As `inputs`."""
    return Health(inputs(status, progress))


@pytest.mark.parametrize(("path", "progress", "code"), [("/healthz", None, 200), ("/livez", STUCK, 503)])
def test_a_refused_configuration_is_a_detail_of_the_answer(path: str, progress: Progress | None, code: int) -> None:
    """HC-05, CFG-50: the old one is in force, so the node's health does not change."""
    response = health_of(replace(WELL, configuration_refused="foo: is not known"), progress).handle(
        Request("GET", path)
    )
    assert response.status == code
    assert json.loads(response.body)["configurationRefused"] == "foo: is not known"
    assert b"configurationRefused" not in health_of(WELL, progress).handle(Request("GET", path)).body


def test_old_data_are_a_detail_of_the_answer() -> None:
    """HC-05: all nodes would leave their load balancers at once otherwise, when the API server is down."""
    for age, shown in ((600.0, None), (601.4, 601)):
        made = replace(inputs(), silence_seconds=lambda age=age: age)
        response = Health(made).handle(Request("GET", "/healthz"))
        assert response.status == 200
        assert json.loads(response.body).get("apiDataAgeSeconds") == shown


def test_a_healthy_agent_answers_200_with_one_line_of_json() -> None:
    """HC-01, HC-04, HC-05: 200, one line of JSON, `lastUpdated` is now."""
    response = health_of().handle(Request("GET", "/healthz"))
    assert (response.status, response.headers) == (200, JSON_HEADERS)
    assert response.body == (
        b'{"lastUpdated":"2026-01-02T03:04:05.000006Z","currentTime":"2026-01-02T03:04:05.000006Z",'
        b'"nodeEligible":true,"healthy":true,"status":{'
        b'"IPv4":{"lastUpdated":"2026-01-02T03:03:55.000006Z","healthy":true},'
        b'"IPv6":{"lastUpdated":"2026-01-02T03:03:55.000006Z","healthy":true}}}'
    )


@pytest.mark.parametrize(
    ("outstanding_since", "healthy"), [(None, True), (1000.0, True), (940.0, True), (939.0, False), (0.0, False)]
)
def test_healthy_until_work_is_outstanding_for_twice_the_period(outstanding_since: float | None, healthy: bool) -> None:
    """HC-02, DEV-32: 2 x syncPeriod, whatever asked for the work; no work, no limit."""
    response = health_of(progress=Progress(0.0, outstanding_since)).handle(Request("GET", "/livez"))
    assert response.status == (200 if healthy else 503)
    content = json.loads(response.body)
    assert content["healthy"] is healthy
    assert "nodeEligible" not in content
    assert content["lastUpdated"] == ("2026-01-02T03:04:05.000006Z" if healthy else "2026-01-02T02:47:25.000006Z")


def test_a_node_that_leaves_gets_no_new_traffic_and_is_not_restarted() -> None:
    """HC-01, HC-03, HC-05: eligibility counts on /healthz alone, and `healthy` does not mean it."""
    health = health_of(replace(WELL, node_eligible=False))
    response = health.handle(Request("GET", "/healthz"))
    assert response.status == 503
    content = json.loads(response.body)
    assert (content["nodeEligible"], content["healthy"]) == (False, True)
    assert content["lastUpdated"] == "2026-01-02T03:03:55.000006Z"
    assert health.handle(Request("GET", "/livez")).status == 200


def test_two_paths_and_any_method() -> None:
    """HC-01: /readyz does not exist here; answers are counted by path and code (MET-12)."""
    told = inputs(progress=STUCK)
    health = Health(told)
    assert health.handle(Request("POST", "/healthz")).status == 503
    assert health.handle(Request("DELETE", "/livez")).status == 503
    assert [health.handle(Request("GET", path)).status for path in ("/", "/readyz", "/healthz/")] == [404] * 3
    assert (told.health_responses.of("healthz"), told.health_responses.of("livez")) == ({503: 1}, {503: 1})


def test_a_service_with_local_endpoints() -> None:
    """HC-13, HC-15, HC-16: body and headers as kube-proxy writes them; any path and method."""
    answer = health_of(replace(WELL, health_checks=CHECKS)).handler_of_service(key("shop/web"), Family.IPV4)
    response = answer(Request("PUT", "/whatever"))
    assert response.status == 200
    assert response.headers == (*JSON_HEADERS, ("X-Load-Balancing-Endpoint-Weight", "3"))
    assert response.body == (
        b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n'
        b'\t"localEndpoints": 3,\n\t"serviceProxyHealthy": true\n}'
    )


def test_a_service_without_local_endpoints_in_a_family() -> None:
    """HC-10, HC-13: each family has its own count."""
    answer = health_of(replace(WELL, health_checks=CHECKS)).handler_of_service(key("shop/web"), Family.IPV6)
    response = answer(Request("GET"))
    assert response.status == 503
    assert response.headers[-1] == ("X-Load-Balancing-Endpoint-Weight", "0")
    assert response.body.endswith(b'\t"localEndpoints": 0,\n\t"serviceProxyHealthy": true\n}')


def test_a_service_is_unhealthy_with_its_agent_but_not_because_its_node_leaves() -> None:
    """HC-13: the agent's health counts, eligibility of the node does not."""
    status = replace(WELL, node_eligible=False, health_checks=CHECKS)
    leaving = health_of(status).handler_of_service(key("shop/web"), Family.IPV4)
    assert leaving(Request("GET")).status == 200
    stuck = health_of(status, STUCK).handler_of_service(key("shop/web"), Family.IPV4)
    response = stuck(Request("GET"))
    assert response.status == 503
    assert response.body.endswith(b'\t"localEndpoints": 3,\n\t"serviceProxyHealthy": false\n}')


def test_times_are_in_utc() -> None:
    """HC-05: RFC 3339."""
    east = dt.timezone(dt.timedelta(hours=2))
    assert rfc_3339(NOW.astimezone(east)) == "2026-01-02T03:04:05.000006Z"
