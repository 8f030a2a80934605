"""YAML as manifests need it."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.yaml_text import TruthWord, YamlError, parse_yaml


def value(text: str) -> object:
    """The value of the only document."""
    ((_, found),) = parse_yaml(text)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", 80),
        ("-1", -1),
        ("0x50", 80),
        ("0120", 80),
        ("0o120", 80),
        ("-0x50", -80),
        ("0b1010000", 80),
        ("1_000", 1000),
        ("0x_", "0x_"),
        ("80.5", 80.5),
        ('"80"', "80"),
        ("!!str 80", "80"),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-99-99", "2026-99-99"),
        ("10.96.0.10", "10.96.0.10"),
        ("1:30", "1:30"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_scalars_are_what_kubernetes_takes_them_for(text: str, expected: object) -> None:
    """Times and host names such as `no` stay text."""
    found = value(f"field: {text}")
    assert found == {"field": expected}
    assert isinstance(found, dict)
    assert type(found["field"]) is type(expected)


@pytest.mark.parametrize(("text", "truth"), [("on", True), ("YES", True), ("y", True), ("Off", False), ("no", False)])
def test_words_that_older_yaml_reads_as_booleans_are_marked_on_request(text: str, truth: bool) -> None:
    """The caller knows whether the field is a boolean or text; quotes say that it is text."""
    ((_, found),) = parse_yaml(f"field: {text}\nquoted: '{text}'\nother: only\n", mark_truth_words=True)
    assert found == {"field": text, "quoted": text, "other": "only"}
    assert isinstance(found, dict)
    assert isinstance(found["field"], TruthWord)
    assert found["field"].truth is truth
    assert type(found["quoted"]) is str
    assert type(found["other"]) is str


def test_documents_come_with_the_lines_where_they_begin() -> None:
    """Messages name lines."""
    assert parse_yaml("a: 1\n---\n# nothing\n---\n\nb: 2\n") == [(1, {"a": 1}), (4, None), (6, {"b": 2})]


def test_text_without_documents_is_empty() -> None:
    """An empty file is no fault."""
    assert parse_yaml("# only a comment\n") == []


def test_keys_are_text_whatever_they_look_like() -> None:
    """Fields are looked up by name."""
    assert value("1: a\non: b\n~: c\n") == {"1": "a", "on": "b", "~": "c"}


def test_anchors_and_merges_are_followed() -> None:
    """A mapping's own keys win over merged ones, and earlier merges over later ones."""
    text = "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nmine: {<<: [*base, *other], a: 9}\nsame: *base\n"
    assert value(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"b": 3, "c": 4},
        "mine": {"a": 9, "b": 2, "c": 4},
        "same": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: *nowhere\n", 1),
        ("a: &a [*a]\n", 1),
        ("a: 1\nb: \x00\n", 2),
        ("? [a]\n: b\n", 1),
        ("a: !mine x\n", 1),
        ("[" * 200_000, 1),
        ("- " * 100_000, 1),
    ],
)
def test_faults_are_named_with_their_line(text: str, line: int) -> None:
    """Nesting without end crashes PyYAML's own loader: the process would be gone."""
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert caught.value.line == line
    assert caught.value.reason


def test_aliases_cannot_make_a_small_file_large() -> None:
    """Ten levels of ten aliases each stand for ten thousand million values."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(YamlError, match="aliases"):
        parse_yaml("\n".join(levels))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(PLAIN)
def test_what_yaml_writes_is_read_back(tree: object) -> None:
    """PyYAML writes, this product reads."""
    found = value(yaml.safe_dump(tree))
    assert found == tree or (isinstance(tree, float) and isinstance(found, float) and math.isclose(found, tree))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but `YamlError` comes out."""
    try:
        documents = parse_yaml(text)
    except YamlError:
        return
    assert all(line >= 1 for line, _ in documents)
