"""The record of how long tests take is made from the reports of test runs."""

from __future__ import annotations

import json
from pathlib import Path

from lab.test_durations import load, merge, read_report

REPORT = """<testsuites><testsuite>
<testcase classname="tests.kernel.test_drift" name="test_a[x]" time="2.04"/>
<testcase classname="tests.kernel.test_drift" name="test_b" time="1.5"/>
<testcase classname="tests.kernel.test_drift" name="test_c" time="150"><failure/></testcase>
<testcase classname="tests.contract.test_ipvs" file="tests/contract/test_ipvs.py" name="test_d" time="0.26"/>
</testsuite></testsuites>"""


def test_a_report_replaces_the_tests_that_it_has_and_failed_ones_do_not_count(tmp_path: Path) -> None:
    """Other tests keep what was recorded for them."""
    report = read_report(REPORT)
    assert report == {
        "tests/kernel/test_drift.py::test_a[x]": 2.0,
        "tests/kernel/test_drift.py::test_b": 1.5,
        "tests/contract/test_ipvs.py::test_d": 0.3,
    }
    before = {"tests/kernel/test_drift.py::test_b": 9.0, "tests/kernel/test_drift.py::test_c": 4.0}
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({"uml": merge(before, report)}), encoding="utf-8")
    assert load("uml", path) == {
        "tests/contract/test_ipvs.py::test_d": 0.3,
        "tests/kernel/test_drift.py::test_a[x]": 2.0,
        "tests/kernel/test_drift.py::test_b": 1.5,
        "tests/kernel/test_drift.py::test_c": 4.0,
    }
    assert load("qemu", path) == {}


def test_without_a_record_nothing_is_known(tmp_path: Path) -> None:
    """A first run works without it."""
    assert load("uml", tmp_path / "missing.json") == {}
