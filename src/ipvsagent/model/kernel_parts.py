"""Parts of the kernel that this node lacks, and the tables, matches and targets that iptables rules are made of."""

from __future__ import annotations

import enum

from msgspec import Struct

from ipvsagent.model.address import Family
from ipvsagent.model.rules import (
    Comment,
    ConnectionState,
    DestinationType,
    FromBridgePort,
    InSet,
    Jump,
    Marked,
    Masquerade,
    Match,
    Reject,
    Rule,
    RuleSet,
    SetMark,
    SourceType,
    Table,
    TableRules,
)

_MATCHES: dict[type, str] = {
    Comment: "comment",
    InSet: "set",
    Marked: "mark",
    SourceType: "addrtype",
    DestinationType: "addrtype",
    FromBridgePort: "physdev",
    ConnectionState: "conntrack",
}
_TARGETS: dict[type, str] = {Reject: "REJECT", Masquerade: "MASQUERADE", SetMark: "MARK"}


class ExtensionKind(enum.StrEnum):
    """The kinds of parts that iptables rules need."""

    TABLE = "table"
    MATCH = "match"
    TARGET = "target"


class Extension(Struct, frozen=True, order=True):
    """A table, a match or a target of iptables."""

    kind: ExtensionKind
    name: str

    def __str__(self) -> str:
        return f"iptables {self.kind} `{self.name}`"


class MissingPart(Struct, frozen=True, order=True):
    """A part that the kernel lacks, or that is switched off.

    Args:
        family: the address family that is affected.
        what: the fact.
        remedy: what to do about it.
        loss: what does not work without the part.
        extension: the part of iptables that is missing; None for other parts.
        is_vital: whether the family is not served without it.
        is_chosen: whether an administrator switched it off; that is no fault.
    """

    family: Family
    what: str
    remedy: str
    loss: str
    extension: Extension | None = None
    is_vital: bool = True
    is_chosen: bool = False

    def __str__(self) -> str:
        return f"{self.family.label}: {self.what}: {self.loss}; {self.remedy}"


def table_of(rules: TableRules) -> Extension:
    """The table as a part of iptables."""
    return Extension(ExtensionKind.TABLE, rules.table.value)


def trial_rules(rules: RuleSet) -> dict[Extension, tuple[Table, Rule]]:
    """A smallest rule for each match and target, with the table in which it is used."""
    trials: dict[Extension, tuple[Table, Rule]] = {}
    for table in rules.tables:
        for rule in (*(r for c in table.chains for r in c.rules), *(j.rule for j in table.jumps)):
            for match in rule.matches:
                if extension := match_of(match):
                    trials.setdefault(extension, (table.table, Rule((match,), Jump("RETURN"))))
            if name := _TARGETS.get(type(rule.target)):
                trials.setdefault(Extension(ExtensionKind.TARGET, name), (table.table, Rule((), rule.target)))
    return trials


def match_of(match: Match) -> Extension | None:
    """The extension that a match needs; None for the matches of iptables itself."""
    name = _MATCHES.get(type(match))
    return Extension(ExtensionKind.MATCH, name) if name else None
