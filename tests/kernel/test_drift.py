"""Somebody changes what the agent wrote: it is put right within seconds, while the agent goes on running.

One node and one agent serve all cases, in any order: each begins and ends with the right state.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kernel.drifts import VARIANT, Drift, drifts
from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import AgentServer, wait_for

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
PORTS = [port(80, node_port=30080)]

IN_QEMU = pytest.mark.also_in_qemu(reason="nf_tables tells the agent of changed rules, legacy tables do not")
DRIFTS = [
    pytest.param(drift, id=drift.name, marks=IN_QEMU if drift.part == "rules" else ()) for drift in drifts(VIP, VIP_6)
]
SETTING = "/proc/sys/net/ipv4/vs/conntrack"
_INITIAL_VALUE = re.compile(r" initval \S+")  # of a set's hash; random for a new set

PARTS: dict[str, Callable[[Node], list[str]]] = {
    "ipvs": lambda node: node.ipvsadm(),
    "sets": lambda node: [_INITIAL_VALUE.sub("", line) for line in node.sets()],
    "rules": lambda node: node.rules(),
    "addresses": lambda node: node.addresses(),
    "setting": lambda node: [node.run("cat", SETTING)],
}
"""Everything that is put right, and how to see that it is."""


class Served(NamedTuple):
    """A node that is served, and what each part looks like then."""

    node: Node
    right: dict[str, list[str]]


def look(node: Node) -> dict[str, list[str]]:
    """All parts as they are now."""
    return {name: part(node) for name, part in PARTS.items()}


@pytest.fixture(scope="module")
def served(agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A node whose agent serves a dual-stack Service, and will go on doing so; everything is right in the end."""
    node = Node(agent_server, tmp_path_factory.mktemp("drift"), VARIANT)
    node.manifests.write(
        "web",
        service("web", VIP, VIP_6, ports=PORTS, type="NodePort"),
        endpoint_slice("web", "p1", "p2", ports=PORTS),
        endpoint_slice("web", "p1", "p2", ipv6=True, ports=PORTS),
    )
    agent = node.start_agent()
    wait_for(lambda: "first synchronisation done" in agent.stderr, "the agent is in step")
    right = look(node)
    yield Served(node, right)
    wait_for(lambda: look(node) == right, "everything is as it was")
    node.stop_agent(agent)
    node.close()


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_repaired(drift: Drift, served: Served, record_property: Callable[[str, object], None]) -> None:
    """DEV-01, DEV-17, KR-12: whoever changes our state, and however, it comes back as it was."""
    node, part = served.node, PARTS[drift.part]
    wait_for(lambda: part(node) == served.right[drift.part], "it is right before")
    node.run("sh", "-ec", drift.command)
    began = time.monotonic()  # lost addresses may be back before anybody can see that they were gone
    wait_for(lambda: part(node) == served.right[drift.part], f"repaired: {drift.name}")
    record_property("seconds", f"{time.monotonic() - began:.1f}")
    record_property("bar", drift.bar_seconds)  # `make drift-table` compares them


def test_what_others_made_is_left_alone(served: Served) -> None:
    """DEV-28, CLN-03: a virtual server and a chain that are not ours survive every look at the kernel."""
    node = served.node
    node.run("ipvsadm", "-A", "-t", "192.0.2.1:99", "-s", "wlc")
    node.run(f"iptables-{VARIANT}", "-t", "nat", "-N", "OTHERS")
    node.run("ipvsadm", "-D", "-t", f"{VIP}:80")
    wait_for(lambda: f"{VIP}:80/tcp" in node.table(), "our own is repaired")
    assert "192.0.2.1:99/tcp" in node.table()
    assert any(line.startswith(":OTHERS") for line in node.family_rules("iptables"))
    node.run("ipvsadm", "-D", "-t", "192.0.2.1:99")
    node.run(f"iptables-{VARIANT}", "-t", "nat", "-X", "OTHERS")
