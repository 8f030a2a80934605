"""How long the tests of the guests take, as the last recorded runs had it.

    python -m lab.test_durations uml lab/out/kernel-uml.xml [REPORT...]     # merges reports into the record

The record names seconds for each test in each kind of guest. `make test` begins with the files that take longest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "kernel" / "durations.json"
KINDS = ("uml", "qemu")


def load(kind: str, path: Path = RECORD) -> dict[str, float]:
    """Return the seconds that each test takes, by its identifier in pytest; nothing where there is no record."""
    if not path.exists():
        return {}
    record: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return record.get(kind, {})


def read_report(text: str) -> dict[str, float]:
    """Return the seconds of the tests in a JUnit report; those that failed or did not run are left out."""
    found = {}
    for case in ET.fromstring(text).iter("testcase"):
        if not any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
            file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
            found[f"{file}::{case.get('name')}"] = round(float(case.get("time", 0)), 1)
    return found


def merge(record: Mapping[str, float], report: Mapping[str, float]) -> dict[str, float]:
    """Return the record with the tests of a report replaced, in the order of their names."""
    return dict(sorted({**record, **report}.items()))


def main(words: list[str]) -> int:
    """Merge reports into the record; the exit code is 2 for wrong usage."""
    if len(words) < 2 or words[0] not in KINDS:
        print(f"usage: python -m lab.test_durations {'|'.join(KINDS)} REPORT...", file=sys.stderr)
        return 2
    record = {kind: load(kind) for kind in KINDS}
    for name in words[1:]:
        record[words[0]] = merge(record[words[0]], read_report(Path(name).read_text(encoding="utf-8")))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
