"""Alerts and dashboard ask for metrics that the agent serves, with labels that these have."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from chart.rendering import CHART, MATRIX, Manifest, Values, only, pod_of, render
from ipvsagent.config.load import parse_configuration
from ipvsagent.serve.metrics.definitions import EVERY

OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance", "node", "le"}
_NAME = re.compile(r"\b(up|(?:ipvsagent|kubeproxy|process)_[a-z0-9_]+)\b")
_LABELS = re.compile(r"\bby \(([^)]*)\)|(\w+)=~?\"")
_HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")

DEFINITIONS = {d.name: d for d in EVERY}
for _definition in EVERY:
    if _definition.kind == "histogram":
        DEFINITIONS.update({_definition.name + part: _definition for part in _HISTOGRAM_PARTS})


def _rules() -> list[Manifest]:
    rule = only(render(MATRIX["monitoring"]), "PrometheusRule")
    return [r for group in rule["spec"]["groups"] for r in group["rules"]]


def _panels() -> list[Manifest]:
    return list(json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))["panels"])


def _expressions() -> Iterator[str]:
    shipped = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    yield from (r["expr"] for group in shipped["groups"] for r in group["rules"])
    yield from (t["expr"] for p in _panels() for t in p.get("targets", []))


@pytest.mark.parametrize("expression", list(_expressions()))
def test_metrics_and_labels_exist(expression: str) -> None:
    """A name that nobody serves would never fire, and nobody would notice."""
    names = set(_NAME.findall(expression)) - OF_PROMETHEUS
    assert names <= DEFINITIONS.keys()
    known = LABELS_OF_PROMETHEUS.union(*(DEFINITIONS[n].labels for n in names))
    asked = {label.strip() for pair in _LABELS.findall(expression) for part in pair for label in part.split(",")}
    assert asked - {""} <= known


@pytest.mark.parametrize("expression", list(_expressions()))
def test_counters_are_not_read_as_they_are(expression: str) -> None:
    """They start at 0 with the agent: only their growth says something, or two of them side by side."""
    for name in set(_NAME.findall(expression)) - OF_PROMETHEUS:
        if DEFINITIONS[name].kind == "counter" and "repaired" not in expression:
            assert re.search(rf"(rate|increase|changes)\({name}\b", expression)


def test_every_alert_says_what_happened_how_bad_it_is_and_what_follows() -> None:
    """And has the labels of the values."""
    rules = _rules()
    assert len({r["alert"] for r in rules}) == len(rules) > 10
    for rule in rules:
        assert rule["labels"].keys() == {"severity", "team"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert "AGENT" not in rule["expr"]
        assert "SLOW_SECONDS" not in rule["expr"]


def test_the_guide_says_what_to_do_at_each_alert() -> None:
    """And names no other alert."""
    guide = (CHART.parents[1] / "docs" / "guides" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (Ipvsagent\w+) \|", guide, re.MULTILINE) == [rule["alert"] for rule in _rules()]


def test_prometheus_takes_the_alerts(tmp_path: Path) -> None:
    """Its own tool reads expressions and templates."""
    rules = only(render(MATRIX["monitoring"]), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", str(tmp_path / "rules.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ask_for_the_job_that_the_monitor_names() -> None:
    """By the label of the pods; the chart's name may be another."""
    manifests = render({**MATRIX["monitoring"], "nameOverride": "other"})
    monitor, daemon_set = only(manifests, "PodMonitor"), only(manifests, "DaemonSet")
    job = daemon_set["spec"]["template"]["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    rule = only(manifests, "PrometheusRule")
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert f'{{job="{job}"' in alert["expr"]


@pytest.mark.parametrize("monitor", ["PodMonitor", "ServiceMonitor"])
def test_metrics_and_alerts_have_the_job_of_the_values(monitor: str) -> None:
    """So that alerts and dashboards that look for kube-proxy find the agent."""
    key, endpoints = {
        "PodMonitor": ("podMonitor", "podMetricsEndpoints"),
        "ServiceMonitor": ("serviceMonitor", "endpoints"),
    }[monitor]
    values = {"metricsJob": "kube-proxy", key: {"enabled": True}, "prometheusRule": {"enabled": True}}
    manifests = render(values)
    (endpoint,) = only(manifests, monitor)["spec"][endpoints]
    assert {"targetLabel": "job", "replacement": "kube-proxy"} in endpoint["relabelings"]
    rules = only(manifests, "PrometheusRule")["spec"]["groups"][0]["rules"]
    assert all('{job="kube-proxy"' in rule["expr"] for rule in rules)


@pytest.mark.parametrize(
    "values",
    [
        {"podMonitor": {"enabled": True}},
        {"podMonitor": {"enabled": True}, "config": {"metricsBindAddress": "[::]:9999"}},
        {"serviceMonitor": {"enabled": True}},
        MATRIX["service monitor"],
    ],
    ids=["pods", "pods at another port", "service", "service at another port"],
)
def test_a_monitor_scrapes_where_metrics_are_served(values: Values) -> None:
    """Of the agents' pods, at the port of the configuration."""
    manifests = render(values)
    text = next(m["data"]["configuration.yaml"] for m in manifests if "configuration.yaml" in m.get("data", {}))
    port = parse_configuration(text).settings.metrics_listen.port
    labels = only(manifests, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    if "podMonitor" in values:
        monitor = only(manifests, "PodMonitor")
        assert monitor["spec"]["podMetricsEndpoints"][0]["portNumber"] == port
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        return
    service, monitor = only(manifests, "Service"), only(manifests, "ServiceMonitor")
    assert service["spec"]["ports"][0]["targetPort"] == port
    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_dashboard_arrives_as_it_is() -> None:
    """Its braces are Grafana's, not Helm's."""
    config_map = only(render(MATRIX["monitoring"]), "ConfigMap", "-dashboard")
    shipped = (CHART / "files" / "dashboard.json").read_text(encoding="utf-8")
    assert json.loads(config_map["data"]["ipvsagent.json"]) == json.loads(shipped)
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_do_not_overlap() -> None:
    """Grafana's grid is 24 wide."""
    cells: set[tuple[int, int]] = set()
    panels = _panels()
    assert len({p["id"] for p in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own


def test_the_network_policy_admits_kubelet_load_balancers_and_prometheus_alone() -> None:
    """The health port and the health check node ports for all, the metrics port for the peers of the values."""
    manifests = render(MATRIX["monitoring"])
    policy = only(manifests, "NetworkPolicy")["spec"]
    health, metrics = policy["ingress"]
    assert policy["policyTypes"] == ["Ingress"]
    ports = [{"protocol": "TCP", "port": 10256}, {"protocol": "TCP", "port": 30000, "endPort": 32767}]
    assert health == {"ports": ports}
    assert metrics["ports"] == [{"protocol": "TCP", "port": 10249}]
    assert metrics["from"] == MATRIX["monitoring"]["networkPolicy"]["metricsFrom"]
    assert pod_of(only(manifests, "DaemonSet"))["hostNetwork"] is True
