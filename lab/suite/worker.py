"""One worker: a pytest process on this machine or in a guest, as the runner sees it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.suite.exchange import FOLDER_VARIABLE, SILENCE_VARIABLE, WORKER_VARIABLE, Event, EventReader, Exchange

ROOT = Path(__file__).parents[2]
_PYTEST = (str(ROOT / ".venv/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "lab.suite.plugin")

_NICENESS_OF_FIRST = -5


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of worker.

    Attributes:
        guest: ``uml``, ``qemu``, or empty for this machine.
        workers: how many run side by side.
        patterns: globs of test files below the repository's root.
        excluded: folders among them that are left out.
        options: further words for pytest.
        environment: further variables of the worker.
        first: whether it comes before other workers, as the slowest ones should never wait. No worker comes after what
            else the machine does.
        repeat: the command that runs one test alone; ``{}`` stands for the test.
        root: the folder that patterns and files are relative to, in which workers run.
    """

    name: str
    guest: str
    workers: int
    patterns: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    first: bool = False
    repeat: str = ""
    root: Path = ROOT

    def files(self) -> list[str]:
        """Return the test files, relative to the root; for a guest only those of which it runs a test."""
        found = (path.relative_to(self.root).as_posix() for glob in self.patterns for path in self.root.glob(glob))
        files = sorted(f for f in set(found) if not f.startswith(self.excluded))
        return self._with_tests(files) if self.guest else files

    def _with_tests(self, files: list[str]) -> list[str]:
        """Collect here what a guest runs: the guest, many times slower, then reads few files, and those compiled.

        A mistake in a file is left to the guest's worker to report.
        """
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", FOLDER_VARIABLE)}
        done = subprocess.run(
            [*_PYTEST, *self.options, "--collect-only", *files],
            cwd=self.root,
            env={**kept, **dict(self.environment), "IN_GUEST": self.guest},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
        return [file for file in files if file in found] if done.returncode == 0 else files

    def command_to_repeat(self, test: str) -> str:
        """Return the command that runs one test alone."""
        return self.repeat.format(shlex.quote(test))


@dataclass(slots=True)
class Test:
    """A test that runs."""

    name: str
    since: float  # monotonic seconds


@dataclass(slots=True)
class Worker:
    """A started worker.

    Attributes:
        claimed: names of the units that it has claimed.
        running: the test that it runs.
        heard_at: monotonic seconds of its last event, or of its start.
        ended: how many tests have ended in it.
        finished: whether it has run everything that it could claim.
    """

    name: str
    kind: Kind
    log: Path
    exchange: Exchange
    process: subprocess.Popen[bytes]
    reader: EventReader
    heard_at: float
    claimed: list[str] = field(default_factory=list)
    running: Test | None = None
    ended: int = 0
    finished: bool = False

    @classmethod
    def start(cls, kind: Kind, number: int, exchange: Exchange, *, silence_seconds: float) -> Worker:
        """Start a worker that claims units from the exchange."""
        name = f"{kind.name}-{number}"
        log = exchange.folder / f"{name}.log"
        variables = {
            FOLDER_VARIABLE: str(exchange.folder),
            WORKER_VARIABLE: name,
            SILENCE_VARIABLE: f"{silence_seconds:g}",
            **dict(kind.environment),
        }
        words = [*_PYTEST, *kind.options, *sorted({unit.file for unit in exchange.units()})]
        if kind.guest:
            words = _in_guest(kind.guest, exchange.folder, variables, words)
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                cwd=kind.root,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if kind.first:
            _raise_priority(process.pid)
        return cls(name, kind, log, exchange, process, EventReader(exchange.events_of(name)), time.monotonic())

    def events(self) -> list[Event]:
        """Return what it has reported since the last call."""
        events = list(self.reader.read())
        if events:
            self.heard_at = time.monotonic()
        return events

    def silent_for(self) -> float:
        """Return the seconds since its last event."""
        return time.monotonic() - self.heard_at

    def dump_where_it_stands(self) -> None:
        """Have a worker on this machine write down where it stands; in a guest its watchdog has done so."""
        if not self.kind.guest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
            time.sleep(0.5)

    def stop(self) -> None:
        """End the process and everything that it started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def last_lines(self, count: int) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-count:])

    def where_it_stood(self) -> str:
        """Return what was written down about a test that hangs; empty if nothing was."""
        path = self.exchange.stuck(self.name)
        return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _raise_priority(process: int) -> None:
    """Let a worker come first, if root; where the kernel groups tasks by session, the weight of the group counts."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process, _NICENESS_OF_FIRST)
        Path(f"/proc/{process}/autogroup").write_text(str(_NICENESS_OF_FIRST), encoding="ascii")


def _in_guest(guest: str, folder: Path, variables: dict[str, str], words: Sequence[str]) -> list[str]:
    """Wrap a command so that it runs in a guest that may write to a folder."""
    inside = {**variables, "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis"}  # the guest sees this tree read-only
    settings = [f"{name}={value}" for name, value in inside.items()]
    return [str(ROOT / "lab/boot.sh"), "-k", guest, "-t", "0", "-o", str(folder), "--", "env", *settings, *words]
