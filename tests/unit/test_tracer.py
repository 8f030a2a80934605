"""The tracer itself: a test that trusts it has to know that it can say no."""

from __future__ import annotations

import pytest

from ipvsagent.model.address import Family, Network, Protocol
from ipvsagent.model.rules import (
    BuiltinJump,
    Chain,
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
    Table,
    TableRules,
    Target,
)
from support.tracer import Outcome, Packet, Tracer

PACKET = Packet("198.51.100.7", "192.168.60.1", 80)
DROP = Jump("DROP")


def rule(*matches: Match, to: Target) -> Rule:
    """A rule."""
    return Rule(matches, to)


def table(kind: Table, builtin: str, *rules: Rule, **chains: tuple[Rule, ...]) -> TableRules:
    """A table whose built-in chain holds these rules."""
    own = tuple(Chain(name, inner) for name, inner in chains.items())
    return TableRules(kind, own, tuple(BuiltinJump(builtin, r) for r in rules))


def verdict(packet: Packet, *tables: TableRules, **sets: list[str]) -> str:
    """What becomes of a packet on a node that owns 192.168.60.1."""
    return Tracer(RuleSet(Family.IPV4, tables), sets, ["192.168.60.1"]).trace(packet).verdict


def test_without_rules_everything_is_accepted() -> None:
    """Policies are taken to accept."""
    assert Tracer(RuleSet(Family.IPV4, ())).trace(PACKET) == Outcome("accepted", False, "192.168.60.1:80")


@pytest.mark.parametrize(
    ("match", "hits"),
    [
        (Source(Network.parse("198.51.100.0/24")), True),
        (Source(Network.parse("198.51.100.0/24"), negated=True), False),
        (InputInterface("eth+"), True),
        (InputInterface("eth0", negated=True), False),
        (ProtocolIs(Protocol.TCP), True),
        (ProtocolIs(Protocol.UDP), False),
        (InSet("BOTH", "dst,dst"), True),
        (InSet("BOTH", "src,dst"), False),
        (InSet("RANGE", "dst,dst,src"), True),
        (InSet("PORT", "dst"), True),
        (InSet("PORT", "src"), False),
        (InSet("NONE", "dst", negated=True), True),
    ],
)
def test_a_rule_hits_what_its_match_says(match: Match, hits: bool) -> None:
    """Each kind of match both ways."""
    sets = {"BOTH": ["192.168.60.1,tcp:80"], "RANGE": ["192.168.60.1,tcp:80,198.51.100.0/24"], "PORT": ["80"]}
    outcome = verdict(PACKET, table(Table.FILTER, "INPUT", rule(match, to=DROP)), **sets)
    assert outcome == ("dropped" if hits else "accepted")


def test_return_leaves_a_chain_and_goes_on_behind_its_jump() -> None:
    """RETURN ends the chain, not the packet's way."""
    inner = (rule(to=Jump("RETURN")), rule(to=DROP))
    filters = table(Table.FILTER, "INPUT", rule(to=Jump("INNER")), rule(to=Reject()), INNER=inner)
    assert verdict(PACKET, filters) == "rejected"


def test_accept_ends_a_table_and_not_the_next() -> None:
    """A packet that nat accepts still meets filter."""
    nat = table(Table.NAT, "PREROUTING", rule(to=Jump("ACCEPT")), rule(to=DROP))
    assert verdict(PACKET, nat) == "accepted"
    assert verdict(PACKET, nat, table(Table.FILTER, "INPUT", rule(to=DROP))) == "dropped"


def test_a_mark_lasts_until_it_is_cleared() -> None:
    """Set before routing, asked for behind it."""
    mark = table(Table.NAT, "PREROUTING", rule(to=SetMark(0x4000, 0x4000)))
    ask = table(Table.NAT, "POSTROUTING", rule(Marked(0x4000, 0x4000), to=Masquerade()))
    clear = table(Table.MANGLE, "POSTROUTING", rule(to=SetMark(0x4000, 0)))
    elsewhere = Packet("198.51.100.7", "192.0.2.1", 80)
    assert Tracer(RuleSet(Family.IPV4, (mark, ask))).trace(elsewhere).masqueraded
    assert not Tracer(RuleSet(Family.IPV4, (ask,))).trace(elsewhere).masqueraded
    assert not Tracer(RuleSet(Family.IPV4, (mark, clear, ask))).trace(elsewhere).masqueraded


def test_nat_sees_the_first_packet_of_a_connection_alone() -> None:
    """Later packets follow what was decided for the first."""
    nat = table(Table.NAT, "PREROUTING", rule(to=DROP))
    assert verdict(PACKET, nat) == "dropped"
    assert verdict(Packet("198.51.100.7", "192.168.60.1", 80, state="ESTABLISHED"), nat) == "accepted"


def test_ipvs_takes_a_packet_between_input_and_postrouting() -> None:
    """Filter INPUT sees the VIP; what comes behind sees the real server."""
    servers = {"192.168.60.1:80/TCP": "10.244.0.11:8080"}
    at_vip = InSet("VIP", "dst")
    for builtin, seen in (("INPUT", True), ("FORWARD", False), ("OUTPUT", False)):
        rules = RuleSet(Family.IPV4, (table(Table.FILTER, builtin, rule(at_vip, to=DROP)),))
        outcome = Tracer(rules, {"VIP": ["192.168.60.1"]}, ["192.168.60.1"], servers).trace(PACKET)
        assert outcome == (Outcome("dropped") if seen else Outcome("accepted", False, "10.244.0.11:8080"))


def test_a_process_of_the_node_meets_the_vip_in_mangle_and_nat_alone() -> None:
    """IPT-94: behind IPVS, filter OUTPUT sees the real server."""
    servers = {"192.168.60.1:80/TCP": "10.244.0.11:8080"}
    packet = Packet("192.168.60.1", "192.168.60.1", 80, in_interface="")
    for kind, seen in ((Table.MANGLE, True), (Table.NAT, True), (Table.FILTER, False)):
        rules = RuleSet(Family.IPV4, (table(kind, "OUTPUT", rule(InSet("VIP", "dst"), to=DROP)),))
        outcome = Tracer(rules, {"VIP": ["192.168.60.1"]}, ["192.168.60.1"], servers).trace(packet)
        assert (outcome.verdict == "dropped") is seen
