"""Somebody changes what the agent wrote: it is put right within seconds, while the agent goes on running.

One node and one agent serve all cases, in any order: each begins and ends with the right state.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import AgentServer, wait_for

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
VARIANT = "legacy" if os.environ.get("IN_GUEST") == "uml" else "nft"
PORTS = [port(80, node_port=30080)]


class Drift(NamedTuple):
    """Something that somebody does to the kernel state.

    Args:
        part: of the state that is looked at until it is right again, a key of `PARTS`.
        command: for the shell on the node; ``IPTABLES`` and ``IP6TABLES`` stand for this node's variant.
    """

    name: str
    part: str
    command: str


DRIFTS = [
    Drift("all virtual servers cleared", "ipvs", "ipvsadm -C"),
    Drift("a virtual server removed", "ipvs", f"ipvsadm -D -t {VIP}:80"),
    Drift("an IPv6 virtual server removed", "ipvs", f"ipvsadm -D -t [{VIP_6}]:80"),
    Drift("a real server removed", "ipvs", f"ipvsadm -d -t {VIP}:80 -r 10.244.0.11:8080"),
    Drift("a real server added", "ipvs", f"ipvsadm -a -t {VIP}:80 -r 10.244.0.99:8080 -m"),
    Drift("a weight changed", "ipvs", f"ipvsadm -e -t {VIP}:80 -r 10.244.0.11:8080 -m -w 7"),
    Drift("a scheduler changed", "ipvs", f"ipvsadm -E -t {VIP}:80 -s lc"),
    Drift("persistence switched on", "ipvs", f"ipvsadm -E -t {VIP}:80 -s rr -p 100"),
    Drift("the dummy interface deleted", "addresses", "ip link delete kube-ipvs0"),
    Drift("an address removed", "addresses", f"ip address delete {VIP}/32 dev kube-ipvs0"),
    # `ip` gives up against an agent that is quicker.
    Drift("all addresses flushed", "addresses", "ip address flush dev kube-ipvs0 || true"),
    Drift("a set flushed", "sets", "ipset flush KUBE-CLUSTER-IP"),
    Drift("all sets flushed", "sets", "ipset flush"),
    Drift("a set entry removed", "sets", f"ipset del KUBE-CLUSTER-IP {VIP},tcp:80"),
    Drift("a set entry added", "sets", "ipset add KUBE-CLUSTER-IP 10.96.0.99,tcp:99"),
    Drift("a chain flushed", "rules", "IPTABLES -t nat -F KUBE-SERVICES"),
    Drift("a chain's order changed", "rules", "IPTABLES -t nat -I KUBE-SERVICES -j ACCEPT"),
    Drift(
        "a jump removed",
        "rules",
        "IPTABLES -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES",
    ),
    Drift("an IPv6 chain flushed", "rules", "IP6TABLES -t nat -F KUBE-SERVICES"),
    Drift("a table flushed", "rules", "IPTABLES -t nat -F"),
    Drift(
        "rules and sets gone",
        "rules",
        "for t in nat filter mangle; do IPTABLES -t $t -F; done; ipset destroy KUBE-CLUSTER-IP",
    ),
    Drift("a kernel setting changed", "setting", "echo 0 > /proc/sys/net/ipv4/vs/conntrack"),
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


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_drift_is_repaired(drift: Drift, served: Served, record_property: Callable[[str, object], None]) -> None:
    """DEV-01, DEV-17, KR-12: whoever changes our state, and however, it comes back as it was."""
    node, part = served.node, PARTS[drift.part]
    command = drift.command.replace("IP6TABLES", f"ip6tables-{VARIANT}").replace("IPTABLES", f"iptables-{VARIANT}")
    wait_for(lambda: part(node) == served.right[drift.part], "it is right before")
    node.run("sh", "-ec", command)
    began = time.monotonic()  # lost addresses may be back before anybody can see that they were gone
    wait_for(lambda: part(node) == served.right[drift.part], f"repaired: {drift.name}")
    record_property("seconds", f"{time.monotonic() - began:.1f}")


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
