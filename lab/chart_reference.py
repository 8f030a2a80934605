"""`make reference`: write the table of values in the chart's README from the comments of its values.yaml.

A comment that begins with ``# -- `` describes the key below it, with all that the key holds. Every value must have one,
its own or that of a key above it. ``--check`` writes nothing and fails if the table is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

CHART = Path(__file__).parents[1] / "charts" / "ipvsagent"
README = CHART / "README.md"
VALUES = CHART / "values.yaml"

_MARKS = re.compile(r"(<!-- generated: values -->\n).*?(<!-- end -->)", re.DOTALL)
_FIRST = re.compile(r"\s*# -- (.*)")
_NEXT = re.compile(r"\s*# (.*)")


class Value(NamedTuple):
    """One value of the chart: its path with dots, what it is by default, and what it does."""

    path: str
    default: object
    description: str


def chart_values(text: str) -> list[Value]:
    """All values of a values.yaml, in its order.

    Raises:
        ValueError: a value without a comment.
    """
    return list(_values(yaml.compose(text, yaml.SafeLoader), text.splitlines(), ""))


def _values(node: yaml.Node | None, lines: list[str], path: str) -> Iterator[Value]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path or 'the file'}: has no comment `# -- `")
    for key, value in node.value:
        below = f"{path}.{key.value}" if path else key.value
        description = _comment_above(lines, key.start_mark.line)
        if description is None:
            yield from _values(value, lines, below)
        else:
            yield Value(below, yaml.safe_load(yaml.serialize(value)), description)


def _comment_above(lines: list[str], line: int) -> str | None:
    """The text of the comment that ends above a line; None if there is none that begins with ``# -- ``."""
    words: list[str] = []
    for text in reversed(lines[:line]):
        first, further = _FIRST.fullmatch(text), _NEXT.fullmatch(text)
        if first:
            return " ".join([first[1], *words])
        if not further:
            return None
        words.insert(0, further[1])
    return None


def table(values: list[Value]) -> str:
    """A Markdown table."""
    rows = [f"| `{v.path}` | `{json.dumps(v.default)}` | {v.description} |\n" for v in values]
    return "".join(["| Value | Default | What it does |\n", "|---|---|---|\n", *rows])


def generated() -> str:
    """The README with a new table."""
    new = table(chart_values(VALUES.read_text(encoding="utf-8")))
    return _MARKS.sub(lambda marks: marks[1] + new + marks[2], README.read_text(encoding="utf-8"))


def main(words: list[str]) -> int:
    """Write the README, or say that it is out of date."""
    text = generated()
    if README.read_text(encoding="utf-8") == text:
        return 0
    print(README)
    if "--check" in words:
        return 1
    README.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
