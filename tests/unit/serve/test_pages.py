"""The pages of the metrics server."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import yaml
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ipvsagent import __version__
from ipvsagent.config.load import parse_configuration
from ipvsagent.config.types import Settings
from ipvsagent.http_server.http1 import Request, Response
from ipvsagent.model.objects import Problem
from ipvsagent.model.status import Status
from ipvsagent.serve.configz import configz
from ipvsagent.serve.health import Health
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.pages import Pages
from unit.serve.states import NOW, STUCK, WELL, inputs

TEXT_HEADERS = (("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"))


def get(path: str, made: ServingInputs | None = None, *, method: str = "GET", accept: str = "") -> Response:
    """Ask for a page."""
    made = made or inputs()
    return Pages(made, Health(made)).handle(Request(method, path, accept=accept))


def test_proxy_mode() -> None:
    """HC-21: what kubeadm and conformance tests look for."""
    assert get("/proxyMode") == Response(200, TEXT_HEADERS, b"ipvs")


@pytest.mark.parametrize("path", ["/healthz", "/healthz/ping"])
def test_alive(path: str) -> None:
    """HC-22: it answers, whatever the owner thread does."""
    assert get(path, inputs(progress=STUCK)) == Response(200, TEXT_HEADERS, b"ok")


def test_live_and_ready() -> None:
    """HC-22: ours; live as in HC-02, ready once the kernel was in step for the first time."""
    assert get("/livez").body == get("/readyz").body == b"ok"
    stuck = get("/livez", inputs(progress=STUCK))
    assert (stuck.status, stuck.body) == (503, b"work has been outstanding for 61 s\n")
    waiting = get("/readyz", inputs(Status()))
    assert (waiting.status, waiting.body) == (503, b"Services and EndpointSlices were not listed yet\n")
    first = get("/readyz", inputs(Status(complete=True)))
    assert (first.status, first.body) == (503, b"the first synchronisation is not done yet\n")


def test_a_node_that_serves_old_data_is_not_ready() -> None:
    """HC-22: the age of what the API server confirmed counts, not whether a connection is open."""
    made = replace(inputs(), silence_seconds=lambda: 600.0, source_faults=lambda: ("API server /x: broken",))
    assert get("/readyz", made).body == b"ok"
    made = replace(made, silence_seconds=lambda: 601.2)
    answer = get("/readyz", made)
    assert (answer.status, answer.body) == (
        503,
        b"the API server has confirmed nothing for 601 s\nAPI server /x: broken\n",
    )
    assert get("/livez", made).body == b"ok"
    assert "- API server /x: broken\n" in get("/statusz", made).body.decode()


def test_metrics_are_handed_through_once_there_are_any() -> None:
    """HC-20: 404 until then."""
    assert get("/metrics").status == 404
    made = replace(inputs(), metrics=lambda: ("text/plain; version=0.0.4", b"up 1\n"))
    assert get("/metrics", made) == Response(200, (("Content-Type", "text/plain; version=0.0.4"),), b"up 1\n")


def test_health_checks_have_metrics_of_their_own() -> None:
    """HC-20: `/metrics/slis`: the result of each now, and how often it was asked for."""
    made = inputs(Status(complete=True))
    pages = Pages(made, Health(made))
    for path in ("/healthz", "/healthz/ping", "/livez", "/readyz"):
        pages.handle(Request("GET", path, accept=""))
    response = pages.handle(Request("GET", "/metrics/slis", accept=""))
    assert response.headers == (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }
    assert found == {
        ("kubernetes_healthcheck", "healthz", "ping"): 1,
        ("kubernetes_healthcheck", "livez", "progress"): 1,
        ("kubernetes_healthcheck", "readyz", "synchronisation"): 0,
        ("kubernetes_healthchecks_total", "healthz", "ping", "success"): 2,
        ("kubernetes_healthchecks_total", "livez", "progress", "success"): 1,
        ("kubernetes_healthchecks_total", "error", "readyz", "synchronisation"): 1,
    }


@pytest.mark.parametrize("path", ["/", "/debug/pprof/", "/debug/flags/v", "/metrics/", "/proxymode"])
def test_what_is_not_there(path: str) -> None:
    """HC-25: profiling is not offered."""
    assert get(path).status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE", "XYZZY"])
def test_pages_are_for_reading(method: str) -> None:
    """HC-21: the answer to other methods lists those allowed."""
    response = get("/proxyMode", method=method)
    assert response.status == 405
    assert ("Allow", "GET, HEAD") in response.headers


def test_configuration_is_shown_in_words_that_a_file_may_have() -> None:
    """HC-23: kube-proxy's kind with effective values; read back, it gives the same settings."""
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    text += "clusterCIDR: 10.200.0.0/16,fd00:200::/48\nnodePortAddresses: [192.0.2.0/24]\nhealthzBindAddress: '::'\n"
    text += "ipvs: {scheduler: lc, minSyncPeriod: 500ms, syncPeriod: 1m30s, tcpTimeout: 15m}\n"
    text += "bindAddress: 192.0.2.1\nconntrack: {tcpEstablishedTimeout: 25h}\noomScoreAdj: -998\n"
    settings = parse_configuration(text).settings
    response = get("/configz", replace(inputs(), settings=lambda: settings))
    assert response.headers[0] == ("Content-Type", "application/json")
    shown = json.loads(response.body)["kubeproxy.config.k8s.io"]
    assert shown["kind"] == "KubeProxyConfiguration"
    assert shown["healthzBindAddress"] == "[::]:10256"
    assert shown["metricsBindAddress"] == "127.0.0.1:10249"
    assert shown["conntrack"]["tcpEstablishedTimeout"] == "25h0m0s"
    assert parse_configuration(yaml.safe_dump(shown)).settings == settings


def test_every_field_of_our_own_kind_is_shown_as_a_file_may_have_it() -> None:
    """HC-23: read back, it gives the same settings, also where only our kind has a word for them."""
    text = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\nserviceCIDRs: [10.96.0.0/12]\n"
    text += "ipvs: {scheduler: mh, schedulerFlags: [flag-1], schedulerFallback: lc, estimation: 'off'}\n"
    text += "externalAddresses: {allowedExternalIPs: [198.51.100.0/24]}\nlogging: {level: debug}\n"
    settings = parse_configuration(text).settings
    shown = json.loads(get("/configz", replace(inputs(), settings=lambda: settings)).body)["ipvsagent.io"]
    assert shown["ipvs"]["estimation"] == "off"
    assert parse_configuration(yaml.safe_dump(shown)).settings == settings


def test_primary_node_addresses_are_shown_as_the_file_says_them() -> None:
    """HC-23."""
    text = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\nnodePortAddresses: [primary]\n"
    shown = configz(parse_configuration(text).settings)["kubeproxy.config.k8s.io"]
    assert isinstance(shown, dict)
    assert shown["nodePortAddresses"] == ["primary"]


def test_status_for_people() -> None:
    """HC-24: plain text without `Accept`, with how old the API server's data is."""
    problem = Problem("Service", "shop/web", "spec.ports", "is empty")
    status = replace(
        WELL,
        services=7,
        failures=("write rules: no",),
        problems=(problem,),
        configuration_refused="a: is wrong\nb: too",
        waiting_for_restart=("oomScoreAdj",),
    )
    made = replace(
        inputs(status),
        started_at=NOW - dt.timedelta(hours=49, seconds=62),
        silence_seconds=lambda: 12.4,
    )
    response = get("/statusz", made)
    assert (response.status, response.headers) == (200, TEXT_HEADERS)
    text = response.body.decode()
    assert text.startswith("\nipvsagent statusz\nWarning: This endpoint is not meant to be machine parseable")
    for line in (
        "Started: Wed Dec 31 02:03:03 UTC 2025",
        "Up: 49 hr 01 min 02 sec",
        f"Binary version: {__version__}",
        "Healthy: yes",
        "Services: 7",
        "Configuration refused: a: is wrong b: too",
        "Waiting for a restart: oomScoreAdj",
        "Confirmed by the API server: 12 s ago",
        "- write rules: no",
        "- Service shop/web: spec.ports is empty",
    ):
        assert line in text.split("\n")


def test_flags_for_people() -> None:
    """HC-24."""
    text = get("/flagz", replace(inputs(), flags=(("config", "/a"), ("debug", "False")))).body.decode()
    assert text.endswith("purposes only.\n\nconfig=/a\ndebug=False\n")


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_status_and_flags_for_programs(version: str) -> None:
    """HC-24: structured by content negotiation."""
    made = replace(inputs(), started_at=NOW - dt.timedelta(seconds=62), flags=(("debug", "False"),))
    status = get("/statusz", made, accept=f"application/json;v={version};g=config.k8s.io;as=Statusz")
    content = json.loads(status.body)
    assert (content["kind"], content["apiVersion"]) == ("Statusz", f"config.k8s.io/{version}")
    assert content["metadata"] == {"name": "ipvsagent"}
    assert (content["startTime"], content["uptimeSeconds"]) == ("2026-01-02T03:03:03Z", 62)
    assert "/proxyMode" in content["paths"]
    flags = get("/flagz", made, accept=f"application/json; v={version}; g=config.k8s.io; as=Flagz")
    assert json.loads(flags.body)["flags"] == {"debug": "False"}


@pytest.mark.parametrize("path", ["/statusz", "/flagz"])
@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("text/html,text/plain;q=0.9", 200),
        ("application/json", 406),
        ("image/png", 406),
        ("application/json;v=v2;g=config.k8s.io;as=Statusz", 406),
    ],
)
def test_what_else_is_accepted(path: str, accept: str, status: int) -> None:
    """HC-24: a media type that the server does not have is refused."""
    assert get(path, accept=accept).status == status


def test_defaults_of_both_servers() -> None:
    """HC-23, CFG-04, CFG-05: health for everybody, the rest for this host."""
    assert (str(Settings().health_listen), str(Settings().metrics_listen)) == ("0.0.0.0:10256", "127.0.0.1:10249")
