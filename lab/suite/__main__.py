"""Run the tests: ``python -m lab.suite quick|all [KIND...]``.

quick  what `make test` runs: every test in the quickest place that can show what it says.
all    every test in every guest, and those of the data plane with the agent confined as in the chart, too.

Results are below ``lab/out``: a JUnit file for each kind of worker, ``tests.xml`` with all of them, the workers' logs
in ``suite`` and the full text of failures in ``failures``.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab.suite.display import Display
from lab.suite.outcome import write_junit
from lab.suite.runner import SILENCE_SECONDS, Runner
from lab.suite.worker import ROOT, Kind
from lab.test_durations import load

OUT = ROOT / "lab/out"
_GUEST_FILES = ("tests/kernel/test_*.py", "tests/contract/test_*.py")
_GIB = 1 << 30
_GUEST_BYTES = 3 * _GIB // 2
"""What a guest takes of this machine's memory; it is offered 2 GiB."""
_REPORTS = {"native": "native.xml", "uml": "kernel-uml.xml", "qemu": "kernel.xml", "confined": "kernel-confined.xml"}


def kinds(selection: str) -> list[Kind]:
    """Return the kinds of workers of a selection."""
    options = ("--guest-selection", selection)
    found = [
        Kind(
            "native",
            "",
            1,
            ("tests/**/test_*.py",),
            ("tests/kernel/", "tests/image/"),
            repeat=".venv/bin/python -m pytest {}",
        ),
        Kind("uml", "uml", 2, _GUEST_FILES, options=options, repeat="make test-kernel-uml TESTS={}"),
        Kind("qemu", "qemu", 1, _GUEST_FILES, options=options, first=True, repeat="make test-kernel TESTS={}"),
    ]
    if selection == "all":
        confined = Kind(
            "confined",
            "qemu",
            1,
            _GUEST_FILES[:1],
            options=options,
            environment=(("IPVSAGENT_CONFINED", "1"),),
            first=True,
            repeat="make test-kernel-confined TESTS={}",
        )
        found.append(confined)
    return found


def fitting(chosen: list[Kind], available_bytes: int) -> list[Kind]:
    """Let fewer guests of a kind run side by side where memory is short."""
    guests = sum(kind.workers for kind in chosen if kind.guest)
    spare = guests - max(1, available_bytes // _GUEST_BYTES)
    return [replace(kind, workers=1) if kind.guest and spare > 0 else kind for kind in chosen]


def available_memory() -> int:
    """Return the bytes that new processes may take."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:"))


def main(words: Sequence[str] | None = None) -> int:
    """Run the selection; 0 if every test passed."""
    parser = argparse.ArgumentParser(prog="python -m lab.suite", description=__doc__.partition("\n")[0])
    parser.add_argument("selection", choices=("quick", "all"))
    parser.add_argument("kind", nargs="*", help="only these kinds of workers: native, uml, qemu, confined")
    parser.add_argument("--silence", type=float, default=SILENCE_SECONDS, metavar="SECONDS")
    arguments = parser.parse_args(words)
    chosen = [k for k in kinds(arguments.selection) if not arguments.kind or k.name in arguments.kind]
    available = available_memory()
    if available < _GUEST_BYTES and any(kind.guest for kind in chosen):
        print(
            f"error: a guest needs {_GUEST_BYTES / _GIB:.1f} GiB of memory and {available / _GIB:.1f} are free;"
            " `make test-unit` runs the tests that need no guest",
            file=sys.stderr,
        )
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "suite.lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: another run of the tests writes to {OUT}; use a second clone", file=sys.stderr)
            return 2
        return _run(chosen, available, arguments.silence)


def _run(chosen: list[Kind], available: int, silence: float) -> int:
    """Run kinds of workers and write what came of it."""
    for name in ("suite", "failures"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    seconds = {kind.name: load(kind.guest) for kind in chosen}
    display = Display(OUT / "failures")
    runner = Runner(fitting(chosen, available), OUT / "suite", display, seconds, silence_seconds=silence)
    try:
        runner.run()
    except KeyboardInterrupt:
        display.say("interrupted")
        return 130
    for kind in chosen:
        write_junit(OUT / _REPORTS[kind.name], [o for o in runner.outcomes if o.kind.name == kind.name])
    write_junit(OUT / "tests.xml", runner.outcomes)
    display.summary(runner.outcomes)
    return 1 if any(outcome.bad for outcome in runner.outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
