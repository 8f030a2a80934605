"""Finding and starting the iptables programs, with stand-ins for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipvsagent.errors import Busy, KernelError, NotPermitted, NotSupported, ToolFailed, ToolMissing
from ipvsagent.kernel.iptables import variant as iptables_variant
from ipvsagent.kernel.iptables.nft import NftRules
from ipvsagent.kernel.iptables.programs import find_program, plain_variant, run, version
from ipvsagent.kernel.iptables.variant import detect_variant, supports_random_fully
from ipvsagent.model.address import Family
from ipvsagent.model.rules import RuleSet


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, script: str) -> None:
    """Put a shell script where a program is expected."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied", NotPermitted),
        ("iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist", NotSupported),
        ("cant commit: Resource temporarily unavailable", Busy),
        ("Another app is currently holding the xtables lock; still 1s 0us time ahead", Busy),
        ("iptables-restore: line 3 failed", ToolFailed),
    ],
)
def test_a_programs_words_decide_which_error_it_is(programs: Path, message: str, error: type[KernelError]) -> None:
    """A caller acts on the class: give up, say so, or try again."""
    install(programs, "tool", f'echo "{message.replace("`", "")}" >&2; exit 4')
    with pytest.raises(error) as caught:
        run([str(programs / "tool")], operation="list rules with")
    assert type(caught.value) is error


def test_the_reason_is_the_first_line_that_says_something(programs: Path) -> None:
    """The program's name and version are left out, also where they fill a line."""
    install(programs, "tool", "echo 'iptables-nft-restore v1.8.9 (nf_tables): '>&2; echo 'line 2: no' >&2; exit 2")
    with pytest.raises(ToolFailed, match=r"^write rules with tool: line 2: no$"):
        run([str(programs / "tool")], operation="write rules with")


def test_a_kernel_without_nf_tables_is_named(programs: Path) -> None:
    """DEV-82: iptables speaks of a generation that is an invalid argument."""
    install(programs, "tool", "echo 'Could not fetch rule set generation id: Invalid argument' >&2; exit 4")
    with pytest.raises(NotSupported, match=r"the kernel has no nf_tables \(module `nf_tables`, `CONFIG_NF_TABLES`\)$"):
        run([str(programs / "tool")], operation="list rules with")


def test_a_program_that_says_nothing_is_quoted_by_its_status(programs: Path) -> None:
    """There is always a reason to read."""
    install(programs, "tool", "exit 3")
    with pytest.raises(ToolFailed, match="ended with status 3"):
        run([str(programs / "tool")])


def test_a_missing_program_is_named_with_its_package(programs: Path) -> None:
    """The remedy is part of the error."""
    assert not list(programs.iterdir())
    with pytest.raises(ToolMissing, match=r"iptables-nft-save: .*the Debian package is `iptables`"):
        find_program(Family.IPV4, "nft", "-save")
    with pytest.raises(ToolMissing, match="ip6tables-legacy"):
        find_program(Family.IPV6, "legacy")
    with pytest.raises(ToolMissing):
        detect_variant()
    assert not supports_random_fully()


def test_the_plain_name_serves_where_it_is_of_the_variant(programs: Path) -> None:
    """Hosts with one variant alone may have it as plain iptables."""
    install(programs, "iptables", "echo 'iptables v1.4.21'")
    install(programs, "iptables-save", "exit 0")
    assert find_program(Family.IPV4, "legacy", "-save") == str(programs / "iptables-save")
    assert plain_variant(Family.IPV4) == "legacy"
    assert plain_variant(Family.IPV6) is None
    with pytest.raises(ToolMissing):
        find_program(Family.IPV4, "nft", "-save")


@pytest.mark.parametrize(("text", "answer"), [("1.6.1", False), ("1.6.2", True), ("1.8.10", True), ("1.10", True)])
def test_random_fully_depends_on_the_version(programs: Path, text: str, answer: bool) -> None:
    """IPT-05: since 1.6.2, compared as numbers."""
    install(programs, "iptables-legacy", f"echo 'iptables v{text} (legacy)'")
    assert supports_random_fully() is answer
    assert version("legacy") == tuple(int(part) for part in text.split("."))


def test_where_nft_is_not_installed_it_holds_nothing_of_ours(programs: Path) -> None:
    """Cleanup looks through both variants, whichever of them a host has."""
    assert not list(programs.iterdir())
    rules = RuleSet(Family.IPV4, ())
    assert NftRules(Family.IPV4).list_ours(rules) == []
    NftRules(Family.IPV4).remove(rules)


@pytest.mark.parametrize(
    ("plain", "writes", "answer"),
    [
        ("nf_tables", "exit 0", "nft"),
        ("nf_tables", "echo 'TABLE_ADD failed (Operation not supported)' >&2; exit 4", "legacy"),
        ("legacy", "exit 0", "legacy"),
    ],
)
def test_a_host_without_rules_goes_by_the_plain_name_if_it_works(
    programs: Path, monkeypatch: pytest.MonkeyPatch, plain: str, writes: str, answer: str
) -> None:
    """A kernel with nf_tables but not this family lists an empty table, and only writing tells."""
    monkeypatch.setattr(iptables_variant, "tables_in_use", lambda _family: frozenset())
    install(programs, "iptables", f"echo 'iptables v1.8.9 ({plain})'")
    for name in ("iptables-nft", "iptables-nft-save", "ip6tables-nft-save", "iptables-legacy"):
        install(programs, name, "exit 0")
    install(programs, "iptables-nft-restore", writes)
    assert detect_variant() == answer


def test_a_lack_of_permission_is_reported(programs: Path) -> None:
    """No variant is guessed where rules cannot be read."""
    install(programs, "iptables-nft-save", "echo 'Permission denied (you must be root)' >&2; exit 4")
    with pytest.raises(NotPermitted):
        detect_variant()
