"""The chart's README lists all values, with the words of values.yaml."""

from __future__ import annotations

import sys

import pytest

from chart.rendering import CHART, ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab.chart_reference import chart_values, generated, table


def test_the_readme_is_up_to_date() -> None:
    """`make reference` writes it."""
    assert (CHART / "README.md").read_text(encoding="utf-8") == generated(), "run `make reference`"


def test_a_value_without_a_comment_is_an_error() -> None:
    """It names the value."""
    with pytest.raises(ValueError, match=r"a\.c"):
        chart_values("a:\n  # -- described\n  b: 1\n\n  c: 2\n")


def test_a_comment_may_be_long_and_describe_a_group() -> None:
    """The first of its lines has the mark; what is below the key belongs to it."""
    values = chart_values("# no mark\n\n# -- first\n# second\na:\n  b: 1\n  c: [x]\n")
    assert table(values).splitlines()[2] == '| `a` | `{"b": 1, "c": ["x"]}` | first second |'
