"""Starts workers, follows what they report, ends those that hang and lets others do what is left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab.speed import factor
from lab.suite.display import Display
from lab.suite.exchange import Event, Exchange, Unit
from lab.suite.outcome import Outcome
from lab.suite.worker import Kind, Test, Worker

SILENCE_SECONDS = 180.0
"""How long no test of a worker may end; scaled by how much slower than usual the worker's machine is."""
BOOT_SECONDS = 420.0
"""How long a worker may take until its first test starts; scaled by how much slower than usual this machine is."""
_MOST_EMPTY_STARTS = 2
_ENOUGH_SECONDS = 20.0  # of recorded tests, to tell how far the record is off
_POLL_SECONDS = 0.2


@dataclass(slots=True)
class _Progress:
    """One kind of worker during a run.

    Attributes:
        collected: the tests that there are; empty until a worker has collected them.
        done: tests that have ended or were given up.
        started: how many workers were started.
        empty_starts: how many workers in a row ended before a test did.
        slowness: how many times slower than usual its machine is.
        took_seconds: how long the tests took that have ended.
    """

    kind: Kind
    exchange: Exchange
    seconds: Mapping[str, float]
    units: list[Unit]
    collected: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    started: int = 0
    empty_starts: int = 0
    slowness: float = 1.0
    took_seconds: float = 0.0

    def left_seconds(self) -> float:
        """Estimate how long the rest takes with all its workers, from the record and how far the tests so far were off.

        A test without a record takes a moment.
        """
        expected = self._recorded(self.done)
        pace = self.took_seconds / expected if expected > _ENOUGH_SECONDS else 1.0
        return self._recorded(self.collected - self.done) * pace / self.kind.workers

    def _recorded(self, tests: set[str]) -> float:
        return sum(self.seconds.get(test, 0.05) for test in tests)


class Runner:
    """One run of the suite.

    Args:
        folder: for everything that workers write.
        seconds: recorded durations of tests, by kind.
        silence_seconds: how long no test of a worker may end.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        folder: Path,
        display: Display,
        seconds: Mapping[str, Mapping[str, float]],
        *,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._display = display
        self._silence_seconds = silence_seconds
        with ThreadPoolExecutor() as pool:  # each waits for a program that collects tests
            made = pool.map(lambda kind: _new_progress(kind, folder / kind.name, seconds.get(kind.name, {})), kinds)
            self._progress = {progress.kind.name: progress for progress in made}
        self._workers: list[Worker] = []
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        """Run until every test has ended or was given up."""
        try:
            for progress in self._progress.values():
                for _ in range(min(progress.kind.workers, len(progress.units))):
                    self._start(progress)
            while self._workers:
                time.sleep(_POLL_SECONDS)
                for worker in list(self._workers):
                    self._follow(worker)
                self._show()
            for progress in self._progress.values():
                self._report_missing(progress)
        finally:
            for worker in self._workers:
                worker.stop()

    def _start(self, progress: _Progress) -> None:
        progress.started += 1
        worker = Worker.start(progress.kind, progress.started, progress.exchange, silence_seconds=self._silence_seconds)
        self._workers.append(worker)

    def _show(self) -> None:
        every = self._progress.values()
        self._display.progress(
            done=len(self.outcomes),
            total=0 if any(not p.collected for p in every) else sum(len(p.collected) for p in every),
            failed=sum(o.bad for o in self.outcomes),
            left_seconds=max(p.left_seconds() for p in every),
            workers=self._workers,
        )

    # -- one worker --------------------------------------------------------------------------------------------

    def _follow(self, worker: Worker) -> None:
        over = worker.process.poll() is not None  # looked at first: what it reported before is read below
        for event in worker.events():
            self._take(worker, event)
        if over:
            self._workers.remove(worker)
            if not worker.finished:
                self._replace(worker, f"ended with status {worker.process.returncode}")
            return
        progress = self._progress[worker.kind.name]
        limit = self._silence_seconds * progress.slowness if worker.running or worker.ended else BOOT_SECONDS * factor()
        if worker.silent_for() > limit:
            worker.dump_where_it_stands()
            worker.stop()
            self._workers.remove(worker)
            self._replace(worker, f"was ended: no test has ended for {limit:.0f} s")

    def _take(self, worker: Worker, event: Event) -> None:
        progress, data = self._progress[worker.kind.name], event.data
        match event.what:
            case "collected":
                progress.collected |= set(data["tests"])
                progress.slowness = max(progress.slowness, data["slowness"])
            case "claimed":
                worker.claimed.append(data["unit"])
            case "started":
                worker.running = Test(data["test"], time.monotonic())
            case "ended":
                worker.running = None
                worker.ended += 1
                progress.empty_starts = 0
                properties = tuple((str(k), str(v)) for k, v in data["properties"])
                self._note(
                    worker, data["test"], data["outcome"], data["seconds"], text=data["text"], properties=properties
                )
            case "finished":
                worker.finished = True

    def _note(
        self,
        worker: Worker,
        test: str,
        outcome: str,
        seconds: float,
        *,
        text: str,
        properties: tuple[tuple[str, str], ...] = (),
    ) -> None:
        noted = Outcome(worker.kind, worker.name, test, outcome, seconds, text, properties)
        progress = self._progress[worker.kind.name]
        progress.done.add(test)
        progress.took_seconds += seconds
        self.outcomes.append(noted)
        if noted.bad:
            self._display.failure(noted)

    def _replace(self, worker: Worker, why: str) -> None:
        """Blame the test that ran, and start another worker for what is left."""
        progress = self._progress[worker.kind.name]
        self._display.say(f"{worker.name} {why}; its log: {worker.log}")
        if worker.running:
            parts = (
                f"{worker.name} {why} while this test ran",
                worker.where_it_stood(),
                "--- log ---",
                worker.last_lines(40),
            )
            text = "\n".join(parts)
            self._note(worker, worker.running.name, "error", time.monotonic() - worker.running.since, text=text)
        if not worker.ended:
            progress.empty_starts += 1
        if progress.empty_starts >= _MOST_EMPTY_STARTS:
            self._display.say(f"{worker.name} is not replaced; the end of its log:\n{worker.last_lines(10)}")
            return
        claimed = [unit for unit in progress.units if unit.name in worker.claimed]
        rest = [Unit(f"{u.name}+", u.file, tuple(_in_file(progress.done, u.file))) for u in claimed]
        progress.units = [*rest, *(unit for unit in progress.units if unit not in claimed)]
        progress.exchange.create(progress.units)
        if any(self._has_work(progress, unit) for unit in progress.units):
            self._start(progress)

    @staticmethod
    def _has_work(progress: _Progress, unit: Unit) -> bool:
        if progress.exchange.claimed(unit):
            return False
        return not progress.collected or bool(set(_in_file(progress.collected, unit.file)) - progress.done)

    def _report_missing(self, progress: _Progress) -> None:
        """Let tests fail that did not run, and a kind of which not even the tests are known."""
        missing = sorted(progress.collected - progress.done)
        if not progress.collected:
            missing = [f"all tests of {progress.kind.name}"]
        for test in missing:
            noted = Outcome(progress.kind, progress.kind.name, test, "error", 0.0, "this test did not run")
            self.outcomes.append(noted)
            self._display.failure(noted)


def _in_file(tests: set[str], file: str) -> list[str]:
    return sorted(test for test in tests if test.partition("::")[0] == file)


def _new_progress(kind: Kind, folder: Path, seconds: Mapping[str, float]) -> _Progress:
    """Make the exchange of a kind: the files that took longest are claimed first."""
    by_file: Counter[str] = Counter()
    for test, value in seconds.items():
        by_file[test.partition("::")[0]] += round(1000 * value)
    files = sorted(kind.files(), key=lambda file: -by_file[file])
    units = [Unit(file.removesuffix(".py").replace("/", "."), file) for file in files]
    exchange = Exchange(folder)
    exchange.create(units)
    return _Progress(kind, exchange, seconds, units)
