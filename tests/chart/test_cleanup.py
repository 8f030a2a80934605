"""The hook of `helm uninstall`: stop the agents, clean their nodes, name those that are not clean."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from kubernetes import client

from chart.api_server import ApiServer
from chart.rendering import CHART, Values, cleanup_daemon_set, only, pod_of, render

CLEANUP = "proxy-ipvsagent-cleanup"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that the Job runs; it does not wait between two looks, nor for a kubelet that does not answer."""
    specification = importlib.util.spec_from_file_location("cleanup_hook", CHART / "files" / "cleanup.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    for name in ("PAUSE_SECONDS", "ANSWER_SECONDS", "PERMITTED_SECONDS"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setenv("JOB_UID", "1-2-3")
    return module


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A cluster of two nodes that runs the agent."""
    server = ApiServer({"node-1": "clean", "node-2": "clean"})
    server.add({"metadata": {"name": "proxy-ipvsagent"}, "spec": _daemon_set()["spec"]})
    yield server
    server.close()
    client.Configuration.set_default(None)


@pytest.fixture
def words(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the rendered Job, with the paths of this test."""
    return _words(server.port, tmp_path, monkeypatch, {})


def _words(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch, values: Values) -> list[str]:
    """The command line for some values; the cluster IP leads to a port of this machine."""
    settings = client.Configuration(host=f"http://127.0.0.1:{port}")
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: client.Configuration.set_default(settings))
    (folder / "daemonset.yaml").write_text(yaml.safe_dump(_daemon_set()), encoding="utf-8")
    (container,) = pod_of(only(render(values), "Job"))["containers"]
    return [w.replace("/etc/cleanup", str(folder)) for w in container["command"][2:]]


def _in_no_time(words: list[str]) -> list[str]:
    assert "--timeout=240" in words
    return [w.replace("--timeout=240", "--timeout=0") for w in words]


def _daemon_set() -> dict[str, Any]:
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
        "delete proxy-ipvsagent Background",
        f"create {CLEANUP}",
        f"delete {CLEANUP} Background",
    ]
    assert server.daemon_sets == {}
    assert "2 of 2 nodes are clean" in capsys.readouterr().out


def test_the_job_owns_all_that_it_needs(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """Nothing of it goes while the Job runs, and nothing is left after it: Kubernetes deletes it with the Job."""
    created: list[Any] = []
    add = server.add
    server.add = lambda manifest: (created.append(manifest), add(manifest))[1]  # type: ignore[method-assign, func-returns-value]  # to see it
    assert hook.main(words) == 0
    owner = ("Job", "1-2-3")
    assert server.owners == dict.fromkeys(("configmaps", "serviceaccounts", "roles", "rolebindings"), owner)
    (reference,) = created[0]["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["name"], reference["uid"]) == ("Job", CLEANUP, "1-2-3")


def test_a_second_try_of_the_job_goes_on_with_what_the_first_made(
    hook: ModuleType, server: ApiServer, words: list[str]
) -> None:
    """The agents are gone by then."""
    server.daemon_sets.clear()
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": CLEANUP, "uid": "1-2-3"}
    server.add({**_daemon_set(), "metadata": {"name": CLEANUP, "ownerReferences": [owner]}})
    assert hook.main(words) == 0
    assert server.asked == ["find API server", f"delete {CLEANUP} Background"]


def test_what_another_job_left_is_replaced(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """It would go with that Job."""
    server.add({**_daemon_set(), "metadata": {"name": CLEANUP}})
    assert hook.main(words) == 0
    assert server.asked[2:] == [f"delete {CLEANUP} Background", f"create {CLEANUP}", f"delete {CLEANUP} Background"]


def test_a_release_without_nodes_needs_no_cleanup(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """After a migration back, no node has the label."""
    server.nodes.clear()
    assert hook.main(words) == 0
    assert server.daemon_sets == {}


def test_a_dead_node_is_named_and_stops_nobody(
    hook: ModuleType, server: ApiServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its kubelet does not see the pod; the time limit is not waited for."""
    server.nodes = {"node-1": "clean", "node-2": "dead", "node-3": "clean"}
    assert hook.main(words) == 3
    output = capsys.readouterr()
    assert "2 of 3 nodes are clean" in output.out
    assert output.err.splitlines() == [
        "error: node node-2 is not clean: its kubelet does not answer",
        "hint: run `ipvsagent cleanup` on these nodes, or restart them",
    ]
    assert server.daemon_sets == {}


def test_every_node_that_stays_dirty_is_named_with_the_reason(
    hook: ModuleType, server: ApiServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """When the time is up; nothing of the cleanup is left."""
    server.nodes = {"node-1": "failing", "node-2": "unpullable", "node-3": "slow", "node-4": "dead"}
    assert hook.main(_in_no_time(words)) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[:4] == [
        "error: node node-1 is not clean: `ipvsagent cleanup` ends with exit code 1: error: chain KUBE-SERVICES: busy",
        "error: node node-2 is not clean: ImagePullBackOff: no such image",
        "error: node node-3 is not clean: the cleanup has not finished",
        "error: node node-4 is not clean: its kubelet does not answer",
    ]
    assert server.daemon_sets == {}


def test_errors_of_the_api_server_are_retried(hook: ModuleType, server: ApiServer, words: list[str]) -> None:
    """At any request."""
    server.answers = [500, 503, 429]
    assert hook.main(words) == 0
    assert server.daemon_sets == {}


def test_a_wrong_address_does_not_matter_where_the_cluster_ip_works(
    hook: ModuleType, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Job does not depend on the address of a broken installation."""
    words = _words(server.port, tmp_path, monkeypatch, {"apiServer": {"host": "127.0.0.1", "port": 1}})
    assert "--api-server=127.0.0.1:1" in words
    assert hook.main(words) == 0


def test_the_configured_address_is_tried_where_the_cluster_ip_does_not_work(
    hook: ModuleType, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a node has booted without any agent."""
    values = {"apiServer": {"host": f"127.0.0.1:{server.port}"}}
    assert hook.main(_words(1, tmp_path, monkeypatch, values)) == 0
    assert server.daemon_sets == {}


def test_without_any_api_server_the_addresses_are_named(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error and not a traceback."""
    words = _words(1, tmp_path, monkeypatch, {"apiServer": {"host": "127.0.0.1", "port": 2}})
    assert hook.main(_in_no_time(words)) == 3
    errors = capsys.readouterr().err
    assert "error: no API server answers at http://127.0.0.1:1, http://127.0.0.1:2: " in errors
    assert "hint: run `ipvsagent cleanup` on each node" in errors


def test_an_account_without_permission_is_named(
    hook: ModuleType, server: ApiServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With `rbac.create=false`, for example."""
    server.denied = 403
    assert hook.main(words) == 3
    assert "error: the API server answers 403" in capsys.readouterr().err


def test_the_hook_runs_after_the_release_is_deleted_and_lives_as_long_as_its_job() -> None:
    """Helm forgets the release even if the hook fails, and does not delete under the Job what it needs."""
    weights: dict[str, int] = {}
    for manifest in render({}):
        metadata = manifest["metadata"]
        annotations = metadata.get("annotations", {})
        if "helm.sh/hook" in annotations:
            assert annotations["helm.sh/hook"] == "post-delete"
            brief = manifest["kind"] == "Job" or metadata["namespace"] == "default"
            policy = "before-hook-creation,hook-succeeded" if brief else "before-hook-creation"
            assert annotations["helm.sh/hook-delete-policy"] == policy
            weights[manifest["kind"]] = int(annotations["helm.sh/hook-weight"])
    assert weights.keys() == {"ServiceAccount", "Role", "RoleBinding", "ConfigMap", "Job"}
    assert all(w < weights["Job"] for kind, w in weights.items() if kind != "Job")


def test_the_job_ends_within_the_time_that_helm_waits_by_default() -> None:
    """5 minutes; it is deleted some time later, if Helm does not delete it."""
    job = only(render({}), "Job")["spec"]
    assert job["activeDeadlineSeconds"] < 5 * 60
    assert job["ttlSecondsAfterFinished"] == 3600
    assert job["backoffLimit"] > 1
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [3])


def test_the_job_is_not_put_on_a_dead_node() -> None:
    """Such a node has taints with the effect NoExecute, which a toleration of everything would accept."""
    tolerations = pod_of(only(render({}), "Job"))["tolerations"]
    assert tolerations == [{"operator": "Exists", "effect": "NoSchedule"}]
    own = [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}]
    assert pod_of(only(render({"tolerations": own}), "Job"))["tolerations"] == own


def test_the_cleanup_needs_nothing_of_the_deleted_release() -> None:
    """Its ConfigMap has the agent's configuration as well, and its pods have no account of the chart."""
    manifests = render({"config": {"ipvs": {"excludeCIDRs": ["198.51.100.0/24"]}}})
    hooks = {(m["kind"], m["metadata"]["name"]) for m in manifests if "helm.sh/hook" in json.dumps(m["metadata"])}
    found = cleanup_daemon_set(manifests)
    assert found is not None
    for manifest in (only(manifests, "Job"), found):
        pod = pod_of(manifest)
        names = {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
        assert names == {CLEANUP}
        assert ("ServiceAccount", pod.get("serviceAccountName", CLEANUP)) in hooks
    data = only(manifests, "ConfigMap", "-cleanup")["data"]
    assert "198.51.100.0/24" in data["configuration.yaml"]


def test_a_pod_is_ready_once_its_node_is_clean() -> None:
    """The cleanup is what the pod does before its container starts; it knows what the configuration leaves alone."""
    pod = pod_of(_daemon_set())
    (cleanup,) = pod["initContainers"]
    config = ["--config=/etc/ipvsagent/configuration.yaml"]
    assert cleanup["command"] == ["ipvsagent", "cleanup", "--if-agent-ran", *config]
    assert pod["hostNetwork"] is True


def test_without_the_cleanup_there_is_no_hook() -> None:
    """The state stays, for kube-proxy."""
    annotations = [m["metadata"].get("annotations", {}) for m in render({"cleanup": {"enabled": False}})]
    assert not any("helm.sh/hook" in a for a in annotations)
