"""Kernel facts as text, so that two states are compared without anybody's types: the language of the oracle.

`of_plan`, `of_kernel` and `of_tools` say in the same words what the product planned, what a fake kernel holds, and what
the tools say of a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.state import DUMMY_INTERFACE, DesiredState

FLAG_PERSISTENT = 0x1
_PROTOCOLS = {"-t": "TCP", "-u": "UDP", "--sctp-service": "SCTP"}
_FLAG_WORDS = {"mh-port": 0x10, "mh-fallback": 0x8, "sh-port": 0x10, "sh-fallback": 0x8, "flag-1": 0x8, "flag-3": 0x20}


@dataclass
class KernelFacts:
    """Everything that Services leave in a node's kernel.

    Attributes:
        addresses: on kube-ipvs0.
        virtual_servers: scheduler, flags (persistence included) and timeout in seconds by ``10.96.0.1:80/TCP``.
        real_servers: weight by ``10.244.0.1:8080``, by virtual server.
        entries: by set, in ipset's words; sets without any entry are left out.
    """

    addresses: set[str] = field(default_factory=set)
    virtual_servers: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    real_servers: dict[str, dict[str, int]] = field(default_factory=dict)
    entries: dict[str, set[str]] = field(default_factory=dict)

    def planned(self) -> KernelFacts:
        """Without the agent's notes to itself, which `ipvsagent plan` does not print."""
        entries = {name: members for name, members in self.entries.items() if not name.startswith("IPVSAGENT-")}
        return replace(self, entries=entries)

    def lines(self) -> set[str]:
        """Each fact as one line, for a difference that can be read."""
        found = {f"address {a}" for a in self.addresses}
        for key, (scheduler, flags, timeout) in self.virtual_servers.items():
            found.add(f"virtual server {key} scheduler={scheduler} flags={flags:#x} timeout={timeout}")
        for key, servers in self.real_servers.items():
            found |= {f"real server {s} of {key} weight={weight}" for s, weight in servers.items()}
        for name, members in self.entries.items():
            found |= {f"entry {name} {member}" for member in members}
        return found


def differences(found: KernelFacts, expected: KernelFacts) -> list[str]:
    """What is there and should not be (``+``) and what is missing (``-``), sorted; empty where both are equal."""
    return sorted(
        [f"+ {line}" for line in found.lines() - expected.lines()]
        + [f"- {line}" for line in expected.lines() - found.lines()]
    )


def of_plan(state: DesiredState) -> KernelFacts:
    """The facts of a planned state."""
    facts = KernelFacts(addresses={str(a) for a in state.addresses})
    for server in state.virtual_servers:
        name = str(server.key)
        timeout = server.persistence_timeout_seconds
        facts.virtual_servers[name] = (server.scheduler, server.flags | (FLAG_PERSISTENT if timeout else 0), timeout)
        facts.real_servers[name] = {str(r): r.weight for r in server.real_servers}
    for entry in state.entries:
        facts.entries.setdefault(entry.set_name, set()).add(entry.text)
    return facts


def of_kernel(kernel: FakeKernel) -> KernelFacts:
    """The facts that a fake kernel holds, foreign ones included."""
    held = {str(a.address) for a in kernel.addresses.list_addresses() if a.link_name == DUMMY_INTERFACE}
    facts = KernelFacts(addresses=held)
    for server in kernel.ipvs.list_virtual_servers() if kernel.has_ipvs else ():
        name = str(server.key)
        timeout = server.persistence_timeout_seconds
        facts.virtual_servers[name] = (server.scheduler, server.flags | (FLAG_PERSISTENT if timeout else 0), timeout)
        facts.real_servers[name] = {
            f"{r.address}:{r.port}" if ":" not in str(r.address) else f"[{r.address}]:{r.port}": r.weight
            for r in server.real_servers
        }
    for name, (_, members) in kernel.ip_sets.sets.items():
        texts = {member.text for member in members}
        if texts:
            facts.entries[name] = texts
    return facts


def of_tools(ipvsadm: Sequence[str], ipset: Sequence[str], addresses: Sequence[str]) -> KernelFacts:
    """Read what ipvsadm-save and ``ipset save`` print, and the addresses on kube-ipvs0."""
    facts = KernelFacts(addresses={line.partition("/")[0] for line in addresses})
    for line in ipvsadm:
        words = line.split()
        key = f"{words[2]}/{_PROTOCOLS[words[1]]}"
        options = dict(zip(words[3::2], words[4::2], strict=False))
        if words[0] == "-A":
            timeout = int(options.get("-p", 0))
            flags = sum(_FLAG_WORDS[w] for w in options["-b"].split(",")) if "-b" in options else 0
            facts.virtual_servers[key] = (options["-s"], flags | (FLAG_PERSISTENT if timeout else 0), timeout)
            facts.real_servers.setdefault(key, {})
        else:
            assert words[5:7] == ["-m", "-w"]  # VS-06
            facts.real_servers.setdefault(key, {})[options["-r"]] = int(words[7])
    for line in ipset:
        if line.startswith("add "):
            _, name, entry = line.split()
            facts.entries.setdefault(name, set()).add(entry)
    return facts
