"""Fill the table of ``docs/concepts/drift.md`` from the reports of the guest tests.

python -m lab.drift_table            # prints it
python -m lab.drift_table --write

`make test-kernel` and `make test-kernel-uml` leave their reports in ``lab/out``; each report
makes a column. The command fails if a repair exceeded its limit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "concepts" / "drift.md"
REPORTS = {"user-mode Linux, legacy tables": "kernel-uml.xml", "Debian's kernel in QEMU, nf_tables": "kernel.xml"}
_HEADING = "| Drift |"
_TEST = "test_drift_is_repaired["


class Repair(NamedTuple):
    """The duration of a repair and its limit, in seconds."""

    seconds: float
    bar: int

    def __str__(self) -> str:
        return f"{self.seconds} of {self.bar}"


def read_report(text: str) -> dict[str, Repair]:
    """Return the repairs by drift, from the tests that passed."""
    found = {}
    for case in ET.fromstring(text).iter("testcase"):
        name = case.get("name", "")
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        failed = case.find("failure") is not None or case.find("error") is not None
        if name.startswith(_TEST) and "seconds" in properties and not failed:
            repair = Repair(float(properties["seconds"]), int(properties["bar"]))
            found[name.removeprefix(_TEST).removesuffix("]")] = repair
    return found


def too_slow(columns: Mapping[str, Mapping[str, Repair]]) -> list[str]:
    """Return the repairs that exceeded their limit."""
    return [
        f"{drift}: {repair} s ({name})"
        for name, column in columns.items()
        for drift, repair in column.items()
        if repair.seconds > repair.bar
    ]


def table(columns: Mapping[str, Mapping[str, Repair]]) -> list[str]:
    """Return the lines of the table, sorted by the first column."""
    drifts = dict.fromkeys(drift for column in columns.values() for drift in column)
    first = next(iter(columns.values()))
    ordered = sorted(drifts, key=lambda drift: (first[drift].seconds if drift in first else inf, drift))
    rows = [[drift, *(str(column.get(drift, "")) for column in columns.values())] for drift in ordered]
    heading = ["Drift", *(f"{name}: seconds" for name in columns)]
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]


def fill(page: str, lines: list[str]) -> str:
    """Return the page with a new table."""
    before, heading, rest = page.partition(_HEADING)
    if not heading:
        raise SystemExit(f"{PAGE} has no table that begins with `{_HEADING}`")
    after = rest.splitlines()
    end = next((i for i, line in enumerate(after[1:], 1) if not line.startswith("|")), len(after))
    return before + "\n".join([*lines, *after[end:]]) + "\n"


def main() -> None:
    folder = ROOT / "lab" / "out"
    texts = {name: folder / file for name, file in REPORTS.items()}
    columns = {name: read_report(path.read_text(encoding="utf-8")) for name, path in texts.items() if path.exists()}
    columns = {name: column for name, column in columns.items() if column}
    if not columns:
        raise SystemExit(f"no report of `tests/kernel/test_drift.py` in {folder}: run `make test-kernel` first")
    page = fill(PAGE.read_text(encoding="utf-8"), table(columns))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)
    if slow := too_slow(columns):
        raise SystemExit("too slow: " + "; ".join(slow))


if __name__ == "__main__":
    main()
