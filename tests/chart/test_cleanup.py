"""The hook of `helm uninstall`: stop the agents, clean their nodes, leave nothing behind."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from kubernetes import client

from chart.api_server import ApiServer
from chart.rendering import CHART, cleanup_daemon_set, only, pod_of, render


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program that the Job runs; it does not wait between two looks."""
    specification = importlib.util.spec_from_file_location("cleanup_hook", CHART / "files" / "cleanup.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    yield module
    client.Configuration.set_default(None)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A cluster of two nodes that runs the agent."""
    server = ApiServer()
    server.add({"metadata": {"name": "proxy-ipvsagent"}, "spec": _daemon_set()["spec"]})
    yield server
    server.close()


@pytest.fixture
def words(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the rendered Job, with the paths of this test."""
    settings = client.Configuration(host=f"http://127.0.0.1:{server.port}")
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: client.Configuration.set_default(settings))
    (tmp_path / "daemonset.yaml").write_text(yaml.safe_dump(_daemon_set()), encoding="utf-8")
    (container,) = pod_of(only(render({}), "Job"))["containers"]
    return [w.replace("/etc/cleanup", str(tmp_path)) for w in container["command"][2:]]


def _daemon_set() -> dict[str, dict[str, object]]:
    found = cleanup_daemon_set(render({}))
    assert found is not None
    return found


def test_the_state_goes_from_every_node_and_then_the_cleanup_does(
    hook: ModuleType, server: ApiServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The agents first, with their pods: they would repair what is removed."""
    assert hook.main(words) == 0
    assert server.asked == [
        "find API server",
        "delete proxy-ipvsagent Foreground",
        "create proxy-ipvsagent-cleanup",
        "delete proxy-ipvsagent-cleanup Foreground",
    ]
    assert server.daemon_sets == {}
    assert "2 of 2 nodes are clean" in capsys.readouterr().out


def test_a_second_try_starts_from_the_beginning(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """The agents are gone by then, and what the first try made may be there."""
    server.daemon_sets.clear()
    server.add({**_daemon_set(), "metadata": {"name": "proxy-ipvsagent-cleanup"}})
    assert hook.main(words) == 0
    assert server.asked[1:3] == ["delete proxy-ipvsagent-cleanup Foreground", "create proxy-ipvsagent-cleanup"]
    assert server.daemon_sets == {}


def test_a_release_without_nodes_needs_no_cleanup(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """After a migration back, no node has the label."""
    server.nodes = 0
    assert hook.main(words) == 0
    assert server.daemon_sets == {}


def test_a_node_that_stays_dirty_is_a_failure(
    hook: ModuleType, server: ApiServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the end, and with a way out; nothing of the cleanup is left."""
    server.stuck = True
    assert hook.main([w.replace("--timeout=600", "--timeout=0") for w in words]) == 1
    errors = capsys.readouterr().err
    assert "error: DaemonSet proxy-ipvsagent-cleanup ready: not in time" in errors
    assert "hint: " in errors
    assert "--no-hooks" in errors
    assert server.daemon_sets == {}


def test_the_hook_is_one_of_uninstalling_alone() -> None:
    """What the hook needs is created before it and deleted with it."""
    weights: dict[str, int] = {}
    for manifest in render({}):
        annotations = manifest["metadata"].get("annotations", {})
        if "helm.sh/hook" in annotations:
            assert annotations["helm.sh/hook"] == "pre-delete"
            assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
            weights[manifest["kind"]] = int(annotations["helm.sh/hook-weight"])
    assert weights.keys() == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Job"}
    assert all(w < weights["Job"] for kind, w in weights.items() if kind != "Job")


def test_a_pod_is_ready_once_its_node_is_clean() -> None:
    """The cleanup is what the pod does before its container starts; it knows what the configuration leaves alone."""
    pod = pod_of(_daemon_set())
    (cleanup,) = pod["initContainers"]
    assert cleanup["command"] == ["ipvsagent", "cleanup", "--config=/etc/ipvsagent/configuration.yaml"]
    assert pod["hostNetwork"] is True


def test_without_the_cleanup_there_is_no_hook() -> None:
    """The state stays, for kube-proxy."""
    annotations = [m["metadata"].get("annotations", {}) for m in render({"cleanup": {"enabled": False}})]
    assert not any("helm.sh/hook" in a for a in annotations)
