"""What is said about others has a source, and figures are those that were measured."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise

import pytest

from docs.pages import DOCS, ROOT

sys.path.insert(0, str(ROOT))  # `bench` is a folder of the repository, not of the package

from bench import comparison, report
from lab.spec_coverage import defined_rules

TEXT = (ROOT / comparison.PAGE).read_text(encoding="utf-8")
LEGEND = {"measured", "code", "guide", "virtual IPs", "nftables mode", "KEP-5495", "KEP-6032"}
RESULTS = json.loads((ROOT / "bench" / "results.json").read_text(encoding="ascii"))


def _rows() -> list[list[str]]:
    """The rows of all tables whose last column is the source."""
    rows: list[list[str]] = []
    inside = False
    for before, line in pairwise(["", *TEXT.splitlines()]):
        if line.startswith("|") and not before.startswith("|"):
            inside = line.endswith("| Source |")
        elif inside and line.startswith("|") and not line.startswith("|---"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_tables_with_sources_are_found() -> None:
    """Three of them; what the tests below rely on."""
    assert TEXT.count("| Source |\n") == 3
    assert len(_rows()) > 30


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0])
def test_each_statement_has_a_source_that_exists(row: list[str]) -> None:
    """A rule that tests cite, a test in a guest, a measurement, or something public that the page names."""
    rules = {str(rule) for rule in defined_rules()}
    sources = set(row[-1].split(", "))
    assert sources != {""}
    tests = {source for source in sources if source.startswith("test_")}
    assert all((ROOT / "tests/kernel" / test).is_file() for test in tests)
    assert sources - tests - rules <= LEGEND


def test_each_kind_of_source_is_explained() -> None:
    """In the first table."""
    explained = TEXT.partition("\n## ")[0]
    assert [word for word in LEGEND if word not in explained] == []


def test_another_measurement_changes_the_figures() -> None:
    """Nobody types them. That the page is up to date, the test of all generated files says."""
    other = json.loads(json.dumps(RESULTS))
    other["native"]["nodes"][-1]["programmed_mebibytes"] = 777
    assert comparison.with_figures(TEXT, RESULTS) == TEXT
    assert "| 777 MiB |" in comparison.with_figures(TEXT, other)
    assert "777 MiB" in report.page(other)


def test_no_other_page_has_figures_of_the_measurement() -> None:
    """They would be typed by hand, and grow old."""
    figures = {f"{one['programmed_mebibytes']:.0f} MiB" for one in RESULTS["native"]["nodes"]}
    for page in [*DOCS.rglob("*.md"), ROOT / "charts/ipvsagent/values.yaml", ROOT / "README.md"]:
        if page not in {DOCS / "benchmarks.md", ROOT / comparison.PAGE}:
            text = page.read_text(encoding="utf-8")
            assert [figure for figure in figures if re.search(rf"\b{figure}", text)] == [], page
