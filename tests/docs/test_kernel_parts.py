"""The page about parts of the kernel, against the parts that the agent knows."""

from __future__ import annotations

import pytest

from docs.pages import ROOT
from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, trial_rules
from ipvsagent.model.state import SetType
from ipvsagent.planner.kernel_parts import PARTS, set_type_names
from ipvsagent.planner.rules import plan_rules

PAGE = (ROOT / "docs/reference/kernel.md").read_text(encoding="utf-8")


def _row(name: str) -> str:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    return row


@pytest.mark.parametrize("extension", PARTS, ids=str)
def test_the_page_has_a_row_for_each_part_of_iptables(extension: Extension) -> None:
    """DEV-81: need, loss, module and option are those that the agent reports."""
    part = PARTS[extension]
    row = _row(f"{extension.kind} `{extension.name}`")
    assert f"| {part.need} | {part.loss or 'family not served'} |" in row
    for name in (*part.module, *part.option):
        assert f"`{name}`" in row


@pytest.mark.parametrize("kind", list(SetType), ids=str)
def test_the_page_has_a_row_for_each_set_type(kind: SetType) -> None:
    """DEV-67: with module and option."""
    module, option = set_type_names(kind)
    assert _row(f"set type `{kind}`").endswith(f"| `{module}` | `{option}` |")


def test_every_match_and_target_of_the_rules_is_a_known_part() -> None:
    """DEV-81: a new one needs a row."""
    rules = plan_rules(Settings(), Family.IPV6, None)
    assert trial_rules(rules).keys() <= PARTS.keys()
