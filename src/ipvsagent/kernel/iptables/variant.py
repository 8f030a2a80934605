"""Find out which iptables variant this host uses.

The variants do not see each other's rules, so the agent must use the variant of kubelet and the network plugin. On a
host that uses nft, no legacy table may be opened: opening loads it, and every later call of iptables prints a warning.
So nft is read first, and only those legacy tables that are in use.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ipvsagent.errors import KernelError, NotPermitted, ToolMissing
from ipvsagent.kernel.iptables.legacy import tables_in_use
from ipvsagent.kernel.iptables.probe import check_tables
from ipvsagent.kernel.iptables.programs import find_program, plain_variant, run, version
from ipvsagent.kernel.iptables.text import ObservedTable, parse_save
from ipvsagent.model.address import Family

Variant = Literal["legacy", "nft"]

_HINT_CHAINS = frozenset({"KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"})
_RANDOM_FULLY_SINCE = (1, 6, 2)


def detect_variant() -> Variant:
    """Return the host's iptables variant.

    The first of these criteria that decides: kubelet's hint chains in table mangle; the variant with more rules;
    the variant behind the plain name ``iptables``, if it works; the variant that works.

    Raises:
        ToolMissing: no variant of iptables is installed.
        NotPermitted: the process may not read rules.
    """
    nft = [_read_nft(family) for family in Family]
    if _has_hint(nft):
        return "nft"
    legacy = [_read_legacy(family) for family in Family]
    if _has_hint(legacy):
        return "legacy"
    nft_count, legacy_count = _count(nft), _count(legacy)
    if nft_count != legacy_count:
        return "nft" if nft_count > legacy_count else "legacy"
    return _preferred()


def supports_random_fully() -> bool:
    """Return whether the installed iptables supports ``--random-fully`` (IPT-05)."""
    for variant in ("nft", "legacy"):
        try:
            return version(variant) >= _RANDOM_FULLY_SINCE
        except ToolMissing:
            continue
    return False


def _read_nft(family: Family) -> dict[str, ObservedTable]:
    """Read all tables; return none if the variant is not installed or the kernel lacks it."""
    try:
        return parse_save(run([find_program(family, "nft", "-save")], operation="list rules with"))
    except NotPermitted:
        raise
    except KernelError:
        return {}


def _read_legacy(family: Family) -> dict[str, ObservedTable]:
    """Read the tables in use, without opening others."""
    if not tables_in_use(family):
        return {}
    try:
        return parse_save(run([find_program(family, "legacy", "-save")], operation="list rules with"))
    except NotPermitted:
        raise
    except KernelError:
        return {}


def _has_hint(families: Iterable[dict[str, ObservedTable]]) -> bool:
    return any(not _HINT_CHAINS.isdisjoint(tables["mangle"].chains) for tables in families if "mangle" in tables)


def _count(families: Iterable[dict[str, ObservedTable]]) -> int:
    """Return the number of rules in all tables."""
    return sum(
        len(rules)
        for tables in families
        for table in tables.values()
        for chains in (table.builtin, table.chains)
        for rules in chains.values()
    )


def _preferred() -> Variant:
    """Choose the variant of a host without rules."""
    installed = [v for v in ("nft", "legacy") if _is_installed(v)]
    if not installed:
        raise ToolMissing("start", "iptables", detail="it is not installed; the Debian package is `iptables`")
    if "legacy" not in installed:
        return "nft"
    if "nft" not in installed or plain_variant(Family.IPV4) == "legacy":
        return "legacy"
    return "nft" if _works(Family.IPV4, "nft") else "legacy"


def _is_installed(variant: str) -> bool:
    try:
        find_program(Family.IPV4, variant)
    except ToolMissing:
        return False
    return True


def _works(family: Family, variant: str) -> bool:
    try:
        check_tables(family, variant)
    except NotPermitted:
        raise
    except KernelError:
        return False
    return True
