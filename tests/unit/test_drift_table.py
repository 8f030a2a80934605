"""The table of drift in the documentation is made from the reports of test runs."""

from __future__ import annotations

from lab.drift_table import PAGE, Repair, fill, read_report, table, too_slow

REPORT = """<testsuites><testsuite>
<testcase name="test_drift_is_repaired[a set flushed]"><properties><property name="seconds" value="1.1"/>
<property name="bar" value="2"/></properties>
</testcase>
<testcase name="test_drift_is_repaired[an address removed]">
<properties><property name="seconds" value="0.2"/><property name="bar" value="2"/></properties>
</testcase>
<testcase name="test_drift_is_repaired[a jump removed]"><failure/><properties><property name="seconds" value="9"/>
</properties></testcase>
<testcase name="test_something_else"><properties><property name="seconds" value="3"/></properties></testcase>
</testsuite></testsuites>"""


def test_a_report_becomes_a_table_and_the_rest_of_the_page_stays() -> None:
    """Only what passed counts, the quickest first."""
    column = read_report(REPORT)
    assert column == {"a set flushed": Repair(1.1, 2), "an address removed": Repair(0.2, 2)}
    columns = {"here": column, "there": {"a set flushed": Repair(5.5, 5)}}
    lines = table(columns)
    assert lines == [
        "| Drift | here: seconds | there: seconds |",
        "| --- | --- | --- |",
        "| an address removed | 0.2 of 2 |  |",
        "| a set flushed | 1.1 of 2 | 5.5 of 5 |",
    ]
    assert too_slow(columns) == ["a set flushed: 5.5 of 5 s (there)"]
    page = "# Drift\n\n| Drift | Seconds |\n|---|---|\n| old | 1 |\n\nAfter it.\n"
    assert fill(page, lines) == "# Drift\n\n" + "\n".join(lines) + "\n\nAfter it.\n"


def test_the_page_has_the_table_that_is_filled() -> None:
    """`make drift-table` finds it."""
    lines = table({"x": {"d": Repair(1.0, 2)}})
    assert "\n".join(lines) in fill(PAGE.read_text(encoding="utf-8"), lines)
