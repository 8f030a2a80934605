"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ipvsagent.cli.main import main

Capture = pytest.CaptureFixture[str]

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  sessionAffinity: ClientIP
  ports: [{port: 80, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints:
- {addresses: [10.244.0.12]}
- {addresses: [10.244.0.11], nodeName: node-1}
"""
V6 = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: dns, namespace: shop}
  spec:
    clusterIP: "fd00:96::53"
    ipFamilies: [IPv6]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: SCTP, name: s}]
- apiVersion: v1
  kind: Node
  metadata: {name: node-1}
  status: {addresses: [{type: InternalIP, address: 192.168.60.1}]}
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A folder with two Services, a slice and a Node."""
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "v6.yaml").write_text(V6)
    return tmp_path


def plan(folder: Path, *words: str) -> int:
    """Run `ipvsagent plan` on a folder."""
    return main(["plan", "-f", str(folder), "--node-name", "node-1", *words])


def test_plan_prints_what_ipvsadm_save_prints(manifests: Path, capsys: Capture) -> None:
    """CLI-02: format ipvsadm; node addresses come from the Node object."""
    assert plan(manifests, "-o", "ipvsadm") == 0
    assert capsys.readouterr().out == textwrap.dedent("""\
        -A -t 10.96.0.10:80 -s rr -p 10800
        -a -t 10.96.0.10:80 -r 10.244.0.11:8080 -m -w 1
        -a -t 10.96.0.10:80 -r 10.244.0.12:8080 -m -w 1
        -A -t 192.168.60.1:30080 -s rr -p 10800
        -a -t 192.168.60.1:30080 -r 10.244.0.11:8080 -m -w 1
        -a -t 192.168.60.1:30080 -r 10.244.0.12:8080 -m -w 1
        -A -u [fd00:96::53]:53 -s rr
        -A --sctp-service [fd00:96::53]:53 -s rr
        """)


def test_plan_prints_addresses_one_a_line(manifests: Path, capsys: Capture) -> None:
    """CLI-02: format addresses."""
    assert plan(manifests, "-o", "addresses") == 0
    assert capsys.readouterr().out == "10.96.0.10/32\nfd00:96::53/128\n"


def test_plan_prints_what_ipset_save_prints(manifests: Path, capsys: Capture) -> None:
    """CLI-02: format ipset, both families."""
    assert plan(manifests, "-o", "ipset") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536" in lines
    assert "create KUBE-NODE-PORT-TCP bitmap:port range 0-65535" in lines
    assert [line for line in lines if line.startswith("add")] == [
        "add KUBE-LOOP-BACK 10.244.0.11,tcp:8080,10.244.0.11",
        "add KUBE-CLUSTER-IP 10.96.0.10,tcp:80",
        "add KUBE-NODE-PORT-TCP 30080",
        "add KUBE-IPVS-IPS 10.96.0.10",
        "add KUBE-6-CLUSTER-IP fd00:96::53,udp:53",
        "add KUBE-6-CLUSTER-IP fd00:96::53,sctp:53",
        "add KUBE-6-IPVS-IPS fd00:96::53",
    ]
    assert sum(line.startswith("create") for line in lines) == 34


@pytest.mark.parametrize("output", ["iptables", "ip6tables"])
def test_plan_prints_rules_that_do_not_depend_on_services(
    manifests: Path, tmp_path: Path, capsys: Capture, output: str
) -> None:
    """IPT-06: the same text with and without Services."""
    assert plan(manifests, "-o", output) == 0
    with_services = capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    assert plan(empty, "-o", output) == 0
    assert capsys.readouterr().out == with_services
    assert sum(line.startswith("-A") for line in with_services.splitlines()) <= 60


def test_plan_options_give_the_node_other_addresses(manifests: Path, capsys: Capture) -> None:
    """CLI-04: `--node-address` goes before the Node object."""
    assert plan(manifests, "-o", "ipvsadm", "--node-address", "10.1.1.1/24") == 0
    out = capsys.readouterr().out
    assert "10.1.1.1:30080" in out
    assert "192.168.60.1:30080" not in out


def test_plan_json_holds_everything(manifests: Path, capsys: Capture) -> None:
    """CLI-02: format json."""
    assert plan(manifests, "-o", "json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state["virtualServers"][0] == {
        "address": "10.96.0.10",
        "port": 80,
        "protocol": "TCP",
        "scheduler": "rr",
        "flags": 0,
        "persistenceTimeoutSeconds": 10800,
        "realServers": [
            {"address": "10.244.0.11", "port": 8080, "weight": 1},
            {"address": "10.244.0.12", "port": 8080, "weight": 1},
        ],
    }
    assert state["addresses"] == ["10.96.0.10/32", "fd00:96::53/128"]
    assert set(state["rules"]) == {"IPv4", "IPv6"}
    assert state["problems"] == []


def test_plan_twice_prints_the_same_bytes(manifests: Path, capsys: Capture) -> None:
    """CLI-03: sorted."""
    for output in ("table", "json", "ipset"):
        assert plan(manifests, "-o", output) == 0
        first = capsys.readouterr().out
        assert plan(manifests, "-o", output) == 0
        assert capsys.readouterr().out == first


def test_a_broken_manifest_is_named_and_the_others_are_planned(manifests: Path, capsys: Capture) -> None:
    """Bad input: one clear line with the file; the rest works."""
    (manifests / "broken.yaml").write_text("kind: Service\nspec: [\n")
    assert plan(manifests, "-o", "addresses") == 0
    captured = capsys.readouterr()
    assert captured.out == "10.96.0.10/32\nfd00:96::53/128\n"
    assert captured.err.startswith(f"warning: file {manifests}/broken.yaml: ")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        (
            "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\nipvs: {scheduler: lcc}\n",
            2,
            ["ipvs.scheduler", "`lcc`", "did you mean `lc`"],
        ),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n", 2, ["mode"]),
        ("kind: Pod\n", 2, ["`Pod`", "AgentConfiguration"]),
    ],
    ids=["unknown scheduler", "another mode", "another kind"],
)
def test_a_configuration_that_cannot_be_used_is_refused(
    manifests: Path, tmp_path: Path, capsys: Capture, config: str, code: int, words: list[str]
) -> None:
    """CFG rules: exit code 2, field and remedy on stderr, nothing on stdout."""
    file = tmp_path / "config.conf"
    file.write_text(config)
    assert plan(manifests, "--config", str(file)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    for word in words:
        assert word in captured.err


def test_a_configuration_chooses_the_scheduler(manifests: Path, tmp_path: Path, capsys: Capture) -> None:
    """VS-02."""
    file = tmp_path / "config.conf"
    file.write_text("apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\nipvs: {scheduler: sh}\n")
    assert plan(manifests, "-o", "ipvsadm", "--config", str(file)) == 0
    assert "-A -t 10.96.0.10:80 -s sh -p 10800\n" in capsys.readouterr().out


def test_a_missing_path_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    """Exit code 1."""
    assert plan(tmp_path / "nowhere") == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/nowhere does not exist\n"


def test_a_bad_node_address_is_wrong_usage(manifests: Path, capsys: Capture) -> None:
    """Exit code 2."""
    assert plan(manifests, "--node-address", "10.0.0.256/24") == 2
    assert capsys.readouterr().err == "error: --node-address: '10.0.0.256/24' is not a CIDR\n"


@pytest.mark.parametrize("words", [[], ["plan"], ["nonsense"], ["plan", "-f", "x", "--node-name", "n", "-o", "xml"]])
def test_wrong_usage_ends_with_code_2(words: list[str], capsys: Capture) -> None:
    """Exit code 2, words on stderr."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: ipvsagent" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "run", "plan", "cleanup", "doctor", "version"])
def test_help_tells_what_a_command_does(command: str, capsys: Capture) -> None:
    """Each option says what it does; exit codes are listed."""
    with pytest.raises(SystemExit) as end:
        main([*([command] if command else []), "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: ipvsagent {command}".rstrip())
    if command != "version":
        assert "exit codes: 0 done, 1 failed, 2 wrong usage or configuration" in " ".join(out.split())


def test_version_is_printed(capsys: Capture) -> None:
    """Data on stdout."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out == "ipvsagent 0.1.0\n"


def test_sigterm_while_the_agent_is_still_imported_ends_it(tmp_path: Path) -> None:
    """A container's first process would not get it without a handler; nothing was done, so the code is 0."""
    (tmp_path / "sent.py").write_text(
        "import os, signal\n"
        "def run(options):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    raise AssertionError('SIGTERM has no handler')\n",
        encoding="utf-8",
    )
    program = (
        "import sys, sent\n"
        "from ipvsagent.cli.main import main\n"
        "sys.modules['ipvsagent.cli.run'] = sent\n"
        "sys.exit(main(['run']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
