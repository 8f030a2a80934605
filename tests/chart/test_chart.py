"""The chart is well-formed, and refuses values that cannot work with words that help."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import ipvsagent
from chart.rendering import CHART, MATRIX, NAMESPACE, RELEASE, ROOT, Values, helm, only, pod_of, render


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
        (
            {"apiServer": {"host": "https://192.0.2.1"}},
            ["apiServer.host", "https://192.0.2.1", "apiServer.port", "443"],
        ),
        ({"apiServer": {"host": "http://192.0.2.1:80"}}, ["apiServer.host", "is not a https URL"]),
        ({"apiServer": {"host": "https://192.0.2.1:443/k8s/clusters/c-1"}}, ["apiServer.host", "has a path"]),
        ({"apiServer": {"host": "192.0.2.1:99999"}}, ["apiServer.host", "1-65535"]),
        ({"apiServer": {"host": "192.0.2.1:port"}}, ["apiServer.host", "1-65535"]),
        ({"apiServer": {"host": "192.0.2.256"}}, ["apiServer.host", "192.0.2.256 is not a host name or an address"]),
        ({"apiServer": {"host": "fd00:::1"}}, ["apiServer.host", "[2001:db8::10]:6443"]),
        ({"apiServer": {"host": "[192.0.2.1]:6443"}}, ["apiServer.host", "192.0.2.10:6443"]),
        ({"apiServer": {"host": "fd00::10:6443"}}, ["apiServer.host", "unclear", "[ADDRESS]:6443"]),
        ({"apiServer": {"host": "192.0.2.1:443", "port": 8443}}, ["two ports", "apiServer.host=192.0.2.1"]),
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
        ({"config": {"hostnameOverride": "node1"}}, ["config.hostnameOverride must be empty", "node1"]),
        ({"extraEnv": [{"name": "NODE_NAME", "value": "node1"}]}, ["extraEnv", "NODE_NAME"]),
        ({"extraArgs": ["--node-name=node1"]}, ["extraArgs", "--node-name=node1"]),
        ({"config": {"clusterCIDR": "10.244.0.0/99"}}, ["/config/clusterCIDR", "10.244.0.0/99"]),
        ({"config": {"nodePortAddresses": ["10.0.0.0/40"]}}, ["/config/nodePortAddresses", "10.0.0.0/40"]),
        ({"config": {"healthzBindAddress": "0.0.0.0:99999"}}, ["/config/healthzBindAddress", "99999"]),
        ({"config": {"ipvs": {"minSyncPeriod": "1m", "syncPeriod": "30s"}}}, ["minSyncPeriod 1m", "syncPeriod 30s"]),
        ({"config": {"ipvs": {"minSyncPeriod": "31s", "syncPeriod": "0s"}}}, ["minSyncPeriod 31s"]),
        ({"config": {"ipvs": {"drainTimeout": "596524h"}}}, ["config.ipvs.drainTimeout 596524h", "2147483647s"]),
        ({"config": {"ipvs": {"drainTimeout": "99999999999h"}}}, ["99999999999h"]),
        ({"config": {"metricsBindAddress": "0.0.0.0:10256"}}, ["use the same port", "0.0.0.0:10256"]),
        ({"config": {"healthzBindAddress": "0.0.0.0:10249"}}, ["use the same port", "127.0.0.1:10249"]),
        (
            {"config": {"healthzBindAddress": "192.0.2.1:9000", "metricsBindAddress": "192.0.2.1:9000"}},
            ["use the same port", "192.0.2.1:9000"],
        ),
        (
            {"podMonitor": {"enabled": True}, "config": {"metricsBindAddress": "127.0.0.1:10249"}},
            ["podMonitor.enabled", "127.0.0.1:10249", "0.0.0.0:10249"],
        ),
        (
            {"serviceMonitor": {"enabled": True}, "config": {"metricsBindAddress": "[::1]:10249"}},
            ["serviceMonitor.enabled", "[::1]:10249"],
        ),
        ({"serviceAccount": {"create": False}}, ["serviceAccount.name must be set"]),
        ({"serviceAccount": {"create": False, "name": "default"}}, ["serviceAccount.name", "default"]),
        ({"podLabels": {"app.kubernetes.io/component": "x"}}, ["podLabels", "app.kubernetes.io/component"]),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, ["commonLabels", "app.kubernetes.io/name"]),
        ({"podAnnotations": {"checksum/configuration": "x"}}, ["podAnnotations", "checksum/configuration"]),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else None,
)
def test_values_that_cannot_work_are_refused(values: Values, words: list[str]) -> None:
    """The message names the value and what is allowed."""
    answer = helm("template", RELEASE, str(CHART), values=values)
    assert answer.status != 0
    assert [w for w in words if w not in answer.errors] == [], answer.errors


@pytest.mark.parametrize(
    ("host", "environment"),
    [
        ("192.0.2.1", ("192.0.2.1", "6443")),
        ("192.0.2.1:8443", ("192.0.2.1", "8443")),
        ("https://192.0.2.1:6443", ("192.0.2.1", "6443")),
        ("https://api.example.com:443/", ("api.example.com", "443")),
        ("localhost:7445", ("localhost", "7445")),
        ("fd00::10", ("fd00::10", "6443")),
        ("[fd00::10]", ("fd00::10", "6443")),
        ("[fd00::10]:443", ("fd00::10", "443")),
        ("https://[fd00::10]:443", ("fd00::10", "443")),
        ("1:2:3:4:5:6:7:8", ("1:2:3:4:5:6:7:8", "6443")),
    ],
)
def test_an_address_of_the_api_server_is_taken_as_it_was_copied(host: str, environment: tuple[str, str]) -> None:
    """With and without scheme, port and brackets."""
    (agent,) = pod_of(only(render({"apiServer": {"host": host}}), "DaemonSet"))["containers"]
    values = {e["name"]: e.get("value") for e in agent["env"]}
    assert (values["KUBERNETES_SERVICE_HOST"], values["KUBERNETES_SERVICE_PORT"]) == environment


def test_an_account_that_exists_gets_the_permissions() -> None:
    """And no account is made."""
    manifests = render({"serviceAccount": {"create": False, "name": "proxy"}})
    binding = only(manifests, "ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "proxy", "namespace": NAMESPACE}]
    assert pod_of(only(manifests, "DaemonSet"))["serviceAccountName"] == "proxy"


def test_the_words_for_users_name_no_file_of_the_repository() -> None:
    """A user has the chart, perhaps from a registry, and nothing else."""
    comments = (CHART / "values.yaml").read_text(encoding="utf-8")
    for text in (_notes({}), _notes({"migration": {"enabled": True}}), comments):
        assert "charts/" not in text
        assert "docs/" not in text


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
