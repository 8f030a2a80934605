"""Counting which rules tests cite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `lab` is a folder of the repository, not of the package

from lab.spec_coverage import citations, docstrings, parse_rules, unknown, without_test

RULES = """\
# a comment
## 2 EndpointSlices
EP-05    ports
EP-06    names
EP-10    hints

## 7 iptables
IPT-23a  masquerade all
IPT-23b  detector
IPT-24   external
"""


@pytest.mark.parametrize(
    ("docstring", "missing"),
    [
        ("", ["EP-05", "EP-06", "EP-10", "IPT-23a", "IPT-23b", "IPT-24"]),
        ("EP-06: text, IPT-24.", ["EP-05", "EP-10", "IPT-23a", "IPT-23b"]),
        ("EP-05 to EP-10.", ["IPT-23a", "IPT-23b", "IPT-24"]),
        ("EP-05, EP-10: two, not a range.", ["EP-06", "IPT-23a", "IPT-23b", "IPT-24"]),
        ("IPT-23: all letters.", ["EP-05", "EP-06", "EP-10", "IPT-24"]),
        ("IPT-23b to IPT-24.", ["EP-05", "EP-06", "EP-10", "IPT-23a"]),
        ("EP-06 to\nEP-10, over two lines.", ["EP-05", "IPT-23a", "IPT-23b", "IPT-24"]),
    ],
)
def test_a_rule_counts_where_a_docstring_names_it_or_a_range_around_it(docstring: str, missing: list[str]) -> None:
    """Letters are part of an ID; an ID without one means all of them."""
    left = without_test(parse_rules(RULES), citations(docstring))
    assert [str(rule) for section in left for rule in section.rules] == missing


def test_what_is_named_but_is_no_rule_is_told_unless_it_belongs_elsewhere() -> None:
    """A number that the list lacks is a slip; a prefix that it lacks is another list's."""
    assert unknown(parse_rules(RULES), citations("EP-05, EP-99 and CFG-05; IPT-23c, IPT-23.")) == ["EP-99", "IPT-23c"]


@pytest.mark.parametrize("text", ["EP-05 before a heading", "## 2\nEP05 no ID", "## 2\nEP-05 one\nEP-05 twice"])
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    """A rule that vanishes by a slip would count as covered."""
    with pytest.raises(ValueError, match="EP"):
        parse_rules(text)


def test_docstrings_of_tests_count_and_no_others(tmp_path: Path) -> None:
    """A helper or a module that names a rule tests nothing."""
    (tmp_path / "test_a.py").write_text(
        '"""EP-01."""\ndef helper():\n    """EP-02."""\ndef test_x():\n    """EP-03."""\n'
    )
    (tmp_path / "other.py").write_text('def test_y():\n    """EP-04."""\n')
    assert list(docstrings(tmp_path)) == ["EP-03."]
