"""The table of checks, what could not be read, and the page about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from apiserver.server import ApiServer
from ipvsagent.cli.doctor import table_lines
from ipvsagent.cli.main import main
from ipvsagent.config.types import Settings
from ipvsagent.doctor.checks.cluster import PERMISSIONS
from ipvsagent.doctor.examination import CHECKS, examine, worst
from ipvsagent.doctor.finding import Finding, Level
from ipvsagent.doctor.gather import read_node
from ipvsagent.doctor.snapshot import Part, Unread
from support.api_cluster import kubeconfig
from unit.doctor.snapshots import broken

PAGE = Path(__file__).parents[3] / "docs/reference/doctor.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \|", re.MULTILINE)


def test_a_part_that_could_not_be_read_is_a_finding_of_each_check_that_needs_it() -> None:
    """Never a traceback, never a silent ok."""
    findings = examine(broken(unread={Part.SETS: Unread("not permitted", "run as root")}))
    concerned = [f for f in findings if f.level is not Level.OK]
    assert [f.check for f in concerned] == ["ipvs-owner", "ipset-fill"]
    assert concerned[1] == Finding("ipset-fill", Level.WARN, "not checked: ipsets: not permitted", "run as root")


@pytest.mark.parametrize("part", list(Part))
def test_every_part_is_needed_by_a_check(part: Part) -> None:
    """Or its failure would go unseen."""
    assert any(part in check.needs for check in CHECKS)


def test_names_are_unique() -> None:
    """Automation relies on them."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)


def test_the_page_lists_every_check_in_order() -> None:
    """docs/reference/doctor.md is complete, and says the same as the table in the code."""
    assert _ROW.findall(PAGE.read_text(encoding="utf-8")) == [(c.name, c.subject) for c in CHECKS]


def test_the_page_lists_every_permission() -> None:
    """So that a ClusterRole can be written from it."""
    text = PAGE.read_text(encoding="utf-8")
    assert [p for p in PERMISSIONS if f"`{p}`" not in text] == []


def test_the_table_has_remedies_below_findings_and_the_numbers_at_the_end() -> None:
    """Readable without colour."""
    lines = list(table_lines([Finding("a-check", Level.OK, "fine"), Finding("b", Level.FAIL, "bad", "do this")]))
    assert lines == [
        "ok    a-check  fine",
        "fail  b        bad",
        "               remedy: do this",
        "1 ok, 0 warn, 1 fail",
    ]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([], Level.OK), ([Level.OK, Level.WARN], Level.WARN), ([Level.FAIL, Level.WARN], Level.FAIL)],
)
def test_the_worst_level_counts(levels: list[Level], expected: Level) -> None:
    """It decides about the exit code."""
    assert worst(Finding("a", level, "") for level in levels) is expected


def test_doctor_prints_json_on_any_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Each check has a finding, whatever this machine lacks; the exit code follows the worst level."""
    code = main(["doctor", "-o", "json", "--kubeconfig", "/nonexistent"])
    answer = json.loads(capsys.readouterr().out)
    assert code == (1 if answer["level"] == "fail" else 0)
    assert [c.name for c in CHECKS] == list(dict.fromkeys(f["check"] for f in answer["findings"]))
    assert sum(answer["counts"].values()) == len(answer["findings"])
    assert all(f["remedy"] for f in answer["findings"] if f["level"] != "ok")


def test_an_empty_root_folder_gives_findings_only(tmp_path: Path) -> None:
    """Missing files are findings."""
    node = read_node(Settings(), "/nonexistent", root=tmp_path)
    assert {Part.CAPABILITIES, Part.PROCESSES, Part.SYSCTLS} <= node.unread.keys()
    assert len(examine(node)) >= len(CHECKS)


@pytest.mark.parametrize("in_pod", [True, False])
def test_a_pod_is_recognised_by_the_variables_that_kubelet_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_pod: bool
) -> None:
    """Remedies name the chart's values there."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if in_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert read_node(Settings(), "/nonexistent", root=tmp_path).in_pod is in_pod


SERVICES: dict[str, dict[str, object]] = {
    "a": {"annotations": {"ipvsagent.io/scheduler": "sh"}},
    "b": {"annotations": {"kube-router.io/service.scheduler": "sh"}},
    "c": {"annotations": {"ipvsagent.io/scheduler": "nq", "other": "x"}},
    "wrong": {"annotations": {"ipvsagent.io/scheduler": "unheard-of"}},
    "odd": {"annotations": {"ipvsagent.io/scheduler": None}},
    "plain": {},
}


def test_the_api_server_tells_time_permissions_and_nodes(tmp_path: Path) -> None:
    """Over real HTTP."""
    with ApiServer() as server:
        server.denied = {("watch", "nodes")}
        server.put(
            {
                "kind": "Node",
                "metadata": {"name": "node-2"},
                "status": {
                    "addresses": [
                        {"type": "Hostname", "address": "node-2"},
                        {"type": "InternalIP", "address": "192.168.60.2"},
                    ]
                },
            }
        )
        for name, annotations in SERVICES.items():
            server.put({"kind": "Service", "metadata": {"namespace": "shop", "name": name, **annotations}})
        node = read_node(Settings(), str(kubeconfig(tmp_path / "kubeconfig", server.url)), root=tmp_path)
    assert node.service_schedulers == {"sh": ("shop/a", "shop/b"), "nq": ("shop/c",)}
    assert {"ip_vs_sh", "ip_vs_nq"} <= node.modules.keys()
    assert not node.modules_visible
    assert node.api_seconds is not None
    assert node.api_server == server.url
    assert [str(p) for p in node.denied] == ["watch nodes"]
    assert {name: [str(a) for a in found] for name, found in node.nodes.items()} == {"node-2": ["192.168.60.2"]}


def test_the_name_of_the_agent_is_compared_with_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DEV-65, CFG-02: the name is the one that `run` would choose in the same environment."""
    monkeypatch.setenv("NODE_NAME", "Node-1")
    with ApiServer() as server:
        server.put({"kind": "Node", "metadata": {"name": "node-1.example.org"}})
        node = read_node(Settings(), str(kubeconfig(tmp_path / "kubeconfig", server.url)), root=tmp_path)
    (found,) = [f for f in examine(node) if f.check == "node-name"]
    assert found.level is Level.FAIL
    assert "`node-1` is none of the cluster's nodes (did you mean `node-1.example.org`?)" in found.what


def test_an_api_server_that_refuses_the_credentials_is_a_failure(tmp_path: Path) -> None:
    """And permissions are not asked for then."""
    with ApiServer(tokens={"right"}) as server:
        access = kubeconfig(tmp_path / "kubeconfig", server.url, token="wrong")
        findings = examine(read_node(Settings(), str(access), root=tmp_path))
    api, rbac = findings[-2:]
    assert (api.check, api.level, rbac.level) == ("api", Level.FAIL, Level.WARN)
    assert "401" in api.what
    assert rbac.what == "not checked: permissions at the API server: the API server does not answer"
