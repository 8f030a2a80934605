"""The chart as Helm renders it, for a few sets of values."""

from __future__ import annotations

import functools
import json
import pickle
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from lab.speed import scaled

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "ipvsagent"
RELEASE, NAMESPACE = "proxy", "kube-system"

Values = Mapping[str, Any]
Manifest = dict[str, Any]

MATRIX: dict[str, Values] = {
    "default": {},
    "dual stack": {
        "apiServer": {"host": "fd00::10", "port": 443},
        "config": {
            "clusterCIDR": "10.244.0.0/16,fd00:10:244::/56",
            "bindAddress": "::",
            "healthzBindAddress": "[::]:10256",
            "nodePortAddresses": ["192.0.2.0/24", "2001:db8::/64"],
        },
    },
    "nft": {"config": {"iptables": {"variant": "nft"}, "ipvs": {"scheduler": "mh", "strictARP": True}}},
    "monitoring": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "alertLabels": {"team": "network"}},
        "dashboard": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
        "config": {"realServerMetrics": True},
    },
    "service monitor": {
        "serviceMonitor": {"enabled": True},
        "config": {"metricsBindAddress": "192.0.2.1:9100", "healthzBindAddress": "192.0.2.1:9101"},
    },
    "least privilege": {
        "apiServer": {"host": "192.0.2.10"},
        "config": {"iptables": {"variant": "nft"}},
        "modules": {"load": False},
        "sysctls": {"mount": False},
        "cleanup": {"enabled": False},
    },
    "migration": {"migration": {"enabled": True}, "cleanup": {"timeoutSeconds": 120}},
    "everything": {
        "image": {"repository": "registry.example/ipvsagent", "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "pull"}],
        "fullnameOverride": "service-proxy",
        "restartOnConfigChange": True,
        "updateStrategy": {"maxUnavailable": 0, "maxSurge": "25%"},
        "serviceAccount": {"annotations": {"example.com/role": "proxy"}},
        "affinity": {"nodeAffinity": {}},
        "extraArgs": ["--debug"],
        "extraEnv": [{"name": "PYTHONMALLOC", "value": "malloc"}],
        "extraVolumes": [{"name": "kubeconfig", "secret": {"secretName": "kubeconfig"}}],
        "extraVolumeMounts": [{"name": "kubeconfig", "mountPath": "/etc/kubernetes", "readOnly": True}],
        "podAnnotations": {"example.com/note": "1"},
        "podLabels": {"example.com/tier": "network"},
        "commonLabels": {"example.com/owner": "network"},
        "config": {
            "clientConnection": {"kubeconfig": "/etc/kubernetes/kubeconfig"},
            "detectLocalMode": "InterfaceNamePrefix",
            "detectLocal": {"interfaceNamePrefix": "veth"},
            "ipvs": {"scheduler": "sh", "schedulerFlags": ["flag-1", "flag-2"], "excludeCIDRs": ["198.51.100.0/24"]},
            "conntrack": {"min": 2000000, "tcpBeLiberal": True},
        },
    },
}


class Answer(NamedTuple):
    """What Helm said."""

    status: int
    output: str
    errors: str


def helm(*words: str, values: Values | None = None) -> Answer:
    """Run Helm on the chart, with values instead of, or in addition to, the chart's own."""
    beside_python = ROOT / ".venv" / "bin" / "helm"
    program = str(beside_python) if beside_python.exists() else shutil.which("helm")
    assert program, "there is no helm: run `make setup`, or install it"
    options = [] if "--help" in words else ["--namespace", NAMESPACE, "--values", "-"]
    done = subprocess.run(
        [program, *words, *options],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def render(values: Values) -> list[Manifest]:
    """All manifests, hooks included."""
    return list(pickle.loads(_rendered(json.dumps(values, sort_keys=True))))


@functools.cache
def _rendered(values: str) -> bytes:
    """Render once: in QEMU it takes seconds, and so does YAML without the C library; each caller gets its own copy."""
    answer = helm("template", RELEASE, str(CHART), values=json.loads(values))
    assert answer.status == 0, answer.errors
    return pickle.dumps(list(yaml.load_all(answer.output, yaml.CSafeLoader)))


def only(manifests: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """The one manifest of a kind, perhaps with a name that ends so."""
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(ending)]
    return found


def configuration(manifests: list[Manifest]) -> str:
    """The text of the agent's configuration file."""
    (text,) = [
        m["data"]["configuration.yaml"]
        for m in manifests
        if m["kind"] == "ConfigMap" and "configuration.yaml" in m["data"]
    ]
    return str(text)


def cleanup_daemon_set(manifests: list[Manifest]) -> Manifest | None:
    """The DaemonSet that the cleanup's Job makes; None without cleanup."""
    texts = [m["data"]["daemonset.yaml"] for m in manifests if "daemonset.yaml" in m.get("data", {})]
    return yaml.safe_load(texts[0]) if texts else None


def with_pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Everything that makes pods, the DaemonSet of the cleanup included."""
    yield from (m for m in manifests if m["kind"] in {"DaemonSet", "Job"})
    cleanup = cleanup_daemon_set(manifests)
    if cleanup:
        yield cleanup


def pod_of(manifest: Manifest) -> Manifest:
    """The pod's specification."""
    return dict(manifest["spec"]["template"]["spec"])


def containers_of(manifest: Manifest) -> list[Manifest]:
    """All containers of its pods."""
    pod = pod_of(manifest)
    return [*pod.get("initContainers", []), *pod["containers"]]
