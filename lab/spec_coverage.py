"""`make coverage-spec`: which rules of the behaviour specification no test cites, by section.

A test cites a rule by its ID in its docstring: ``EP-05``, ``EP-05 to EP-10`` for all between, ``IPT-23`` for all of
IPT-23a to IPT-23c. An ID that is not in ``tests/spec_rules.txt`` but has the prefix of one that is, is a slip: it is
named, and the exit status is 1. Rules without a test are no error: some concern parts that have no code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1] / "tests"
_ID = r"([A-Z]{2,4})-(\d+)([a-z]?)"
_CITATION = re.compile(rf"\b{_ID}(?:\s+to\s+{_ID})?\b")
_RULE = re.compile(rf"{_ID}\s+(.*)")


class RuleId(NamedTuple):
    """The ID of a rule: prefix, number and, seldom, a letter."""

    prefix: str
    number: int
    letter: str

    def __str__(self) -> str:
        return f"{self.prefix}-{self.number:02}{self.letter}"


class Section(NamedTuple):
    """A section of the specification: its heading and the first words of each rule."""

    heading: str
    rules: dict[RuleId, str]


class Citation(NamedTuple):
    """What a docstring names: one rule, or all from the first to the last."""

    first: RuleId
    last: RuleId

    def names(self, rule: RuleId) -> bool:
        """Whether a rule is among those named; an ID without letter names all letters."""
        if rule.prefix != self.first.prefix or not self.first.number <= rule.number <= self.last.number:
            return False
        if rule.number == self.first.number and rule.letter < self.first.letter:
            return False
        return not (rule.number == self.last.number and self.last.letter and rule.letter > self.last.letter)


def parse_rules(text: str) -> list[Section]:
    """Read the list of rules.

    Raises:
        ValueError: a line is neither a heading nor a rule, or an ID stands twice.
    """
    sections: list[Section] = []
    seen: set[RuleId] = set()
    for line in text.splitlines():
        if line.startswith("## "):
            sections.append(Section(line.removeprefix("## "), {}))
        elif line.strip() and not line.startswith("#"):
            found = _RULE.fullmatch(line)
            if found is None or not sections:
                raise ValueError(f"not a rule: {line}")
            rule = RuleId(found[1], int(found[2]), found[3])
            if rule in seen:
                raise ValueError(f"stands twice: {rule}")
            seen.add(rule)
            sections[-1].rules[rule] = found[4]
    return sections


def citations(docstring: str) -> Iterator[Citation]:
    """Every rule or range of rules that a docstring names."""
    for found in _CITATION.finditer(docstring):
        first = RuleId(found[1], int(found[2]), found[3])
        yield Citation(first, RuleId(found[4], int(found[5]), found[6]) if found[4] else first)


def docstrings(folder: Path) -> Iterator[str]:
    """The docstrings of all test functions below a folder."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield ast.get_docstring(node) or ""


def without_test(sections: Iterable[Section], cited: Iterable[Citation]) -> list[Section]:
    """The sections reduced to the rules that nobody cites; sections without any are left out."""
    cited = list(cited)
    left = [
        Section(s.heading, {r: words for r, words in s.rules.items() if not any(c.names(r) for c in cited)})
        for s in sections
    ]
    return [s for s in left if s.rules]


def unknown(sections: Iterable[Section], cited: Iterable[Citation]) -> list[str]:
    """Cited IDs that are no rule although their prefix is one of the list's, sorted."""
    rules = [r for s in sections for r in s.rules]
    prefixes = {r.prefix for r in rules}
    ends = {end for c in cited for end in c if end.prefix in prefixes}
    return sorted(str(e) for e in ends if not any(Citation(e, e).names(r) for r in rules))


def main() -> int:
    """Print rules without a test, then the sums."""
    sections = parse_rules((TESTS / "spec_rules.txt").read_text(encoding="utf-8"))
    cited = {c for text in docstrings(TESTS) for c in citations(text)}
    missing = without_test(sections, cited)
    for section in missing:
        print(f"\n{section.heading}: {len(section.rules)} without a test")
        for rule, words in section.rules.items():
            print(f"  {rule!s:8} {words}")
    total = sum(len(s.rules) for s in sections)
    print(f"\n{total - sum(len(s.rules) for s in missing)} of {total} rules are cited by a test")
    slips = unknown(sections, cited)
    if slips:
        print(f"cited by a test but no rule: {', '.join(slips)}", file=sys.stderr)
    return 1 if slips else 0


if __name__ == "__main__":
    sys.exit(main())
