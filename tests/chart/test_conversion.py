"""`config convert -o helm`: the values install as they are, and no node gets the name or the addresses of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.rendering import ROOT, configuration, only, pod_of, render
from ipvsagent.cli.main import main
from ipvsagent.config.load import parse_configuration
from ipvsagent.config.node_name import choose_node_name

Capture = pytest.CaptureFixture[str]
FILES = sorted((ROOT / "tests" / "data" / "kube-proxy").iterdir())
ONE_NODE = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
bindAddress: 10.0.0.1
healthzBindAddress: 10.0.0.1:20256
metricsBindAddress: "[fd00::1]:20249"
hostnameOverride: node1
nodePortAddresses: [10.0.0.1/32, 127.0.0.0/8]
oomScoreAdj: -1000
"""
OBJECTS = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10]
  internalTrafficPolicy: Local
  ports: [{port: 80, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.0.1.1], nodeName: worker-1, conditions: {ready: true}}
- {addresses: [10.0.2.1], nodeName: worker-2, conditions: {ready: true}}
"""


def _convert(file: Path, capsys: Capture) -> tuple[Any, str, str]:
    """The values, their comments, and what is on stderr."""
    assert main(["config", "convert", "-o", "helm", str(file)]) == 0
    output = capsys.readouterr()
    comments = "\n".join(line for line in output.out.splitlines() if line.startswith("#"))
    return yaml.safe_load(output.out), comments.replace("\n# ", " "), output.err


def _name_on(node: str, manifests: list[dict[str, Any]]) -> str:
    """The name that the rendered agent has on a node, as kubelet resolves the variables of its pod."""
    (agent,) = pod_of(only(manifests, "DaemonSet"))["containers"]
    fields = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in agent["env"] if "valueFrom" in e}
    environment = {name: node for name, path in fields.items() if path == "spec.nodeName"}
    return choose_node_name("", parse_configuration(configuration(manifests)).settings, environment)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_converted_values_plan_the_local_endpoints_of_each_node(file: Path, tmp_path: Path, capsys: Capture) -> None:
    """DEV-87: two nodes of one release have two names, and two sets of local endpoints."""
    values, _, _ = _convert(file, capsys)
    manifests = render(values)
    (tmp_path / "agent.yaml").write_text(configuration(manifests), encoding="utf-8")
    (tmp_path / "objects.yaml").write_text(OBJECTS, encoding="utf-8")
    planned = []
    for node in ("worker-1", "worker-2"):
        words = ["-f", str(tmp_path / "objects.yaml"), "--config", str(tmp_path / "agent.yaml"), "-o", "ipvsadm"]
        assert main(["plan", *words, "--node-name", _name_on(node, manifests)]) == 0
        lines = capsys.readouterr().out.splitlines()
        planned.append([line.partition(" -r ")[2].split()[0] for line in lines if line.startswith("-a")])
    assert planned == [["10.0.1.1:8080"], ["10.0.2.1:8080"]]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_converted_values_hold_nothing_of_one_node_and_say_so(file: Path, capsys: Capture) -> None:
    """DEV-87: host name and kubeconfig; the comments and stderr name what the file had."""
    values, comments, errors = _convert(file, capsys)
    text = file.read_text(encoding="utf-8")
    assert not values["config"].keys() & {"hostnameOverride", "clientConnection", "bindAddress"}
    for field, word in (("hostnameOverride", "node1"), ("hostnameOverride", "i-0123456789abcdef0")):
        if word in text:
            assert f"{field}: left out: `{word}`" in comments
            assert f"warning: {field}: left out: `{word}`" in errors


def test_addresses_of_one_node_become_those_of_every_node(tmp_path: Path, capsys: Capture) -> None:
    """DEV-87: ports stay; what cannot be decided is kept and reported."""
    file = tmp_path / "kube-proxy.yaml"
    file.write_text(ONE_NODE, encoding="utf-8")
    values, comments, errors = _convert(file, capsys)
    assert values == {
        "config": {
            "healthzBindAddress": "0.0.0.0:20256",
            "metricsBindAddress": "[::1]:20249",
            "nodePortAddresses": ["10.0.0.1/32", "127.0.0.0/8"],
        }
    }
    for words in (
        "hostnameOverride: left out: `node1`",
        "bindAddress: left out: `10.0.0.1` belongs to one node",
        "healthzBindAddress: changed to `0.0.0.0:20256`: `10.0.0.1` belongs to one node",
        "metricsBindAddress: changed to `[::1]:20249`: `fd00::1` belongs to one node",
        "nodePortAddresses: `10.0.0.1/32` is kept",
        "oomScoreAdj: left out: -1000",
    ):
        assert words in comments
        assert f"warning: {words}" in errors
    assert "127.0.0.0/8" not in comments
    settings = parse_configuration(configuration(render(values))).settings
    assert (str(settings.health_listen), settings.oom_score_adjust) == ("0.0.0.0:20256", -997)


def test_defaults_need_no_values(tmp_path: Path, capsys: Capture) -> None:
    """The file is valid YAML with an empty section."""
    file = tmp_path / "kube-proxy.yaml"
    file.write_text(ONE_NODE.partition("bindAddress")[0], encoding="utf-8")
    values, _, errors = _convert(file, capsys)
    assert values == {"config": {}}
    assert errors == ""
