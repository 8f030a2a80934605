"""What the runner prints: one live line on a terminal, a line a minute in a log, and every failure when it happens."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from lab.suite.outcome import Outcome
from lab.suite.worker import Worker

_LOG_PERIOD_SECONDS = 60.0
_LIVE_PERIOD_SECONDS = 0.5
_SHOWN_LINES = 120
_SLOWEST = 10


class Display:
    """Prints the progress of a run.

    Args:
        failures: folder for the full text of each failure.
    """

    def __init__(self, failures: Path, stream: TextIO = sys.stdout) -> None:
        self._failures = failures
        self._stream = stream
        self._live = stream.isatty()
        self._last = time.monotonic()
        self._began = self._last

    def progress(self, *, done: int, total: int, failed: int, left_seconds: float, workers: Sequence[Worker]) -> None:
        """Print the progress if it is time to."""
        now = time.monotonic()
        if now - self._last < (_LIVE_PERIOD_SECONDS if self._live else _LOG_PERIOD_SECONDS):
            return
        self._last = now
        line = f"{_clock(now - self._began)}  {done} of {total or '?'} tests, {failed} failed"
        if left_seconds > 0:
            line += f", about {_clock(left_seconds)} left"
        running = [(worker.running.since, worker.running.name, worker.name) for worker in workers if worker.running]
        if running:
            since, test, worker = min(running)
            line += f"; longest: {test.rpartition('/')[2]} ({worker}, {now - since:.0f} s)"
        self._print_live(line) if self._live else self.say(line)

    def say(self, text: str) -> None:
        """Print lines that stay."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def failure(self, outcome: Outcome) -> None:
        """Print a failure: what, why, where all of it stands and how to repeat it."""
        self._failures.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]+", "_", outcome.test.removeprefix("tests/"))[:150]
        path = self._failures / f"{outcome.kind.name}-{name}.txt"
        path.write_text(outcome.text, encoding="utf-8")
        lines = outcome.text.rstrip().splitlines()
        cut = len(lines) - _SHOWN_LINES
        if cut > 0:
            half = _SHOWN_LINES // 2
            lines = [*lines[:half], f"... {cut} lines are left out here ...", *lines[-half:]]
        head = f"{outcome.outcome.upper()} {outcome.test} ({outcome.worker}, {outcome.seconds:.1f} s)"
        tail = [f"log: {path}", f"repeat: {outcome.kind.command_to_repeat(outcome.test)}"]
        self.say("\n".join([head, *(f"    {line}" for line in lines), *tail, ""]))

    def summary(self, outcomes: Sequence[Outcome]) -> None:
        """Print the slowest tests, the failures once more, and the counts as the last line."""
        self.say(f"\nslowest {_SLOWEST}:")
        for outcome in sorted(outcomes, key=lambda o: -o.seconds)[:_SLOWEST]:
            self.say(f"  {outcome.seconds:7.1f} s  {outcome.kind.name:8} {outcome.test}")
        bad = [outcome for outcome in outcomes if outcome.bad]
        if bad:
            self.say("\nfailed:")
        for outcome in bad:
            self.say(f"  {outcome.test} ({outcome.worker})\n      {outcome.kind.command_to_repeat(outcome.test)}")
        for name in dict.fromkeys(outcome.kind.name for outcome in outcomes):
            found = [outcome for outcome in outcomes if outcome.kind.name == name]
            self.say(f"{name}: {len(found)} tests, {sum(o.seconds for o in found):.0f} s of tests")
        self.say(f"time: {_clock(time.monotonic() - self._began)}")
        skipped = sum(outcome.outcome == "skipped" for outcome in outcomes)
        counts = f"{len(outcomes) - len(bad) - skipped} passed, {len(bad)} failed"
        self.say(f"{counts}, {skipped} skipped" if skipped else counts)

    def _print_live(self, line: str) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{line[: width - 1]}")
        self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
