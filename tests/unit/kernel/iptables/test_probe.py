"""Which parts of iptables are missing, with stand-ins for the iptables programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipvsagent.kernel.iptables.probe import missing_extensions
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, ExtensionKind
from ipvsagent.model.rules import Chain, Jump, Reject, Rule, RuleSet, Table, TableRules

TABLES = (Table.NAT, Table.FILTER, Table.MANGLE)
REJECT = Extension(ExtensionKind.TARGET, "REJECT")


def _tables(family: Family) -> RuleSet:
    """Three tables without rules, so that only the tables are asked for."""
    return RuleSet(family, tuple(TableRules(t, (), ()) for t in TABLES))


def _install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)


def _lacks_table(name: str, table: str) -> str:
    """A program that knows every table except one."""
    words = f"{name}: can't initialize {name} table '{table}': Table does not exist (do you need to insmod?)"
    return f'[ "$4" = "{table}" ] || exit 0\necho "{words}" >&2\nexit 3'


@pytest.mark.parametrize("table", ["nat", "filter", "mangle"])
@pytest.mark.parametrize(
    ("family", "program"), [(Family.IPV4, "iptables-legacy"), (Family.IPV6, "ip6tables-legacy")], ids=["IPv4", "IPv6"]
)
def test_a_missing_table_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, family: Family, program: str
) -> None:
    """DEV-68: the other tables are there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    _install(tmp_path, program, _lacks_table(program, table))
    assert missing_extensions("legacy", _tables(family)) == (Extension(ExtensionKind.TABLE, table),)


def test_a_program_that_fails_for_another_reason_says_nothing_about_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DEV-81: a family must not be given up because memory was short for a moment."""
    monkeypatch.setenv("PATH", str(tmp_path))
    _install(tmp_path, "iptables-legacy", "echo 'iptables: Memory allocation problem.' >&2\nexit 4")
    assert missing_extensions("legacy", _tables(Family.IPV4)) == ()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Warning: Extension REJECT revision 0 not supported, missing kernel module?", (REJECT,)),
        ("iptables-nft-restore v1.8.9 (nf_tables): line 3: RULE_APPEND failed (No such file or directory)", (REJECT,)),
        ("iptables-nft-restore v1.8.9 (nf_tables): Couldn't load target `REJECT':No such file or directory", (REJECT,)),
        ("iptables-nft-restore: line 3: RULE_APPEND failed (Resource temporarily unavailable)", ()),
        ("iptables-nft-restore: line 3: RULE_APPEND failed (Cannot allocate memory)", ()),
    ],
)
def test_with_nft_a_target_that_a_trial_rule_is_refused_for_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, expected: tuple[Extension, ...]
) -> None:
    """DEV-81: only words that say so count."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    words = words.replace("`", "\\`")
    _install(tmp_path, "iptables-nft", "exit 0")
    _install(tmp_path, "iptables-nft-restore", f'grep -q REJECT || exit 0\necho "{words}" >&2\nexit 1')
    table = TableRules(Table.FILTER, (Chain("KUBE-IPVS-FILTER", (Rule((), Jump("RETURN")), Rule((), Reject()))),), ())
    assert missing_extensions("nft", RuleSet(Family.IPV4, (table,))) == expected
