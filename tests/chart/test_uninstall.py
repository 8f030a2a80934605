"""`helm uninstall` by Helm itself: whatever becomes of the cleanup Job, the release is deleted and the Job goes on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.speed import scaled

from chart.helm_server import HelmServer, Outcome
from chart.rendering import CHART, NAMESPACE, RELEASE, ROOT, Answer, helm, render

NEEDS = {f"{kind}/proxy-ipvsagent-cleanup" for kind in ("configmaps", "serviceaccounts", "roles", "rolebindings")}
JOB = "jobs/proxy-ipvsagent-cleanup"
RELEASE_SECRET = f"secrets/sh.helm.release.v1.{RELEASE}.v1"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[HelmServer]:
    """A cluster with the release; the parameter says what becomes of a Job."""
    outcome: Outcome = request.param
    server = HelmServer(outcome)
    server.add_release(
        json.loads(helm("install", RELEASE, str(CHART), "--dry-run=client", "-o=json").output), NAMESPACE
    )
    for manifest in render({}):
        if "helm.sh/hook" not in manifest["metadata"].get("annotations", {}):
            server.add(_folder(manifest["apiVersion"], manifest["kind"]), manifest)
    yield server
    server.close()


def _folder(version: str, kind: str) -> str:
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    where = "" if kind.startswith("Cluster") else f"/namespaces/{NAMESPACE}"
    return f"{root}{where}/{kind.lower()}s"


def _uninstall(server: HelmServer, folder: Path, *options: str) -> Answer:
    cluster = {"name": "test", "cluster": {"server": server.url}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "test", "user": {}}]}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig | {"current-context": "test"}), encoding="utf-8")
    done = subprocess.run(
        [str(ROOT / ".venv/bin/helm"), "uninstall", RELEASE, "-n", NAMESPACE, *options],
        env={"KUBECONFIG": str(file), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("server", ["Complete"], indirect=True)
def test_after_a_cleanup_only_what_the_job_owns_is_left_to_the_garbage_collector(
    server: HelmServer, tmp_path: Path
) -> None:
    """Helm deletes the release, then the Job; Kubernetes deletes what the Job owns."""
    assert {RELEASE_SECRET, "daemonsets/proxy-ipvsagent"} <= server.names()
    answer = _uninstall(server, tmp_path)
    assert answer.status == 0, answer.errors
    assert server.names() == NEEDS


@pytest.mark.parametrize("server", ["Failed"], indirect=True)
def test_a_failed_cleanup_is_reported_and_does_not_keep_the_release(server: HelmServer, tmp_path: Path) -> None:
    """As with an image that does not exist, or a node that is dead. The Job stays for its log."""
    answer = _uninstall(server, tmp_path)
    assert answer.status == 1
    assert "uninstallation completed with 1 error(s)" in answer.errors
    assert JOB.rpartition("/")[2] in answer.errors
    assert server.names() == NEEDS | {JOB}


@pytest.mark.parametrize("server", ["running"], indirect=True)
def test_a_job_that_outlasts_helm_keeps_all_that_it_needs(server: HelmServer, tmp_path: Path) -> None:
    """Before, Helm deleted its account, and the agents were gone while the state stayed on every node."""
    answer = _uninstall(server, tmp_path, "--timeout=2s")
    assert answer.status == 1
    assert "uninstallation completed with 1 error(s)" in answer.errors
    assert server.names() == NEEDS | {JOB}


@pytest.mark.parametrize("server", ["running"], indirect=True)
def test_without_hooks_nothing_is_left(server: HelmServer, tmp_path: Path) -> None:
    """Neither a Job nor a role; the state stays in the kernel."""
    answer = _uninstall(server, tmp_path, "--no-hooks")
    assert answer.status == 0, answer.errors
    assert server.names() == set()
