"""Which families can be served, with stand-ins for the iptables programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipvsagent.kernel.iptables.variant import usable_families
from ipvsagent.model.address import Family


def _install(folder: Path, name: str, missing_table: str) -> None:
    """A program that knows every table except one."""
    program = folder / name
    words = f"{name}: can't initialize {name} table `{missing_table}': Table does not exist (do you need to insmod?)"
    program.write_text(
        f'#!/bin/sh\n[ "$4" = "{missing_table}" ] || exit 0\necho "{words.replace("`", chr(92) + "`")}" >&2\nexit 3\n',
        encoding="ascii",
    )
    program.chmod(0o755)


@pytest.mark.parametrize("table", ["nat", "filter", "mangle"])
@pytest.mark.parametrize(
    ("lacking", "program", "complete"),
    [
        (Family.IPV4, "iptables-legacy", "ip6tables-legacy"),
        (Family.IPV6, "ip6tables-legacy", "iptables-legacy"),
    ],
)
def test_a_family_that_lacks_a_table_is_not_served_and_the_table_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, lacking: Family, program: str, complete: str
) -> None:
    """DEV-68: the other family does not depend on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("ipvsagent.kernel.iptables.variant._ipv6_disabled", lambda: None)
    _install(tmp_path, program, table)
    _install(tmp_path, complete, "none")
    answer = usable_families("legacy")
    reason = answer.pop(lacking)
    assert reason is not None
    assert reason.startswith(f"list table `{table}` with {program}: ")
    assert list(answer.values()) == [None]
