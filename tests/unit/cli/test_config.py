"""`ipvsagent config`: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from ipvsagent.cli.main import main
from ipvsagent.config.types import Settings
from ipvsagent.config.write import default_configuration

Capture = pytest.CaptureFixture[str]
SAMPLES = Path(__file__).parents[2] / "data" / "kube-proxy"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A place for a configuration."""
    return tmp_path / "config.yaml"


def test_default_is_what_check_accepts(file: Path, capsys: Capture) -> None:
    """CLI-01: exit code 0, data on stdout, nothing on stderr."""
    assert main(["config", "default"]) == 0
    printed = capsys.readouterr()
    assert printed.out == default_configuration()
    file.write_text(printed.out)
    assert main(["config", "check", str(file)]) == 0
    checked = capsys.readouterr()
    assert checked.out == f"{file}: valid\n"
    assert printed.err == checked.err == ""


def test_check_names_every_error_with_its_path_and_what_is_allowed(file: Path, capsys: Capture) -> None:
    """CFG-50, CLI-01: exit code 2, errors on stderr."""
    file.write_text(
        "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n"
        "ipvs: {scheduler: lcc}\nlogging: {level: loud}\nfoo: 1\n"
    )
    assert main(["config", "check", str(file)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        f"error: {file}: ipvs.scheduler: `lcc` is not a scheduler; did you mean `lc`; "
        "allowed: dh, fo, lblc, lblcr, lc, mh, nq, ovf, rr, sed, sh, wlc, wrr",
        f"error: {file}: logging.level: `loud` is not allowed; allowed: error, warning, info, debug",
        f"error: {file}: foo: is not a known field",
    ]


def test_check_tells_where_in_a_config_map_an_error_stands(file: Path, capsys: Capture) -> None:
    """The key is part of the path; warnings come with errors of another file only."""
    text = (SAMPLES / "kubeadm.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace('scheduler: ""', "scheduler: lcc"))
    assert main(["config", "check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}, ConfigMap kube-system/kube-proxy, key config.conf: ipvs.scheduler: `lcc`")


def test_a_file_that_is_not_there_is_wrong_configuration(file: Path, capsys: Capture) -> None:
    """Exit code 2."""
    assert main(["config", "convert", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file} cannot be read: No such file or directory\n"


def test_convert_prints_our_kind_on_stdout_and_each_warning_once_on_stderr(capsys: Capture) -> None:
    """CLI-05: only what differs from the defaults is printed."""
    assert main(["config", "convert", str(SAMPLES / "k0s.yaml")]) == 0
    output = capsys.readouterr()
    assert yaml.safe_load(output.out) == {
        "apiVersion": "ipvsagent.io/v1alpha1",
        "kind": "AgentConfiguration",
        "metricsBindAddress": "0.0.0.0:10249",
        "clusterCIDR": "10.244.0.0/16",
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "conntrack": {"maxPerCore": 0},
    }
    assert output.err.splitlines()[-1] == (
        "warning: udpIdleTimeout: was removed from kube-proxy in 1.26; it has no effect here"
    )
    assert len(set(output.err.splitlines())) == len(output.err.splitlines())


def test_convert_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`kubectl get configmap kube-proxy -o yaml | ipvsagent config convert -`."""
    monkeypatch.setattr("sys.stdin", io.StringIO((SAMPLES / "kops.yaml").read_text(encoding="utf-8")))
    assert main(["config", "convert", "-"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["ipvs"] == {"scheduler": "wlc", "minSyncPeriod": "5s"}


def test_schema_is_printed(capsys: Capture) -> None:
    """For editors, and for checks of manifests before they are applied."""
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["ipvs"]["properties"]["scheduler"]["default"] == Settings().scheduler
