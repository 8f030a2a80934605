"""What each part of the kernel is needed for, and the rules that do without it where that is harmless (DEV-81).

A family whose rules cannot be complete is not served: nothing may be open that a rule should close. Two parts can be
left out, since packets are let through no further without them: `REJECT` (`DROP` closes as well) and `physdev` (it
only ends the way through table `nat` for packets that are handled already).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, ExtensionKind, MissingPart
from ipvsagent.model.rules import Chain, FromBridgePort, Jump, Reject, Rule, RuleSet
from ipvsagent.model.state import SetType

FULL_KERNEL = "install the full kernel package of the distribution"


class PartRow(Struct, frozen=True):
    """What is known of a table, match or target.

    Args:
        module, option: kernel module and configuration option, by family.
        need: what the part is needed for.
        loss: what does not work without it, where it can be left out; empty where the family is not served.
    """

    module: tuple[str, str]
    option: tuple[str, str]
    need: str
    loss: str = ""

    def names(self, family: Family) -> tuple[str, str]:
        """Module and option of a family."""
        index = 0 if family is Family.IPV4 else 1
        return self.module[index], self.option[index]


def _table(name: str) -> tuple[tuple[str, str], tuple[str, str]]:
    upper = name.upper()
    return (f"iptable_{name}", f"ip6table_{name}"), (f"CONFIG_IP_NF_{upper}", f"CONFIG_IP6_NF_{upper}")


def _both(module: str, option: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (module, module), (option, option)


_XT = "CONFIG_NETFILTER_XT_"
_TABLE, _MATCH, _TARGET = ExtensionKind.TABLE, ExtensionKind.MATCH, ExtensionKind.TARGET

PARTS: dict[Extension, PartRow] = {
    Extension(_TABLE, "nat"): PartRow(*_table("nat"), "masquerading"),
    Extension(_TABLE, "filter"): PartRow(*_table("filter"), "source ranges, isolation of Service addresses"),
    Extension(_TABLE, "mangle"): PartRow(*_table("mangle"), "source ranges for processes of the node"),
    Extension(_MATCH, "set"): PartRow(*_both("xt_set", f"{_XT}SET"), "all rules for Services"),
    Extension(_MATCH, "comment"): PartRow(*_both("xt_comment", f"{_XT}MATCH_COMMENT"), "all rules"),
    Extension(_MATCH, "mark"): PartRow(*_both("xt_mark", f"{_XT}MARK"), "masquerading"),
    Extension(_TARGET, "MARK"): PartRow(*_both("xt_mark", f"{_XT}MARK"), "masquerading"),
    Extension(_TARGET, "MASQUERADE"): PartRow(*_both("xt_MASQUERADE", f"{_XT}TARGET_MASQUERADE"), "masquerading"),
    Extension(_MATCH, "addrtype"): PartRow(
        *_both("xt_addrtype", f"{_XT}MATCH_ADDRTYPE"), "NodePorts, external addresses"
    ),
    Extension(_MATCH, "conntrack"): PartRow(
        *_both("xt_conntrack", f"{_XT}MATCH_CONNTRACK"), "answers to clients, isolation of Service addresses"
    ),
    Extension(_MATCH, "physdev"): PartRow(
        *_both("xt_physdev", f"{_XT}MATCH_PHYSDEV"),
        "external addresses, where pods are on a bridge",
        "pods on a bridge that use an external address skip the rules in table `nat` after the agent's",
    ),
    Extension(_TARGET, "REJECT"): PartRow(
        ("ipt_REJECT", "ip6t_REJECT"),
        ("CONFIG_IP_NF_TARGET_REJECT", "CONFIG_IP6_NF_TARGET_REJECT"),
        "refusing connections to other ports of a Service address",
        "connections to other ports of a Service address are dropped, not refused, so clients wait for a timeout",
    ),
}
"""The parts that rules need, in the order of the documentation."""

_NFT_TABLES = {
    "nat": (("nft_chain_nat", "nft_chain_nat"), ("CONFIG_NFT_NAT", "CONFIG_NFT_NAT")),
    "filter": (("nf_tables", "nf_tables"), ("CONFIG_NF_TABLES_IPV4", "CONFIG_NF_TABLES_IPV6")),
    "mangle": (("nf_tables", "nf_tables"), ("CONFIG_NF_TABLES_IPV4", "CONFIG_NF_TABLES_IPV6")),
}
_COMPATIBILITY = "`nft_compat` (`CONFIG_NFT_COMPAT`)"


def set_type_names(kind: SetType) -> tuple[str, str]:
    """Module and configuration option of a set type."""
    module = "ip_set_" + kind.value.replace(":", "_").replace(",", "")
    return module, f"CONFIG_{module.upper()}"


def missing_extension(extension: Extension, family: Family, variant: str) -> MissingPart:
    """Describe a table, match or target that the kernel lacks."""
    row = PARTS[extension]
    module, option = row.names(family)
    if variant == "nft" and extension.kind is ExtensionKind.TABLE:
        modules, options = _NFT_TABLES[extension.name]
        index = 0 if family is Family.IPV4 else 1
        module, option = modules[index], options[index]
    what = f"the kernel has no {extension} (module `{module}`, `{option}`)"
    through = "" if variant == "legacy" or extension.kind is ExtensionKind.TABLE else f", also {_COMPATIBILITY}"
    remedy = f"`modprobe {module}` on the host{through}, or {FULL_KERNEL}"
    loss = row.loss or not_served(family)
    return MissingPart(family, what, remedy, loss, extension, is_vital=not row.loss)


def not_served(family: Family) -> str:
    """What is lost without a vital part."""
    return f"{family.label} is not served"


def without(rules: RuleSet, missing: Collection[Extension]) -> RuleSet:
    """The rules of a family without the parts that can be left out."""
    if not missing:
        return rules
    tables = []
    for table in rules.tables:
        chains = tuple(Chain(c.name, tuple(_rule_without(r, missing) for r in c.rules)) for c in table.chains)
        tables.append(replace(table, chains=chains))
    return RuleSet(rules.family, tuple(tables))


def _rule_without(rule: Rule, missing: Collection[Extension]) -> Rule:
    matches, target = rule.matches, rule.target
    if Extension(_MATCH, "physdev") in missing:
        matches = tuple(m for m in matches if not isinstance(m, FromBridgePort))
    if Extension(_TARGET, "REJECT") in missing and isinstance(target, Reject):
        target = Jump("DROP")
    return Rule(matches, target)
