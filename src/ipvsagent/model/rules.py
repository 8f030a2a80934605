"""iptables rules as data, and their text form.

The rule set depends only on the configuration (IPT-06), so it is small and rarely processed. It is data, not text,
because the legacy driver passes it to libiptc in pieces, and a native nftables driver may follow.
`Rule.words` writes a rule as iptables-save prints it, for both variants (IPT-04, IPT-07).
"""

from __future__ import annotations

import enum

from msgspec import Struct

from ipvsagent.model.address import Family, Network, Protocol


class Table(enum.StrEnum):
    """The tables that contain our rules."""

    MANGLE = "mangle"
    NAT = "nat"
    FILTER = "filter"


class Source(Struct, frozen=True, tag=True):
    """``-s NETWORK``."""

    network: Network
    negated: bool = False


class InputInterface(Struct, frozen=True, tag=True):
    """``-i NAME``; a trailing ``+`` matches any name with this prefix."""

    name: str
    negated: bool = False


class ProtocolIs(Struct, frozen=True, tag=True):
    """``-p PROTOCOL``."""

    protocol: Protocol


class Comment(Struct, frozen=True, tag=True):
    """``-m comment --comment TEXT``."""

    text: str


class InSet(Struct, frozen=True, tag=True):
    """``-m set --match-set NAME DIRECTIONS``; directions such as ``dst,dst``."""

    set_name: str
    directions: str
    negated: bool = False


class Marked(Struct, frozen=True, tag=True):
    """``-m mark --mark VALUE/MASK``."""

    value: int
    mask: int
    negated: bool = False


class SourceType(Struct, frozen=True, tag=True):
    """``-m addrtype --src-type TYPE``."""

    address_type: str
    negated: bool = False


class DestinationType(Struct, frozen=True, tag=True):
    """``-m addrtype --dst-type TYPE``."""

    address_type: str
    negated: bool = False


class FromBridgePort(Struct, frozen=True, tag=True):
    """``-m physdev --physdev-is-in``."""

    negated: bool = False


class ConnectionState(Struct, frozen=True, tag=True):
    """``-m conntrack --ctstate STATES``, in the order that iptables-save prints."""

    states: tuple[str, ...]


Match = (
    Source
    | InputInterface
    | ProtocolIs
    | Comment
    | InSet
    | Marked
    | SourceType
    | DestinationType
    | FromBridgePort
    | ConnectionState
)


class Jump(Struct, frozen=True, tag=True):
    """``-j CHAIN``, also for the built-in verdicts ACCEPT, DROP and RETURN."""

    chain: str


class Reject(Struct, frozen=True, tag=True):
    """``-j REJECT`` with the family's port-unreachable message (IPT-90)."""


class Masquerade(Struct, frozen=True, tag=True):
    """``-j MASQUERADE``."""

    random_fully: bool = False


class SetMark(Struct, frozen=True, tag=True):
    """``-j MARK --set-xmark VALUE/MASK``: the bits of `mask` are zeroed, then `value` is XORed in (IPT-04)."""

    value: int
    mask: int


Target = Jump | Reject | Masquerade | SetMark


class Rule(Struct, frozen=True):
    """One rule: all matches must hold.

    Invariant: `Source`, `InputInterface` and `ProtocolIs` come first, as iptables-save moves them there.
    """

    matches: tuple[Match, ...]
    target: Target

    def words(self, family: Family) -> tuple[str, ...]:
        """Return the rule after ``-A CHAIN``, with the words and order of iptables-save, unquoted."""
        out: list[str] = []
        for match in self.matches:
            out += _match_words(match)
        return (*out, *_target_words(self.target, family))


class Chain(Struct, frozen=True):
    """One of our chains with all its rules."""

    name: str
    rules: tuple[Rule, ...] = ()


class BuiltinJump(Struct, frozen=True):
    """A jump from a built-in chain to one of our chains; the jumps of a built-in chain have the order given."""

    builtin: str  # PREROUTING, INPUT, ...
    rule: Rule


class TableRules(Struct, frozen=True):
    """All our chains and jumps in one table."""

    table: Table
    chains: tuple[Chain, ...]
    jumps: tuple[BuiltinJump, ...]


ChainKey = tuple[Family, str, str]
"""Family, table and name of a chain."""


class RuleSet(Struct, frozen=True):
    """All our chains and jumps in one family."""

    family: Family
    tables: tuple[TableRules, ...]

    @property
    def count(self) -> int:
        """Return the number of rules, including jumps."""
        return sum(len(t.jumps) + sum(len(c.rules) for c in t.chains) for t in self.tables)

    @property
    def chain_keys(self) -> frozenset[ChainKey]:
        """Return the chains that contain these rules: ours, and the built-in ones that jump to them."""
        return frozenset(
            (self.family, table.table.value, name)
            for table in self.tables
            for name in (*(c.name for c in table.chains), *(j.builtin for j in table.jumps))
        )


def quote(word: str) -> str:
    """Write one word as iptables-save does: quoted only if it contains a blank, quote or backslash."""
    if word and not any(c in " \"'\\" for c in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")
    return f'"{escaped}"'


def _negation(negated: bool) -> list[str]:
    return ["!"] if negated else []


def _match_words(match: Match) -> list[str]:
    match match:
        case Source():
            return [*_negation(match.negated), "-s", str(match.network)]
        case InputInterface():
            return [*_negation(match.negated), "-i", match.name]
        case ProtocolIs():
            return ["-p", match.protocol.word]
        case Comment():
            return ["-m", "comment", "--comment", match.text]
        case InSet():
            return ["-m", "set", *_negation(match.negated), "--match-set", match.set_name, match.directions]
        case Marked():
            return ["-m", "mark", *_negation(match.negated), "--mark", f"{match.value:#x}/{match.mask:#x}"]
        case SourceType():
            return ["-m", "addrtype", *_negation(match.negated), "--src-type", match.address_type]
        case DestinationType():
            return ["-m", "addrtype", *_negation(match.negated), "--dst-type", match.address_type]
        case FromBridgePort():
            return ["-m", "physdev", *_negation(match.negated), "--physdev-is-in"]
        case ConnectionState():
            return ["-m", "conntrack", "--ctstate", ",".join(match.states)]


def _target_words(target: Target, family: Family) -> list[str]:
    match target:
        case Jump():
            return ["-j", target.chain]
        case Reject():
            message = "icmp-port-unreachable" if family is Family.IPV4 else "icmp6-port-unreachable"
            return ["-j", "REJECT", "--reject-with", message]
        case Masquerade():
            return ["-j", "MASQUERADE", *(["--random-fully"] if target.random_fully else [])]
        case SetMark():
            return ["-j", "MARK", "--set-xmark", f"{target.value:#x}/{target.mask:#x}"]
