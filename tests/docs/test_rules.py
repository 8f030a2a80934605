"""The rules of docs/developer/behaviour, and the IDs that code, tests and documentation cite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docs.pages import ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab import spec_coverage
from lab.spec_coverage import citations, docstrings, rules, without_rule, without_test

PAGE = """\
# EndpointSlices

A slice without a port (EP-05) is text and no row.

| ID | kube-proxy |
|---|---|
| EP-05 | ports |
| EP-06 | names, see EP-10 |
| EP-10 | hints |

| ID | Rule |
|---|---|
| IPT-23a | masquerade all |
| IPT-23b | detector |
| IPT-24 | external |
"""
RULES = rules([PAGE])


def test_every_id_that_is_cited_has_a_rule() -> None:
    """In code, tests, documentation, the chart and tools."""
    assert spec_coverage.unknown_citations() == {}


def test_every_rule_is_cited_by_a_test() -> None:
    """A rule that no test names may be broken without anybody noticing."""
    assert without_test(spec_coverage.defined_rules(), spec_coverage.cited_by_tests()) == []


def test_rows_that_begin_with_an_id_define_rules() -> None:
    """Other text only cites them."""
    assert [str(rule) for rule in RULES] == ["EP-05", "EP-06", "EP-10", "IPT-23a", "IPT-23b", "IPT-24"]


@pytest.mark.parametrize("row", ["| EP-5 | x |", "| EP-05x1 | x |", "| EP-10 | again |"])
def test_a_row_with_a_malformed_or_repeated_id_is_refused(row: str) -> None:
    """A rule that is lost by a typing error would not be checked."""
    with pytest.raises(ValueError, match="EP-"):
        rules([PAGE, row])


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
def test_a_docstring_covers_the_rules_and_ranges_that_it_names(docstring: str, missing: list[str]) -> None:
    """Letters are part of an ID; an ID without a letter means all of them."""
    assert [str(rule) for rule in without_test(RULES, citations(docstring))] == missing


def test_an_id_without_a_rule_is_found_and_other_abbreviations_are_not() -> None:
    """Also with a prefix that no rule has; proposals, licences and encodings do not look like IDs."""
    text = "EP-05, EP-99, IPT-23c, IPT-23, QQ-01. KEP-5495, CVE-2020-8554, UTF-8, BSD-3-Clause."
    assert without_rule(RULES, text) == ["EP-99", "IPT-23c", "QQ-01"]


def test_only_docstrings_of_tests_count_as_coverage(tmp_path: Path) -> None:
    """A helper or a module that names a rule tests nothing."""
    (tmp_path / "test_a.py").write_text(
        '"""EP-05."""\ndef helper():\n    """EP-06."""\ndef test_x():\n    """EP-10."""\n'
    )
    (tmp_path / "other.py").write_text('def test_y():\n    """IPT-24."""\n')
    assert list(docstrings(tmp_path)) == ["EP-10."]
