"""What `ipvsagent plan` shows of annotations, in each format that can."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from ipvsagent.cli.main import main

Capture = pytest.CaptureFixture[str]

OBJECTS = """
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations: {ipvsagent.io/scheduler: sh, ipvsagent.io/scheduler-flags: "sh-port,sh-fallback", other: text}
spec: {clusterIP: 10.96.0.10, sessionAffinity: ClientIP, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: wrong, namespace: shop, annotations: {kube-router.io/service.scheduler: lcc}}
spec: {clusterIP: 10.96.0.11, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
  annotations: {ipvsagent.io/weight: "3"}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.0.11]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.0.12]}]
"""
PROBLEM = (
    "Service shop/wrong: metadata.annotations[kube-router.io/service.scheduler] "
    "`lcc` is not a scheduler; did you mean `lc`; the cluster's scheduler is used"
)


def plan(folder: Path, output: str) -> None:
    """Print the plan of the objects."""
    (folder / "objects.yaml").write_text(OBJECTS)
    assert main(["plan", "-f", str(folder), "--node-name", "node-1", "-o", output]) == 0


def test_the_table_shows_scheduler_flags_and_weights(tmp_path: Path, capsys: Capture) -> None:
    """DEV-15: a weight that is not 1 is shown."""
    plan(tmp_path, "table")
    assert capsys.readouterr().out.startswith(
        textwrap.dedent("""\
        VIRTUAL SERVER     SCHEDULER                      REAL SERVERS
        10.96.0.10:80/TCP  sh sh-fallback,sh-port 10800s  10.244.0.11:8080 weight 3
                                                          10.244.0.12:8080
        10.96.0.11:80/TCP  rr                             none: connections are refused
        """)
    )


def test_ipvsadm_lines_hold_scheduler_flags_and_weights(tmp_path: Path, capsys: Capture) -> None:
    """DEV-15: the lines can be fed to the tool; what is wrong is named on stderr."""
    plan(tmp_path, "ipvsadm")
    captured = capsys.readouterr()
    assert captured.out == textwrap.dedent("""\
        -A -t 10.96.0.10:80 -s sh -p 10800 -b sh-fallback,sh-port
        -a -t 10.96.0.10:80 -r 10.244.0.11:8080 -m -w 3
        -a -t 10.96.0.10:80 -r 10.244.0.12:8080 -m -w 1
        -A -t 10.96.0.11:80 -s rr
        """)
    assert captured.err == f"warning: {PROBLEM}\n"


def test_json_holds_scheduler_flags_weights_and_problems(tmp_path: Path, capsys: Capture) -> None:
    """DEV-15."""
    plan(tmp_path, "json")
    state = json.loads(capsys.readouterr().out)
    first, second = state["virtualServers"]
    assert (first["scheduler"], first["flags"], second["scheduler"]) == ("sh", 0x18, "rr")
    assert [real["weight"] for real in first["realServers"]] == [3, 1]
    assert [p["field"] for p in state["problems"]] == ["metadata.annotations[kube-router.io/service.scheduler]"]
