"""The JSON Schema of a field accepts what the field's reader accepts, and refuses what it refuses."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ipvsagent.config import forms
from ipvsagent.config.fields import Field
from ipvsagent.config.types import FIELDS
from ipvsagent.config.words import WrongValue

_ADDRESSES = (
    *("0.0.0.0", "10.0.0.1", "255.255.255.255", "010.0.0.1", "256.0.0.1", "10.0.0", "10.0.0.0.1", "10..0.1"),
    *("::", "::1", "1::", "fd00::10", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8"),
    *("1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::", ":1:2", "1:2:", "fg00::1", "12345::", "::ffff:10.0.0.1"),
    *("fe80::1%eth0", "localhost", " 10.0.0.1"),
)
_CIDRS = tuple(
    f"{address}/{length}"
    for address, length in itertools.product(
        ("10.0.0.0", "fd00::", "300.0.0.0", "::g"),
        ("0", "1", "9", "32", "33", "40", "99", "128", "129", "1000", "", "x"),
    )
)
_PORTS = ("", "0", "1", "9", "80", "10256", "59999", "65535", "65536", "70000", "99999", "100000", "http", "-1")
TEXTS: tuple[str, ...] = (
    *("", "x", "rr", "lcc", "primary", "on", "info", "text", "json", "nft", "legacy", "ClusterCIDR", "flag-1"),
    *("0", "0s", "30s", "1m30s", "1.5h", "+5s", "-5s", "15 minutes", "30", "s", "1d", "1h1", "100ms", "5µs"),
    *_ADDRESSES,
    *_CIDRS,
    *(f"10.0.0.1:{port}" for port in _PORTS),
    *(f"[fd00::1]:{port}" for port in _PORTS),
    *("fd00::1:10256", "[10.0.0.1]:80", "[fd00::1]", "10.0.0.0", "fd00::1:70000"),
    *(
        "10.0.0.0/8,fd00::/8",
        "fd00::/8,10.0.0.0/8",
        "10.0.0.0/8,11.0.0.0/8",
        "fd00::/8,fd01::/8",
        "10.0.0.0/8, fd00::/8",
    ),
    *("10.0.0.0/8,fd00::/129", "10.0.0.0/8,", ",fd00::/8"),
)
VALUES: tuple[object, ...] = (
    *TEXTS,
    *(True, False, 0, 1, -1, 14, 31, 32, -1000, -1001, 1000, 1001, 2**31 - 1, 2**31, 1.5),
    *([], ["primary"], ["primary", "10.0.0.0/8"], ["10.0.0.0/8", "fd00::/8"], ["10.0.0.0/8", "11.0.0.0/8"]),
    *([text] for text in TEXTS),
    *(["10.0.0.0/8", 5], ["10.0.0.0/40"], {}, {"a": 1}, ["flag-1", "flag-3"], ["flag-4"]),
)


def _is_read(field: Field, value: object) -> bool:
    try:
        field.form.read(value)
    except WrongValue:
        return False
    return True


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.path)
def test_schema_and_reader_of_a_field_agree(field: Field) -> None:
    """DEV-88: for every value, so that an editor and Helm refuse what the agent refuses."""
    validator = Draft202012Validator(dict(field.form.schema))
    different: list[Any] = [v for v in VALUES if validator.is_valid(v) != _is_read(field, v)]
    assert different == []


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.path)
def test_patterns_use_no_syntax_that_go_lacks(field: Field) -> None:
    """Helm uses Go's package regexp, which supports neither lookahead nor lookbehind nor backreferences."""
    assert not re.search(r"\(\?[=!<]|\\\d", str(field.form.schema))


def test_the_values_contain_some_of_each_form() -> None:
    """Otherwise a form that refuses all of them would pass."""
    for field in FIELDS:
        accepted = sum(_is_read(field, value) for value in VALUES)
        assert 0 < accepted < len(VALUES) or field.form is forms.TEXT
