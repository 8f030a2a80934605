"""The chart is well-formed, and refuses values that cannot work with words that help."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import ipvsagent
from chart.rendering import CHART, MATRIX, RELEASE, ROOT, Values, helm


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_helm_finds_nothing_to_criticise(values: Values) -> None:
    """Strict: a warning fails."""
    answer = helm("lint", "--strict", str(CHART), values=values)
    assert answer.status == 0, answer.output + answer.errors


def test_the_chart_has_the_version_of_the_agent() -> None:
    """An image without a tag in the values is the one that the chart was made for."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (ipvsagent.__version__, ipvsagent.__version__)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"config": {"ipvs": {"scheduler": "rrr"}}}, ["/config/ipvs/scheduler", "one of", "'wrr'"]),
        ({"config": {"ipvs": {"schduler": "rr"}}}, ["/config/ipvs", "'schduler' not allowed"]),
        ({"config": {"ipvs": {"syncPeriod": 30}}}, ["/config/ipvs/syncPeriod", "got number, want string"]),
        ({"config": {"ipvs": {"drainTimeout": "15 minutes"}}}, ["/config/ipvs/drainTimeout", "15 minutes"]),
        ({"config": {"ipvs": {"excludeCIDRs": ["192.0.2.1"]}}}, ["/config/ipvs/excludeCIDRs/0", "192.0.2.1"]),
        ({"config": {"clusterCIDR": "10.0.0.0"}}, ["/config/clusterCIDR", "10.0.0.0"]),
        ({"config": {"healthzBindAddress": "10256"}}, ["/config/healthzBindAddress", "10256"]),
        ({"config": {"iptables": {"masqueradeBit": 32}}}, ["/config/iptables/masqueradeBit", "31"]),
        ({"config": {"iptables": {"variant": "nftables"}}}, ["/config/iptables/variant", "'nft'"]),
        ({"config": {"nodePortAddresses": ["primary", "10.0.0.0/8"]}}, ["/config/nodePortAddresses"]),
        ({"image": {"digest": "latest"}}, ["/image/digest"]),
        ({"apiServer": {"host": "https://192.0.2.1"}}, ["/apiServer/host", "https://192.0.2.1"]),
        ({"apiServer": {"port": 0}}, ["/apiServer/port", "minimum"]),
        ({"podMonitor": {"enabled": "yes"}}, ["/podMonitor/enabled", "got string, want boolean"]),
        ({"replicas": 3}, ["'replicas' not allowed"]),
        ({"updateStrategy": {"maxSurge": 1}}, ["updateStrategy: maxSurge needs maxUnavailable: 0"]),
        ({"updateStrategy": {"maxUnavailable": 0}}, ["updateStrategy", "cannot both be 0"]),
        ({"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}, ["scraped twice"]),
        ({"networkPolicy": {"nodePortRange": {"first": 0}}}, ["/networkPolicy/nodePortRange/first", "minimum"]),
        ({"networkPolicy": {"nodePortRange": {"last": 20000}}}, ["networkPolicy.nodePortRange", "smaller"]),
        ({"config": {"detectLocalMode": "BridgeInterface"}}, ["config.detectLocal.bridgeInterface must be set"]),
        (
            {"config": {"detectLocalMode": "InterfaceNamePrefix"}},
            ["config.detectLocal.interfaceNamePrefix must be set"],
        ),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else None,
)
def test_values_that_cannot_work_are_refused(values: Values, words: list[str]) -> None:
    """The message names the value and what is allowed."""
    answer = helm("template", RELEASE, str(CHART), values=values)
    assert answer.status != 0
    assert [w for w in words if w not in answer.errors] == [], answer.errors


def test_every_value_is_known_to_the_schema() -> None:
    """A value that the schema leaves out would be refused as soon as somebody sets it; here the defaults are."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert _difference(schema, values, "") == []


def _difference(schema: dict[str, Any], value: object, path: str) -> list[str]:
    """Paths that one of the two lacks; an object that takes any name is not looked into."""
    if schema.get("additionalProperties") is not False or not isinstance(value, dict):
        return []
    known = {k: v for k, v in schema["properties"].items() if k != "global"}  # Helm's own
    found = [f"{path}.{name}" for name in known.keys() ^ value.keys()]
    return found + [d for n in known.keys() & value.keys() for d in _difference(known[n], value[n], f"{path}.{n}")]


def test_names_of_any_release_fit() -> None:
    """Names of pods end at 63 characters, six of which are their own."""
    long = "a" * 53
    answer = helm("template", long, str(CHART))
    assert answer.status == 0, answer.errors
    manifests = yaml.safe_load_all(answer.output)
    names = [m["metadata"]["name"] for m in manifests if m["kind"] in {"DaemonSet", "Job"}]
    assert max(map(len, names)) <= 57


def test_the_notes_warn_of_an_api_server_behind_the_cluster_ip() -> None:
    """A node that boots would wait for itself."""
    assert "WARNING: `apiServer.host` is not set" in _notes({})
    assert "WARNING" not in _notes({"apiServer": {"host": "192.0.2.1"}})


def test_the_notes_tell_how_to_migrate() -> None:
    """The patch of kube-proxy is valid JSON with the label of the values."""
    notes = _notes({"migration": {"enabled": True, "label": "example.com/proxy", "value": "new"}})
    patch = notes.partition("-p '")[2].partition("'")[0]
    terms = yaml.safe_load(patch)["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "example.com/proxy", "operator": "NotIn", "values": ["new"]}]
    assert "kubectl label node NODE example.com/proxy=new" in notes


def _notes(values: Values) -> str:
    answer = helm("install", RELEASE, str(CHART), "--dry-run=client", values=values)
    assert answer.status == 0, answer.errors
    return answer.output.partition("\nNOTES:\n")[2]


def test_the_source_archive_holds_the_chart() -> None:
    """Its tests are in there, too."""
    project = tomllib.loads(Path(ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "charts" in project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]


def test_rendering_twice_gives_the_same() -> None:
    """Nothing random: tools that compare manifests would see changes for ever."""
    first, second = (helm("template", RELEASE, str(CHART), values=MATRIX["everything"]).output for _ in range(2))
    assert first == second
