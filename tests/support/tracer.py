"""Walks a packet through planned rules and set entries, so that tests state what happens to it, not rule text.

The hooks are taken as the kernel does with IPVS in between:

    from outside   nat PREROUTING; to an address of the node: filter INPUT, IPVS, OUTPUT without nat, POSTROUTING;
                   to any other: filter FORWARD, POSTROUTING
    from the node  mangle OUTPUT, nat OUTPUT, IPVS, filter OUTPUT, POSTROUTING

Table nat sees the first packet of a connection alone. Rules of others are taken to be absent, policies to accept.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from ipvsagent.model.address import Address, Network, Protocol
from ipvsagent.model.rules import (
    Comment,
    ConnectionState,
    DestinationType,
    FromBridgePort,
    InputInterface,
    InSet,
    Jump,
    Marked,
    Masquerade,
    Match,
    ProtocolIs,
    Reject,
    Rule,
    RuleSet,
    SetMark,
    Source,
    SourceType,
    Table,
    TableRules,
)
from ipvsagent.model.state import DesiredState, endpoint_text


@dataclass(frozen=True)
class Packet:
    """A packet on its way.

    Args:
        in_interface: empty for one that a process of this node sends.
        state: conntrack's word for it.
    """

    source: str
    destination: str
    port: int
    protocol: Protocol = Protocol.TCP
    in_interface: str = "eth0"
    source_port: int = 40000
    state: str = "NEW"
    from_bridge_port: bool = False
    mark: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a packet: ``accepted``, ``dropped`` or ``rejected``; where it goes, and as whose."""

    verdict: str
    masqueraded: bool = False
    destination: str = ""


@dataclass
class Tracer:
    """Rules of one family with what they depend on.

    Args:
        sets: entries in ipset's words, by name of the set; a set that is not named is empty.
        local: addresses of the node, the dummy interface's included.
        virtual_servers: the real server's ``ADDRESS:PORT`` by ``ADDRESS:PORT/PROTOCOL``.
    """

    rules: RuleSet
    sets: Mapping[str, Iterable[str]] = field(default_factory=dict)
    local: Iterable[str] = ()
    virtual_servers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, state: DesiredState, rules: RuleSet, node_addresses: Iterable[str]) -> Tracer:
        """A node that holds a planned state; each virtual server uses its first real server."""
        sets: dict[str, list[str]] = {}
        for entry in state.entries:
            sets.setdefault(entry.set_name, []).append(entry.text)
        servers = {str(v.key): str(v.real_servers[0]) for v in state.virtual_servers if v.real_servers}
        return cls(rules, sets, (*node_addresses, *(str(a) for a in state.addresses)), servers)

    def trace(self, packet: Packet) -> Outcome:
        """Follow a packet to its end."""
        before = (Table.MANGLE, Table.NAT)
        if not packet.in_interface:
            verdict, packet = self._hook("OUTPUT", packet, before)
            if verdict == "accepted":
                packet = self._balance(packet)
                verdict, packet = self._hook("OUTPUT", packet, (Table.FILTER,))
        else:
            verdict, packet = self._hook("PREROUTING", packet, before)
            if verdict == "accepted" and self._is_local(packet.destination):
                verdict, packet = self._to_node(packet)
            elif verdict == "accepted":
                verdict, packet = self._hook("FORWARD", packet, (Table.MANGLE, Table.FILTER))
        if verdict == "accepted":
            verdict, packet = self._hook("POSTROUTING", packet, before)
        accepted = verdict in ("accepted", "masqueraded")
        destination = endpoint_text(Address.parse(packet.destination), packet.port) if accepted else ""
        return Outcome("accepted" if accepted else verdict, verdict == "masqueraded", destination)

    def _to_node(self, packet: Packet) -> tuple[str, Packet]:
        verdict, packet = self._hook("INPUT", packet, (Table.MANGLE, Table.FILTER))
        balanced = self._balance(packet)
        if verdict == "accepted" and balanced != packet:
            return self._hook("OUTPUT", balanced, (Table.MANGLE, Table.FILTER))
        return verdict, packet

    def _balance(self, packet: Packet) -> Packet:
        """Let IPVS rewrite the destination, if it has a virtual server for it."""
        key = f"{endpoint_text(Address.parse(packet.destination), packet.port)}/{packet.protocol.name}"
        if key not in self.virtual_servers:
            return packet
        address, _, port = self.virtual_servers[key].rpartition(":")
        return replace(packet, destination=address.strip("[]"), port=int(port))

    def _is_local(self, address: str) -> bool:
        return address in self.local or Address.parse(address).is_loopback

    def _hook(self, builtin: str, packet: Packet, tables: tuple[Table, ...]) -> tuple[str, Packet]:
        """Walk one built-in chain of several tables; answers the verdict and the packet, perhaps marked."""
        for table in (t for name in tables for t in self.rules.tables if t.table is name):
            if table.table is Table.NAT and packet.state != "NEW":
                continue
            jumps = tuple(j.rule for j in table.jumps if j.builtin == builtin)
            verdict, packet = self._walk(table, jumps, packet)
            if verdict not in ("", "return", "accepted"):
                return verdict, packet
        return "accepted", packet

    def _walk(self, table: TableRules, rules: tuple[Rule, ...], packet: Packet) -> tuple[str, Packet]:
        chains = {chain.name: chain.rules for chain in table.chains}
        for rule in rules:
            if not all(self._holds(match, packet) for match in rule.matches):
                continue
            match rule.target:
                case SetMark(value, mask):
                    packet = replace(packet, mark=packet.mark & ~mask ^ value)
                case Masquerade():
                    return "masqueraded", packet
                case Reject():
                    return "rejected", packet
                case Jump(name) if name in chains:
                    verdict, packet = self._walk(table, chains[name], packet)
                    if verdict not in ("", "return"):
                        return verdict, packet
                case Jump(name):
                    return {"ACCEPT": "accepted", "DROP": "dropped", "RETURN": "return"}[name], packet
                case _ as unreachable:
                    assert_never(unreachable)
        return "", packet

    def _holds(self, match: Match, packet: Packet) -> bool:
        match match:
            case Source(network, negated):
                return (Address.parse(packet.source) in network) != negated
            case InputInterface(name, negated):
                return fnmatch.fnmatchcase(packet.in_interface, name.replace("+", "*")) != negated
            case ProtocolIs(protocol):
                return packet.protocol is protocol
            case Comment():
                return True
            case InSet(name, directions, negated):
                entries = self.sets.get(name, ())
                return any(_in_entry(e, directions.split(","), packet) for e in entries) != negated
            case Marked(value, mask, negated):
                return (packet.mark & mask == value) != negated
            case SourceType("LOCAL", negated):
                return self._is_local(packet.source) != negated
            case DestinationType("LOCAL", negated):
                return self._is_local(packet.destination) != negated
            case FromBridgePort(negated):
                return packet.from_bridge_port != negated
            case ConnectionState(states):
                return packet.state in states
            case _:
                raise NotImplementedError(match)


def _in_entry(entry: str, directions: list[str], packet: Packet) -> bool:
    """Whether the packet's fields, taken in these directions, are those of a set entry."""
    parts = entry.split(",")
    assert len(parts) == len(directions), f"{entry} is matched by {directions}"
    return all(_in_part(part, direction == "src", packet) for part, direction in zip(parts, directions, strict=True))


def _in_part(part: str, source: bool, packet: Packet) -> bool:
    port = packet.source_port if source else packet.port
    if part.isdigit():
        return port == int(part)
    word, colon, number = part.partition(":")
    if colon and word in ("tcp", "udp", "sctp"):
        return packet.protocol.word == word and port == int(number)
    return Address.parse(packet.source if source else packet.destination) in Network.parse(part)
