"""The node of one test: a topology, a folder of manifests, a configuration, and the agent at work on it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab.namespaces import Namespace
from lab.speed import scaled
from lab.topology import CLUSTER_NETWORKS, NODE_NAME, POD_ADDRESSES, POD_ADDRESSES_6, POD_PORT, Topology
from lab.traffic import TIMEOUT_SECONDS, Answer, Connection, Protocol, ask

from confinement.confine import Container
from confinement.container import (
    AGENT,
    MODULES,
    container_of,
    program_words,
    rendered_configuration,
    rendered_container,
    values_for,
)
from kernel.manifests import ManifestFolder
from kernel.manifests import node as node_manifest
from kernel.processes import SLOW_GUEST, AgentServer, Command, wait_for

_SERVICE_LINE = re.compile(r"(TCP|UDP|SCTP) +(\S+):([0-9A-F]{4}) (\S+)")
_REAL_LINE = re.compile(r"  -> (\S+):([0-9A-F]{4}) +\S+ +(\d+) ")
REFUSED, NOTHING = "refused", "nothing"
SHORT_SECONDS = scaled(1.5 if SLOW_GUEST else 0.6)
"""How long to wait for an answer that is not to come."""
CONFINED = os.environ.get("IPVSAGENT_CONFINED") == "1"
"""Whether the agent runs as the chart's container does where a test does not say otherwise."""
_COUNTERS = re.compile(r"\[\d+:\d+\]")
_open_nodes: list[Node] = []


@dataclass(slots=True)
class TableEntry:
    """A virtual server as ``/proc/net/ip_vs`` shows it."""

    scheduler: str
    weights: dict[str, int] = field(default_factory=dict)  # by real server


@dataclass(frozen=True, slots=True)
class Result:
    """How a command of the agent's ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class KernelState:
    """All that the agent may write, as the tools show it; sorted where order means nothing."""

    virtual_servers: tuple[str, ...]
    sets: tuple[str, ...]
    rules: tuple[str, ...]
    addresses: tuple[str, ...]
    links: tuple[str, ...]


def answer(connection: Connection) -> str:
    """Who answers one more datagram of a flow: a pod's name, ``refused``, or nothing."""
    try:
        return connection.ask().pod
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return ""


class Node:
    """A node; `close` ends everything on it.

    Args:
        folder: for manifests, configuration and output.
        variant: the iptables variant that the agent is to use.
        confined: the agent gets nothing but what the chart's container has, instead of all rights of root.

    Attributes:
        volume: the folder that stands for the ConfigMap's volume in the container.
        container: what the agent's commands are limited to; None: nothing.
    """

    def __init__(self, server: AgentServer, folder: Path, variant: str, *, confined: bool = CONFINED) -> None:
        self.variant = variant
        self.folder = folder
        self.topology = Topology()
        self.manifests = ManifestFolder(folder / "manifests")
        self.manifests.write("node", node_manifest())
        self.volume = folder / "volume"
        self.volume.mkdir()
        self.container: Container | None = None
        if confined:
            self.container = self.chart_container()
            self._run_init_container()
        self.configuration = folder / "configuration.json"
        self.configure()
        self._server = server
        self._commands: list[Command] = []
        _open_nodes.append(self)

    def close(self) -> None:
        """Kill what still runs, end the servers and drop the namespaces."""
        for command in self._commands:
            command.end()
        self.topology.close()
        _open_nodes.remove(self)

    def logs(self) -> Iterator[tuple[str, str]]:
        """What the agent's commands printed so far, each with its words."""
        for command in self._commands:
            yield f"ipvsagent {command.words}", command.stdout + command.stderr

    # What is where

    def namespace(self, where: str) -> Namespace:
        """The namespace of `node`, `client`, `node2` or a pod."""
        topology = self.topology
        others = {"node": topology.node, "client": topology.client, "node2": topology.node2}
        return others.get(where) or topology.pods[where]

    def give_client_addresses(self) -> list[str]:
        """Thirty more addresses for the client: each is a client of its own to a scheduler that hashes."""
        addresses = [f"192.168.60.{number}" for number in range(100, 130)]
        batch = "".join(f"addr add {address}/24 dev eth0\n" for address in addresses)
        self.namespace("client").run("ip", "-batch", "-", stdin=batch)
        return addresses

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a program on the node; `lab.namespaces.CommandFailed` if it fails."""
        return self.topology.node.run(*words, stdin=stdin)

    # Traffic

    def ask(self, where: str, protocol: Protocol, address: str, port: int, *, source_port: int = 0) -> Answer:
        """One request over a socket of its own; OSError if it fails."""
        return ask(self.namespace(where), protocol, address, port, source_port=source_port)

    def many(self, where: str, protocol: Protocol, address: str, port: int, *, count: int) -> list[Answer]:
        """As `ask`, a number of times."""
        return [self.ask(where, protocol, address, port) for _ in range(count)]

    def outcome(
        self,
        where: str,
        protocol: Protocol,
        address: str,
        port: int,
        *,
        patience: float = TIMEOUT_SECONDS,
        source_address: str = "",
    ) -> str:
        """What comes of one request: the name of the server that answered, ``refused``, or ``nothing``.

        Args:
            patience: seconds after which it is nothing.
        """
        try:
            with Connection(
                self.namespace(where), protocol, address, port, timeout=patience, source_address=source_address
            ) as connection:
                return connection.ask().pod
        except ConnectionRefusedError:
            return REFUSED
        except TimeoutError:
            return NOTHING

    def outcomes(
        self,
        protocol: Protocol,
        address: str,
        *ports: int,
        places: Sequence[str] = ("p1", "node", "client"),
        patience: float = TIMEOUT_SECONDS,
    ) -> dict[str, str]:
        """As `outcome`, from several places at once: unless given a pod, the node and a machine outside.

        Returns:
            By place; where the ports differ, what came of each.
        """
        asked = [(where, number) for where in places for number in ports]
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = pool.map(lambda a: self.outcome(a[0], protocol, address, a[1], patience=patience), asked)
            found: dict[str, dict[int, str]] = {}
            for (where, number), answer in zip(asked, answers, strict=True):
                found.setdefault(where, {})[number] = answer
        return {w: a[ports[0]] if len(set(a.values())) == 1 else str(a) for w, a in found.items()}

    def connect(self, where: str, protocol: Protocol, address: str, port: int, *, source_port: int = 0) -> Connection:
        """A connection that stays open."""
        return Connection(self.namespace(where), protocol, address, port, source_port=source_port)

    # The agent

    def configure(self, **fields: object) -> None:
        """Write the configuration: the defaults of these tests with some fields replaced."""
        content = {
            "apiVersion": "ipvsagent.io/v1alpha1",
            "kind": "AgentConfiguration",
            **(rendered_configuration(values_for(self.variant)) if self.container else {}),
            "clusterCIDR": list(CLUSTER_NETWORKS),
            "iptables": {"variant": self.variant},
            **fields,
        }
        new = self.configuration.with_suffix(".new")
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(self.configuration)

    def chart_container(self, name: str = AGENT, *, without: str = "") -> Container:
        """What the chart limits a container to on this node, perhaps without one of its capabilities."""
        values, visible = values_for(self.variant), [self.folder.parent]
        return container_of(values, name, node_name=NODE_NAME, folder=self.volume, visible=visible, without=without)

    def _run_init_container(self) -> None:
        """Load the modules as the pod does before the agent starts; not again where all schedulers are there."""
        words = rendered_container(values_for(self.variant), MODULES)["command"]
        schedulers = [word for word in words if word.startswith("ip_vs")]
        if not all(Path("/sys/module", name).is_dir() for name in schedulers):
            self.run(*program_words(self.chart_container(MODULES), self.folder), *words)

    @property
    def confining_words(self) -> tuple[str, ...]:
        """Words before those of a program that is to be limited as the agent is."""
        return program_words(self.container, self.folder) if self.container else ()

    @property
    def run_words(self) -> list[str]:
        """The words of ``ipvsagent run`` for this node."""
        return ["run", "--manifests", str(self.manifests.path), *self._common_words]

    def plan_words(self, output: str) -> list[str]:
        """The words of ``ipvsagent plan`` for this node."""
        addresses = self._node_address_words()
        return ["plan", "-f", str(self.manifests.path), *self._common_words, *addresses, "-o", output]

    def start_agent(self, environment: Mapping[str, str] | None = None) -> Command:
        """Start ``ipvsagent run``."""
        return self._start(self.run_words, environment)

    def start_agent_and_wait(self) -> Command:
        """Start ``ipvsagent run`` and wait until all that is in the manifests is in the kernel."""
        agent = self.start_agent()
        wait_for(lambda: "first synchronisation done" in agent.stderr, "the agent has synchronised")
        return agent

    def start_agent_with_api(self, kubeconfig: Path) -> Command:
        """Start ``ipvsagent run`` so that it follows an API server."""
        return self._start(["run", "--kubeconfig", str(kubeconfig), *self._common_words], None)

    def start(self, *words: str) -> Command:
        """Start any command of the agent's."""
        return self._start(words, None)

    def call(self, *words: str, environment: Mapping[str, str] | None = None) -> Result:
        """Run a command of the agent's to its end."""
        command = self._start(words, environment)
        code = command.wait()
        return Result(code, command.stdout, command.stderr)

    @staticmethod
    def stop_agent(agent: Command) -> None:
        """Stop the agent as a supervisor does; it has to exit with 0."""
        agent.signal(signal.SIGTERM)
        assert agent.wait() == 0, agent.stderr

    # The kernel's state

    def table(self) -> dict[str, TableEntry]:
        """The virtual servers, by names such as ``10.96.0.10:80/tcp``."""
        try:
            with self.topology.node.inside():
                text = Path("/proc/thread-self/net/ip_vs").read_text(encoding="ascii")
        except FileNotFoundError:
            return {}  # the module is not loaded yet
        found: dict[str, TableEntry] = {}
        entry = TableEntry("")
        for line in text.splitlines():
            if service := _SERVICE_LINE.match(line):
                protocol, address, port, scheduler = service.groups()
                entry = TableEntry(scheduler)
                found[f"{_endpoint(address, port)}/{protocol.lower()}"] = entry
            elif real := _REAL_LINE.match(line):
                entry.weights[_endpoint(real[1], real[2])] = int(real[3])
        return found

    def uses_only(self, scheduler: str) -> bool:
        """Whether every virtual server has this scheduler."""
        return {entry.scheduler for entry in self.table().values()} == {scheduler}

    def has_address(self, address: str) -> bool:
        """Whether an address is one of the node's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.topology.node.inside(), socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((address, 0))
            except OSError:
                return False
            return True

    def wait_for_service(self, name: str, *pods: str) -> None:
        """Wait until a virtual server has exactly these pods behind it and its address is the node's.

        Args:
            name: such as ``10.96.0.10:80/tcp``.
        """
        address = name.rpartition(":")[0].strip("[]")
        known = POD_ADDRESSES_6 if ":" in address else POD_ADDRESSES
        wanted = {_join(known.get(pod, pod), POD_PORT) for pod in pods}

        def ready() -> bool:
            entry = self.table().get(name)
            return entry is not None and set(entry.weights) == wanted and self.has_address(address)

        wait_for(ready, f"{name} is served by {', '.join(pods) or 'nothing'}")

    def ipvsadm(self) -> list[str]:
        """What ``ipvsadm-save -n`` prints, sorted."""
        return sorted(line.strip() for line in self.run("ipvsadm-save", "-n").splitlines())

    def sets(self) -> list[str]:
        """What ``ipset save`` prints, sorted."""
        return sorted(self.run("ipset", "save").splitlines())

    def rules(self) -> list[str]:
        """What iptables-save and ip6tables-save of this node's variant print: chains, jumps and rules."""
        return [*self.family_rules("iptables"), *self.family_rules("ip6tables")]

    def family_rules(self, program: str) -> list[str]:
        """As `rules`, for ``iptables`` or ``ip6tables`` alone."""
        text = self.run(f"{program}-{self.variant}-save")
        return [_COUNTERS.sub("", line) for line in text.splitlines() if not line.startswith("#")]

    def addresses(self) -> list[str]:
        """The addresses on the dummy interface, sorted; empty also without it."""
        shown = self.topology.node.attempt("ip", "-brief", "address", "show", "dev", "kube-ipvs0").stdout
        return sorted(shown.split()[2:])

    def state(self) -> KernelState:
        """All of it."""
        links = self.run("ip", "-brief", "link", "show").splitlines()
        return KernelState(
            tuple(self.ipvsadm()),
            tuple(self.sets()),
            tuple(self.rules()),
            tuple(self.addresses()),
            tuple(sorted(line.split()[0] for line in links)),
        )

    @property
    def _common_words(self) -> list[str]:
        return ["--config", str(self.configuration), "--node-name", NODE_NAME]

    def _node_address_words(self) -> Iterator[str]:
        for line in self.run("ip", "-brief", "address", "show", "scope", "global").splitlines():
            name, _, *addresses = line.split()
            if name != "kube-ipvs0":
                for address in addresses:
                    yield from ("--node-address", address)

    def _start(self, words: list[str] | tuple[str, ...], environment: Mapping[str, str] | None) -> Command:
        output = self.folder / f"command-{len(self._commands)}"
        output.mkdir()
        command = self._server.start(self.topology.node, words, output, environment, self.container)
        self._commands.append(command)
        return command


def logs_of_open_nodes() -> list[tuple[str, str]]:
    """What the agents printed on the nodes that are not closed yet: titles and texts."""
    return [entry for node in _open_nodes for entry in node.logs()]


def _endpoint(address: str, port: str) -> str:
    """Text of an address and port as /proc/net/ip_vs writes them."""
    text = address.strip("[]")
    if ":" in text:
        return _join(str(ipaddress.IPv6Address(text)), int(port, 16))
    return _join(str(ipaddress.IPv4Address(int(text, 16))), int(port, 16))


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
