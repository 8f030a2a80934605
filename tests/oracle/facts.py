"""Kernel facts as text, so that two states are compared without anybody's types: the language of the oracle.

`of_plan` and `of_kernel` say in the same words what the product planned and what a (fake) kernel holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ipvsagent.kernel.fake import FakeKernel
from ipvsagent.model.state import DUMMY_INTERFACE, DesiredState

FLAG_PERSISTENT = 0x1


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
