"""Log lines: their two forms, levels, and the limit on repeats."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipvsagent.log import RepeatLimit, StructuredLogger, configure
from ipvsagent.model.objects import ObjectKey

Capture = pytest.CaptureFixture[str]


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Iterator[StructuredLogger]:
    """A logger; Python's logging is as before afterwards."""
    logger = logging.getLogger("ipvsagent")
    before = (logger.handlers[:], logger.propagate, logger.level)
    yield StructuredLogger(limit=RepeatLimit(clock))
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


def lines(capsys: Capture) -> list[str]:
    """What was written on stderr, without the time."""
    return [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]


def test_text_lines_quote_values_that_hold_blanks(log: StructuredLogger, capsys: Capture) -> None:
    """One line an event, whatever the values hold."""
    configure()
    log.info("set grown", set="KUBE-CLUSTER-IP", size=131072, note='two words, "quoted"\nand a line', empty="")
    assert lines(capsys) == [
        'info: set grown set=KUBE-CLUSTER-IP size=131072 note="two words, \\"quoted\\"\\nand a line" empty=""'
    ]


def test_json_lines_are_objects_with_the_fields_in_them(log: StructuredLogger, capsys: Capture) -> None:
    """CFG-12: numbers stay numbers, objects become text, a field cannot hide the level."""
    configure(log_format="json")
    log.warning(
        "not written", item=ObjectKey("shop", "web"), count=3, done=False, error=None, level="x", path=Path("/a")
    )
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning",
        "message": "not written",
        "item": "shop/web",
        "count": 3,
        "done": False,
        "error": None,
        "field_level": "x",
        "path": "/a",
    }


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("error", ["error"]),
        ("warning", ["warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
    ],
)
def test_level_chooses_the_lines(log: StructuredLogger, capsys: Capture, level: str, words: list[str]) -> None:
    """CFG-12."""
    configure(level=level)
    log.debug("a line")
    log.info("a line")
    log.warning("a line")
    log.error("a line")
    assert lines(capsys) == [f"{word}: a line" for word in words]


def test_format_and_level_can_change_while_running(log: StructuredLogger, capsys: Capture) -> None:
    """A reload applies them; no line is written twice."""
    configure()
    configure(log_format="json", level="debug")
    log.debug("a line")
    assert json.loads(capsys.readouterr().err)["message"] == "a line"


def test_the_same_warning_is_written_three_times_a_minute(log: StructuredLogger, clock: Clock, capsys: Capture) -> None:
    """The others are counted, and the count is written after a minute."""
    configure()
    for _ in range(1000):
        log.warning("not written, will be retried", item="10.96.0.1:80/TCP")
    log.warning("not written, will be retried", item="10.96.0.2:80/TCP")
    assert lines(capsys) == [
        *["warning: not written, will be retried item=10.96.0.1:80/TCP"] * 3,
        "warning: not written, will be retried item=10.96.0.2:80/TCP",
    ]
    clock.now += 60
    log.info("something else")
    log.warning("not written, will be retried", item="10.96.0.1:80/TCP")
    assert lines(capsys) == [
        'warning: lines were left out repeated="not written, will be retried" count=997',
        "info: something else",
        "warning: not written, will be retried item=10.96.0.1:80/TCP",
    ]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_message_with_ever_other_fields_is_written_twenty_times_a_minute(
    log: StructuredLogger, capsys: Capture, level: str
) -> None:
    """Ten thousand Services that fail at once do not fill the disk; other messages are not held back."""
    configure()
    for number in range(10_000):
        getattr(log, level)("written after a failure", item=number)
    log.info("something else")
    assert lines(capsys) == [
        *(f"{level}: written after a failure item={n}" for n in range(20)),
        "info: something else",
    ]


def test_what_happened_again_is_no_repeat(log: StructuredLogger, capsys: Capture) -> None:
    """The same information twice means two events; lines about single objects are never limited."""
    configure(level="debug")
    for _ in range(10):
        log.info("configuration applied", scheduler="rr")
    for _ in range(30):
        log.debug("planned")
    assert len(lines(capsys)) == 40
