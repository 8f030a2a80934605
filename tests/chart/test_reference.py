"""The chart's README lists all values, with the words of values.yaml."""

from __future__ import annotations

import json
import sys

import pytest

from chart.rendering import CHART, ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab.chart_fields import with_missing_values, with_schemas
from lab.chart_reference import chart_values, generated, table

from ipvsagent.config import forms
from ipvsagent.config.fields import Field
from ipvsagent.config.types import FIELDS


def test_the_readme_is_up_to_date() -> None:
    """`make reference` writes it."""
    assert (CHART / "README.md").read_text(encoding="utf-8") == generated(), "run `make reference`"


def test_the_schema_of_the_configuration_is_that_of_the_agent() -> None:
    """DEV-88: `make reference` writes it."""
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert text == with_schemas(text, FIELDS), "run `make reference`"


def test_a_value_without_a_comment_is_an_error() -> None:
    """It names the value."""
    with pytest.raises(ValueError, match=r"a\.c"):
        chart_values("a:\n  # -- described\n  b: 1\n\n  c: 2\n")


def test_a_comment_may_be_long_and_describe_a_group() -> None:
    """The first of its lines has the mark; what is below the key belongs to it."""
    values = chart_values("# no mark\n\n# -- first\n# second\na:\n  b: 1\n  c: [x]\n")
    assert table(values).splitlines()[2] == '| `a` | `{"b": 1, "c": ["x"]}` | first second |'


def test_fields_that_the_chart_lacks_are_added_with_their_words_and_defaults() -> None:
    """A new field of the agent is one row; `make reference` takes it over into the chart."""
    fields = (
        Field("ipvs.scheduler", forms.SCHEDULER, "Known.", False, False, "scheduler", "rr"),
        Field("ipvs.odd", forms.BOOLEAN, "Does odd things.", False, True, "strict_arp", False),
        Field("names.first", forms.TEXT, "A name.", False, True, "kubeconfig", ""),
    )
    values = with_missing_values("config:\n  # -- ours\n  ipvs:\n    scheduler: lc\n\n# -- other\nother: 1\n", fields)
    assert values == (
        "config:\n  # -- ours\n  ipvs:\n    scheduler: lc\n    # -- Does odd things.\n    odd: false\n"
        '  names:\n    # -- A name.\n    first: ""\n\n# -- other\nother: 1\n'
    )
    schema = {"properties": {"config": {"properties": {"ipvs": {"properties": {"scheduler": {"enum": ["rr"]}}}}}}}
    config = json.loads(with_schemas(json.dumps(schema), fields))["properties"]["config"]["properties"]
    assert config["ipvs"]["properties"]["odd"] == {"type": "boolean"}
    assert config["names"]["properties"] == {"first": {"type": "string"}}
