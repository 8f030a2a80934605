"""State as text, in the syntax of tools that network engineers know.

The functions use only `model.state` and sort nothing: the state is already sorted. The formats are a
stable contract (CLI-02).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ipvsagent.model.address import Protocol
from ipvsagent.model.objects import DEFAULT_WEIGHT, Problem
from ipvsagent.model.rules import Rule, RuleSet, TableRules, quote
from ipvsagent.model.state import (
    DesiredState,
    RealServer,
    SetEntry,
    SetSpec,
    SetType,
    VirtualServer,
    VirtualServerKey,
    endpoint_text,
)

_PROTOCOL_OPTION = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
_FLAG_WORDS = ((0x8, "flag-1", "fallback"), (0x10, "flag-2", "port"), (0x20, "flag-3", ""))


def render_ipvsadm(virtual_servers: Iterable[VirtualServer]) -> Iterator[str]:
    """Return the lines that ``ipvsadm-save -n`` prints for a state."""
    for server in virtual_servers:
        name = _ipvsadm_name(server.key)
        line = f"-A {name} -s {server.scheduler}"
        if server.persistence_timeout_seconds:
            line += f" -p {server.persistence_timeout_seconds}"
        if server.flags:
            line += f" -b {_flag_words(server)}"
        yield line
        for real in server.real_servers:
            yield f"-a {name} -r {real} -m -w {real.weight}"


def render_ipset(specs: Iterable[SetSpec], entries: Iterable[SetEntry]) -> Iterator[str]:
    """Return the lines that ``ipset save`` prints, without bucket sizes and hash seeds."""
    members: defaultdict[str, list[SetEntry]] = defaultdict(list)
    for entry in entries:
        members[entry.set_name].append(entry)
    for spec in specs:
        if spec.type is SetType.BITMAP_PORT:
            yield f"create {spec.name} {spec.type} range 0-65535"
        else:
            family = "inet6" if spec.family is not None and spec.family.bits == 128 else "inet"
            sizes = f"hashsize 1024 maxelem {spec.max_elements}"
            yield f"create {spec.name} {spec.type} family {family} {sizes}"
        for entry in members[spec.name]:
            yield f"add {entry}"


def render_rules(rules: RuleSet) -> Iterator[str]:
    """Return the lines that iptables-save prints for the agent's chains and jumps."""
    for table in rules.tables:
        yield f"*{table.table}"
        chains = sorted(table.chains, key=lambda c: c.name)
        for chain in chains:
            yield f":{chain.name} - [0:0]"
        yield from _jumps(table, rules)
        for chain in chains:
            for rule in chain.rules:
                yield _rule(chain.name, rule, rules)
        yield "COMMIT"


def render_addresses(state: DesiredState) -> Iterator[str]:
    """Return one line ``ADDRESS/LENGTH`` for each address."""
    return (f"{a}/{a.family.bits}" for a in state.addresses)


def render_table(state: DesiredState) -> Iterator[str]:
    """Return a table: virtual servers with their real servers, then addresses, sets, rules and problems."""
    rows = [("VIRTUAL SERVER", "SCHEDULER", "REAL SERVERS")]
    for server in state.virtual_servers:
        persistent = f" {server.persistence_timeout_seconds}s" if server.persistence_timeout_seconds else ""
        flags = f" {_flag_words(server)}" if server.flags else ""
        reals = [_weighted(r) for r in server.real_servers] or ["none: connections are refused"]
        rows.append((str(server.key), server.scheduler + flags + persistent, reals[0]))
        rows += [("", "", real) for real in reals[1:]]
    yield from _aligned(rows)
    yield ""
    yield f"addresses on kube-ipvs0: {len(state.addresses)}"
    yield f"set entries: {len(state.entries)} in {len(state.sets)} sets"
    yield f"rules: {', '.join(f'{r.count} {r.family.label}' for r in state.rules)} (constant)"
    yield f"problems: {len(state.problems) or 'none'}"
    yield from (f"  {problem}" for problem in state.problems)


def json_value(state: DesiredState) -> dict[str, object]:
    """Return everything as plain values for a JSON encoder."""
    return {
        "virtualServers": [_json_server(v) for v in state.virtual_servers],
        "addresses": list(render_addresses(state)),
        "sets": [_json_set(s, state.entries) for s in state.sets],
        "rules": {r.family.label: list(render_rules(r)) for r in state.rules},
        "problems": [_json_problem(p) for p in state.problems],
    }


def _ipvsadm_name(key: VirtualServerKey) -> str:
    return f"{_PROTOCOL_OPTION[key.protocol]} {endpoint_text(key.address, key.port)}"


def _flag_words(server: VirtualServer) -> str:
    """Return the scheduler flags in ipvsadm's syntax: ``mh-port`` for sh and mh, otherwise ``flag-2``."""
    named = server.scheduler in ("sh", "mh")
    words = [
        f"{server.scheduler}-{word}" if named and word else plain
        for bit, plain, word in _FLAG_WORDS
        if server.flags & bit
    ]
    return ",".join(words)


def _weighted(server: RealServer) -> str:
    """Return a real server as text, with its weight if the weight is not 1."""
    return str(server) if server.weight == DEFAULT_WEIGHT else f"{server} weight {server.weight}"


def _jumps(table: TableRules, rules: RuleSet) -> Iterator[str]:
    order = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
    for builtin in order:
        for jump in table.jumps:
            if jump.builtin == builtin:
                yield _rule(builtin, jump.rule, rules)


def _rule(chain: str, rule: Rule, rules: RuleSet) -> str:
    return " ".join(("-A", chain, *(quote(w) for w in rule.words(rules.family))))


def _aligned(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for first, second, third in rows:
        yield f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}"


def _json_server(server: VirtualServer) -> dict[str, object]:
    return {
        "address": str(server.key.address),
        "port": server.key.port,
        "protocol": server.key.protocol.name,
        "scheduler": server.scheduler,
        "flags": server.flags,
        "persistenceTimeoutSeconds": server.persistence_timeout_seconds,
        "realServers": [{"address": str(r.address), "port": r.port, "weight": r.weight} for r in server.real_servers],
    }


def _json_set(spec: SetSpec, entries: Iterable[SetEntry]) -> dict[str, object]:
    return {
        "name": spec.name,
        "type": spec.type.value,
        "family": spec.family.label if spec.family else None,
        "maxElements": spec.max_elements if spec.family else None,
        "entries": [e.text for e in entries if e.set_name == spec.name],
    }


def _json_problem(problem: Problem) -> dict[str, str]:
    return {"kind": problem.kind, "name": problem.name, "field": problem.field, "reason": problem.reason}
