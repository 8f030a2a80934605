"""The part of the suite that runs in a worker's pytest: ``-p lab.suite.plugin``.

It runs the files that it can claim instead of all that were collected, reports every test as it ends, and writes
down where a test hangs before the runner ends the guest.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.speed import factor
from lab.suite.exchange import FOLDER_VARIABLE, SILENCE_VARIABLE, WORKER_VARIABLE, EventWriter, Exchange

_NOTICE_SECONDS = 20.0  # the watchdog writes so long before the runner ends a guest
_LOG_LINES = 60


class SuitePlugin:
    """One worker.

    Args:
        silence_seconds: how long a test may take until the runner ends this worker.
    """

    def __init__(self, exchange: Exchange, worker: str, silence_seconds: float) -> None:
        self._exchange = exchange
        self._events = EventWriter(exchange.events_of(worker))
        self._watchdog = Watchdog(exchange.stuck(worker), silence_seconds * factor() - _NOTICE_SECONDS)
        self._reports: list[pytest.TestReport] = []

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to watch for silence."""
        self._watchdog.watch(session)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell the runner which tests there are."""
        self._events.write("collected", tests=[item.nodeid for item in session.items], slowness=factor())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Report a file that cannot be imported as a test that failed."""
        if report.failed:
            name = report.nodeid or "collection"
            self._events.write("started", test=name)
            self._events.write(
                "ended", test=name, outcome="error", seconds=0.0, text=report.longreprtext, properties=[]
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run what can be claimed."""
        if session.config.option.collectonly:
            return None
        items = self._claimed(session.items)
        item = next(items, None)
        while item is not None:
            following = next(items, None)  # claims its file, so that fixtures of the session live on
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
        return True

    def _claimed(self, items: list[pytest.Item]) -> Iterator[pytest.Item]:
        by_file: dict[str, list[pytest.Item]] = {}
        for item in items:
            by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
        for unit in self._exchange.units():
            found = [item for item in by_file.get(unit.file, []) if item.nodeid not in unit.skip]
            if found and self._exchange.claim(unit):
                self._events.write("claimed", unit=unit.name)
                yield from found

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Report that a test starts."""
        self._watchdog.sign_of_life()
        self._reports = []
        self._events.write("started", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report of a phase."""
        self._reports.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Report how a test ended."""
        self._watchdog.sign_of_life()
        self._events.write(
            "ended",
            test=nodeid,
            outcome=_outcome(self._reports),
            seconds=round(sum(r.duration for r in self._reports), 3),
            text=_text(self._reports),
            properties=[[str(k), str(v)] for k, v in (self._reports[-1].user_properties if self._reports else [])],
        )

    def pytest_sessionfinish(self) -> None:
        """Report that everything that could be claimed was run."""
        self._events.write("finished")


def _outcome(reports: list[pytest.TestReport]) -> str:
    failed = next((r for r in reports if r.failed), None)
    if failed is not None:
        return "failed" if failed.when == "call" else "error"
    return "skipped" if any(r.skipped for r in reports) else "passed"


def _text(reports: list[pytest.TestReport]) -> str:
    """Return what failed, and all that the test printed; the last phase has what was captured in all of them."""
    failed = [r for r in reports if r.failed or r.skipped]
    if not failed:
        return ""
    parts = [r.longreprtext for r in failed]
    parts += [f"--- {title} ---\n{content}" for title, content in reports[-1].sections]
    return "\n".join(parts)


class Watchdog(threading.Thread):
    """Writes down where the main thread stands when no test has ended for too long, with the agent's log.

    Args:
        limit_seconds: since the last sign of life.
    """

    def __init__(self, path: Path, limit_seconds: float) -> None:
        super().__init__(daemon=True, name="watchdog")
        self._path = path
        self._limit_seconds = limit_seconds
        self._last = time.monotonic()
        self._folder: Path | None = None
        self._written_for = -1.0

    def watch(self, session: pytest.Session) -> None:
        """Start to watch; natively the runner's SIGUSR1 takes the thread's part, since tests fork there."""
        if "IN_GUEST" not in os.environ:
            faulthandler.register(signal.SIGUSR1, file=self._path.open("a", encoding="utf-8"), all_threads=True)
            return
        factory = getattr(session.config, "_tmp_path_factory", None)  # pytest has no public way
        self._folder = factory.getbasetemp() if factory else None
        self.start()

    def sign_of_life(self) -> None:
        """Note that a test started or ended."""
        self._last = time.monotonic()

    def run(self) -> None:
        """Look once a second."""
        while True:
            time.sleep(1)
            last = self._last
            if time.monotonic() - last > self._limit_seconds and self._written_for != last:
                self._written_for = last
                self._write()

    def _write(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            for log in self._newest_logs():
                lines = log.read_text("utf-8", errors="replace").splitlines()[-_LOG_LINES:]
                file.write(f"\n--- the agent's log, {log} ---\n" + "\n".join(lines) + "\n")

    def _newest_logs(self) -> list[Path]:
        """Return what the agents of the newest test with agents have logged."""
        if self._folder is None:
            return []
        logs = sorted(self._folder.rglob("stderr"), key=lambda path: path.stat().st_mtime)
        return logs[-1:]


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the suite if the runner started this process."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        worker, silence = os.environ[WORKER_VARIABLE], float(os.environ[SILENCE_VARIABLE])
        config.pluginmanager.register(SuitePlugin(Exchange(Path(folder)), worker, silence), "suite")
