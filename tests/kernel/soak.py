"""Everything at once for as long as one likes: changes, drift, restarts and kills, with traffic, against the oracle."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from lab.topology import NODE_ADDRESS, POD_ADDRESSES, POD_PORT
from lab.traffic import Connection

from ipvsagent.model.address import Family
from kernel.churn import (
    CLUSTER_IPS,
    SETTINGS,
    STEADY_NODE_PORT,
    STEADY_VIP,
    STEADY_VIP_6,
    VICTIM_VIP,
    VICTIM_VIP_6,
    Churn,
)
from kernel.drifts import Drift, drifts
from kernel.load import Load
from kernel.node import Node
from kernel.processes import PATIENCE_SECONDS, wait_for
from oracle.facts import differences, of_tools
from oracle.planner import World, expected
from oracle.rules import expected_rules

SETTING_VALUES = {"net/ipv4/vs/conntrack": "1", "net/ipv4/vs/expire_nodest_conn": "1", "net/ipv4/ip_forward": "1"}
_PODS = {f"{address}:{POD_PORT}" for address in POD_ADDRESSES.values()}
_SECOND_ADDRESS = "192.168.61.1/24"


@dataclass
class Counts:
    """What a soak has done and found."""

    events: int = 0
    drifts: int = 0
    restarts: int = 0
    kills: int = 0
    comparisons: int = 0
    differences: int = 0
    visits: int = 0
    requests: int = 0
    failures: int = 0
    slowest_seconds: float = 0.0  # from the last change of a round until the kernel was right

    def __str__(self) -> str:
        return (
            f"{self.events} events, {self.drifts} drifts, {self.restarts} restarts, {self.kills} kills, "
            f"{self.visits} visits, {self.comparisons} comparisons, {self.differences} differences, "
            f"{self.requests} requests, {self.failures} failures; right after {self.slowest_seconds:.1f} s at most"
        )


class Soak:
    """One node under constant change.

    Attributes:
        counts: so far.
        found: the differences of the comparison that failed; empty while none has.
        errors: of requests to the Service that never changed.
    """

    def __init__(self, node: Node, seed: int) -> None:
        self._node = node
        self._chance = random.Random(seed)
        self._churn = Churn(node.manifests, self._chance)
        self._drifts = drifts(VICTIM_VIP, VICTIM_VIP_6)
        self._agent = node.start_agent_and_wait()
        self._held: list[Connection] = []
        self.counts = Counts()
        self.found: list[str] = []
        self.errors: list[OSError] = []

    def run(self, seconds: float) -> Counts:
        """Go on for so long, or until the kernel is not what it has to be."""
        self._compare()
        with self._loads() as loads:
            end = time.monotonic() + seconds
            while not self.found and time.monotonic() < end:
                self._round(loads)
        self.counts.events = self._churn.events
        self.counts.requests = sum(load.answers.total() for load in loads)
        self.errors = [error for load in loads for error in load.failures]
        self.counts.failures = len(self.errors)
        return self.counts

    def _round(self, loads: list[Load]) -> None:
        """Several things in a row, whatever the agent is at, then a look at what has become of them."""
        chance = self._chance
        for _ in range(chance.randint(2, 16)):
            what = chance.choices(["change", "visit", "drift", "address", "restart", "kill"], [12, 6, 3, 1, 1, 1])[0]
            if what == "change":
                self._churn.change()
            elif what == "visit":
                self._visit()
            elif what == "drift":
                self._damage(chance.choice([d for d in self._drifts if d.of_one_service]))
            elif what == "address":
                self._toggle_address()
            else:
                self._restart(kill=what == "kill")
            if chance.random() < 0.5:  # some time passes
                chance.choice(loads).wait_for_more(count=chance.randint(1, 20))
        self._compare()
        if chance.random() < 0.25 and not self.found:
            drift = chance.choice([d for d in self._drifts if not d.of_one_service])
            with ExitStack() as rest:  # what is broken for all of them, no request survives
                for load in loads:
                    rest.enter_context(load.paused())
                self._damage(drift)
                if chance.random() < 0.2:
                    self._restart(kill=True)
                self._compare()

    @contextmanager
    def _loads(self) -> Iterator[list[Load]]:
        with (
            Load(self._node, "client", "tcp", NODE_ADDRESS, STEADY_NODE_PORT) as from_outside,
            Load(self._node, "p3", "tcp", STEADY_VIP_6, 80) as from_a_pod,
            Load(self._node, "p3", "udp", STEADY_VIP, 53) as datagrams,
        ):
            yield [from_outside, from_a_pod, datagrams]

    def _damage(self, drift: Drift) -> None:
        # What it is to damage may not be there just now; `ipvsadm` and its like say so by their status.
        self._node.run("sh", "-ec", f"({drift.command}) || true")
        self.counts.drifts += 1

    def _visit(self) -> None:
        """Ask a Service that changes, and leave a connection open, so that its real servers have something to drain.

        It may fail, as the Service may be on its way elsewhere.
        """
        facts = expected(self._world())
        at_work = [
            key.removesuffix("/TCP").rpartition(":")
            for key, servers in sorted(facts.real_servers.items())
            if key.startswith(CLUSTER_IPS) and key.endswith("/TCP") and servers and servers.keys() <= _PODS
        ]
        if not at_work:
            return  # none of them leads to pods and nowhere else
        address, _, number = self._chance.choice(at_work)
        self.counts.visits += 1
        for _ in range(self._chance.randint(1, 4)):
            with suppress(OSError):
                self._node.ask("p3", "tcp", address, int(number))
                self._held.append(self._node.connect("p3", "tcp", address, int(number)))
                self._held[-1].ask()

    def _toggle_address(self) -> None:
        """Give the node an address more, or take it away; whether an agent runs then or not."""
        has = self._node.has_address(_SECOND_ADDRESS.partition("/")[0])
        self._node.run("ip", "address", "delete" if has else "add", _SECOND_ADDRESS, "dev", "ext0")
        self.counts.drifts += 1

    def _restart(self, *, kill: bool) -> None:
        if kill:
            self._agent.signal(signal.SIGKILL)
            self._agent.wait()
            self.counts.kills += 1
        else:
            if self._node.container is not None:
                # The kernel keeps from a container's first process what it does not handle; kubelet would kill it then.
                wait_for(lambda: self._agent.handles(signal.SIGTERM), "the agent heeds SIGTERM")
            self._agent.signal(signal.SIGTERM)
            # One that was started a moment ago may not have come to where it heeds it; it has done nothing then.
            assert self._agent.wait() in (0, -signal.SIGTERM), self._agent.stderr
            self.counts.restarts += 1
        self._agent = self._node.start_agent()
        if self._chance.random() < 0.5:
            wait_for(lambda: "first synchronisation done" in self._agent.stderr, "the agent is in step")

    def _compare(self) -> None:
        """Wait until the kernel is what the oracle says, and say what it is if it never becomes so."""
        while self._held:
            self._held.pop().close()
        world = self._world()
        began = time.monotonic()
        self.found = self._differences(world)
        while self.found and time.monotonic() < began + PATIENCE_SECONDS:
            self.found = self._differences(world)
        self.counts.slowest_seconds = max(self.counts.slowest_seconds, time.monotonic() - began)
        self.counts.comparisons += 1
        self.counts.differences += len(self.found)

    def _world(self) -> World:
        return self._churn.world(_interface_addresses(self._node))

    def _differences(self, world: World) -> list[str]:
        node = self._node
        found = differences(of_tools(node.ipvsadm(), node.sets(), node.addresses()), expected(world))
        for name, value in SETTING_VALUES.items():
            if node.run("cat", f"/proc/sys/{name}").strip() != value:
                found.append(f"- {name} = {value}")
        own = next((n for n in world.nodes if n.name == world.node_name), None)
        for program, family in (("iptables", Family.IPV4), ("ip6tables", Family.IPV6)):
            rules = _by_chain(_rules(node.family_rules(program)))
            wanted = _by_chain(expected_rules(SETTINGS, family, own))
            for chain in sorted(rules.keys() | wanted.keys()):
                if rules.get(chain) != wanted.get(chain):
                    found.append(f"{program} {chain}: {rules.get(chain)} instead of {wanted.get(chain)}")
        return found


def _rules(lines: list[str]) -> Iterator[str]:
    """The rules of ``iptables-save`` as ``TABLE CHAIN RULE``."""
    table = ""
    for line in lines:
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            yield f"{table} {line[3:]}"


def _by_chain(rules: Iterator[str] | list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rule in rules:
        table, chain, text = rule.split(" ", 2)
        found.setdefault(f"{table} {chain}", []).append(text)
    return found


def _interface_addresses(node: Node) -> list[str]:
    """Those of all interfaces but kube-ipvs0."""
    lines = node.run("ip", "-brief", "address", "show").splitlines()
    return [a for line in lines if not line.startswith("kube-ipvs0 ") for a in re.findall(r"(\S+)/\d+", line)]
