"""The rules that the contract suite writes: small, but with all that a kernel may refuse."""

from __future__ import annotations

from contract.hosts import Host
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.rules import (
    BuiltinJump,
    Chain,
    Comment,
    InSet,
    Jump,
    Marked,
    ProtocolIs,
    Reject,
    Rule,
    RuleSet,
    SetMark,
    Table,
    TableRules,
)
from ipvsagent.model.state import SetSpec, SetType

CLIENTS = "TEST-CLIENTS"
FOREIGN_RULE = Rule((ProtocolIs(Protocol.TCP), Comment("not ours")), Jump("ACCEPT"))
TO_FIRST = Rule((Comment("first of all"),), Jump("TEST-FIRST"))
TO_SECOND = Rule((), Jump("TEST-SECOND"))
TO_FILTER = Rule((), Jump("TEST-FILTER"))


class Firewall:
    """One family's rules driver, on a host that has the set `CLIENTS`.

    Attributes:
        driver: the driver.
        rules: two chains in nat, to which OUTPUT jumps in order, and one in filter, to which INPUT does.
    """

    def __init__(self, host: Host, family: Family) -> None:
        self.host = host
        self.family = family
        self.driver = host.rules(family)
        self.clients = SetSpec(CLIENTS, SetType.HASH_IP, family)
        self.rules = RuleSet(family, (nat(), filter_table()))
        host.ip_sets.create(self.clients)

    def builtin(self, table: Table = Table.NAT, chain: str = "OUTPUT") -> list[str]:
        """The rules of a built-in chain."""
        return self.host.chain_rules(self.family, table, chain)

    def append(self, rule: Rule, *, table: Table = Table.NAT, chain: str = "OUTPUT") -> None:
        """Somebody else adds a rule."""
        self.host.append_rule(self.family, table, chain, rule)

    def delete(self, rule: Rule, *, table: Table = Table.NAT, chain: str = "OUTPUT") -> None:
        """Somebody else takes a rule away."""
        self.host.delete_rule(self.family, table, chain, rule)


def nat(*, set_name: str = CLIENTS) -> TableRules:
    """The rules of table nat.

    Args:
        set_name: the ipset that the first chain matches.
    """
    first = Chain(
        "TEST-FIRST",
        (
            Rule((ProtocolIs(Protocol.UDP), InSet(set_name, "src")), Jump("TEST-SECOND")),
            Rule((Marked(0x4000, 0x4000, negated=True),), Jump("RETURN")),
        ),
    )
    second = Chain("TEST-SECOND", (Rule((), SetMark(0x4000, 0x4000)),))
    return TableRules(Table.NAT, (first, second), (BuiltinJump("OUTPUT", TO_FIRST), BuiltinJump("OUTPUT", TO_SECOND)))


def filter_table() -> TableRules:
    """The rules of table filter."""
    chain = Chain("TEST-FILTER", (Rule((ProtocolIs(Protocol.SCTP),), Reject()),))
    return TableRules(Table.FILTER, (chain,), (BuiltinJump("INPUT", TO_FILTER),))
