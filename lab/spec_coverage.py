"""`make coverage-spec`: compare the rules of docs/developer/behaviour with the IDs that are cited.

A row of a table that begins with an ID defines a rule. Two things are errors:

- code, tests or documentation cite an ID that has no rule;
- no test cites a rule. A test cites a rule in its docstring: ``EP-05``, ``EP-05 to EP-10`` for a range, ``IPT-23`` for
  IPT-23a to IPT-23c.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "developer" / "behaviour"
PLACES = ("src", "tests", "docs", "lab", "bench", "charts", "examples")
"""Folders in which an ID must have a rule."""

_EXAMPLES = frozenset({"lab/spec_coverage.py", "tests/docs/test_rules.py"})  # their IDs are examples
_TEXTS = frozenset({".py", ".md", ".yaml", ".yml", ".sh", ".tpl", ".txt", ".json"})
_ID = r"([A-Z]{2,4})-(\d{2})([a-z]?)"
_CITATION = re.compile(rf"\b{_ID}\b(?:\s+to\s+{_ID}\b)?")
_ROW = re.compile(r"\|\s*([A-Z]+-[^\s|]*)\s*\|")


class RuleId(NamedTuple):
    """The ID of a rule: prefix, number, and for a few rules a letter."""

    prefix: str
    number: int
    letter: str

    @classmethod
    def parse(cls, text: str) -> RuleId:
        """Read an ID.

        Raises:
            ValueError: the text is not an ID.
        """
        found = re.fullmatch(_ID, text)
        if found is None:
            raise ValueError(f"not a rule ID: {text}")
        return cls(found[1], int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.prefix}-{self.number:02}{self.letter}"


class Citation(NamedTuple):
    """One cited rule, or a range of rules."""

    first: RuleId
    last: RuleId

    def names(self, rule: RuleId) -> bool:
        """Return whether the range contains a rule; an ID without a letter contains all letters."""
        if rule.prefix != self.first.prefix or not self.first.number <= rule.number <= self.last.number:
            return False
        if rule.number == self.first.number and rule.letter < self.first.letter:
            return False
        return not (rule.number == self.last.number and self.last.letter and rule.letter > self.last.letter)


def rules(pages: Iterable[str]) -> list[RuleId]:
    """Return the rules that the tables of pages define.

    Raises:
        ValueError: an ID is malformed or is defined twice.
    """
    found: list[RuleId] = []
    for line in (line for page in pages for line in page.splitlines()):
        row = _ROW.match(line)
        if row:
            rule = RuleId.parse(row[1])
            if rule in found:
                raise ValueError(f"defined twice: {rule}")
            found.append(rule)
    return found


def citations(text: str) -> Iterator[Citation]:
    """Yield every rule and every range of rules that a text cites."""
    for found in _CITATION.finditer(text):
        first = RuleId(found[1], int(found[2]), found[3])
        yield Citation(first, RuleId(found[4], int(found[5]), found[6]) if found[4] else first)


def docstrings(folder: Path) -> Iterator[str]:
    """Yield the docstrings of all test functions below a folder."""
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield ast.get_docstring(node) or ""


def without_test(defined: Iterable[RuleId], cited: Iterable[Citation]) -> list[RuleId]:
    """Return the rules that no citation names."""
    cited = list(cited)
    return [rule for rule in defined if not any(citation.names(rule) for citation in cited)]


def without_rule(defined: Iterable[RuleId], text: str) -> list[str]:
    """Return the IDs that a text cites and that have no rule, sorted."""
    defined = list(defined)
    cited = {end for citation in citations(text) for end in citation}
    return sorted(str(end) for end in cited if not any(Citation(end, end).names(rule) for rule in defined))


def defined_rules() -> list[RuleId]:
    """Return the rules of this repository."""
    return rules(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md")))


def cited_by_tests() -> set[Citation]:
    """Return what the docstrings of this repository's tests cite."""
    return {citation for text in docstrings(ROOT / "tests") for citation in citations(text)}


def unknown_citations() -> dict[str, list[str]]:
    """Return the IDs without a rule, by the file of this repository that cites them."""
    defined = defined_rules()
    found: dict[str, list[str]] = {}
    for path in _texts():
        name = str(path.relative_to(ROOT))
        if name not in _EXAMPLES and (ids := without_rule(defined, path.read_text(encoding="utf-8"))):
            found[name] = ids
    return found


def _texts() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*")):
            if path.suffix in _TEXTS and path.is_file() and "out" not in path.parts:
                yield path


def main() -> int:
    """Print the errors and the sums."""
    defined = defined_rules()
    missing = without_test(defined, cited_by_tests())
    for rule in missing:
        print(f"no test cites {rule}", file=sys.stderr)
    unknown = unknown_citations()
    for name, ids in unknown.items():
        print(f"{name}: no rule for {', '.join(ids)}", file=sys.stderr)
    print(f"{len(defined) - len(missing)} of {len(defined)} rules are cited by a test")
    return 1 if missing or unknown else 0


if __name__ == "__main__":
    sys.exit(main())
