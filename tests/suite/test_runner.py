"""The runner of the test suite, on small suites of its own: nothing that happens to a worker loses a test."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from lab.suite.display import Display
from lab.suite.exchange import Exchange, Unit
from lab.suite.outcome import Outcome, write_junit
from lab.suite.runner import Runner
from lab.suite.worker import ROOT, Kind

PASSES = "def test_one() -> None:\n    pass\n\n\ndef test_two() -> None:\n    pass\n"
FAILS = "def test_wrong() -> None:\n    assert 1 + 1 == 3\n"
HANGS = (
    "import time\n\n\ndef test_before() -> None:\n    pass\n\n\n"
    "def test_hangs() -> None:\n    while True:\n        time.sleep(1)\n\n\ndef test_after() -> None:\n    pass\n"
)
IS_KILLED = (
    "import os\nimport signal\n\n\ndef test_is_killed() -> None:\n    os.kill(os.getpid(), signal.SIGKILL)\n\n\n"
    "def test_after() -> None:\n    pass\n"
)
DOES_NOT_IMPORT = "import no_such_module\n"


class Suite:
    """Files of tests, and what came of running them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n", encoding="utf-8")
        self.printed = io.StringIO()
        self.outcomes: dict[str, Outcome] = {}

    def run(self, *, workers: int = 1, silence_seconds: float = 60.0, **files: str) -> dict[str, str]:
        """Run files, given by their names without folder and ending; return outcomes by test."""
        for name, content in files.items():
            (self.folder / f"test_{name}.py").write_text(content, encoding="utf-8")
        options = ("-p", "no:randomly")
        kind = Kind("own", "", workers, ("test_*.py",), options=options, repeat="pytest {}", root=self.folder)
        display = Display(self.folder / "failures", self.printed)
        runner = Runner([kind], self.folder / "out", display, {}, silence_seconds=silence_seconds)
        runner.run()
        display.summary(runner.outcomes)
        self.outcomes = {outcome.test: outcome for outcome in runner.outcomes}
        assert len(self.outcomes) == len(runner.outcomes), "a test ran twice"
        return {name: outcome.outcome for name, outcome in self.outcomes.items()}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """An empty suite."""
    return Suite(tmp_path)


def test_every_file_runs_once_however_many_workers_there_are(suite: Suite) -> None:
    """Workers claim files from each other."""
    found = suite.run(workers=3, a=PASSES, b=PASSES, c=PASSES, d=PASSES)
    assert found == {f"test_{name}.py::test_{test}": "passed" for name in "abcd" for test in ("one", "two")}
    assert suite.printed.getvalue().endswith("\n8 passed, 0 failed\n")


def test_a_failure_is_printed_with_its_reason_its_log_and_the_command_that_repeats_it(suite: Suite) -> None:
    """Nobody waits for the end of the run to learn why."""
    assert suite.run(a=FAILS) == {"test_a.py::test_wrong": "failed"}
    printed = suite.printed.getvalue()
    log = suite.folder / "failures/own-test_a.py_test_wrong.txt"
    assert "assert (1 + 1) == 3" in printed
    assert f"log: {log}\nrepeat: pytest test_a.py::test_wrong\n" in printed
    assert "assert (1 + 1) == 3" in log.read_text(encoding="utf-8")


def test_a_test_that_hangs_is_named_with_the_place_where_it_stood_and_the_rest_runs(suite: Suite) -> None:
    """Its worker is ended; another one goes on with the file."""
    found = suite.run(silence_seconds=4.0, a=HANGS, b=PASSES)
    assert found == {
        "test_a.py::test_before": "passed",
        "test_a.py::test_hangs": "error",
        "test_a.py::test_after": "passed",
        "test_b.py::test_one": "passed",
        "test_b.py::test_two": "passed",
    }
    text = suite.outcomes["test_a.py::test_hangs"].text
    assert "no test has ended for" in text
    assert 'test_a.py", line 10 in test_hangs' in text


def test_a_worker_that_is_killed_costs_the_test_that_ran(suite: Suite) -> None:
    """As when a guest's kernel crashes."""
    found = suite.run(a=IS_KILLED, b=PASSES)
    assert found == {
        "test_a.py::test_is_killed": "error",
        "test_a.py::test_after": "passed",
        "test_b.py::test_one": "passed",
        "test_b.py::test_two": "passed",
    }
    assert "ended with status -9 while this test ran" in suite.outcomes["test_a.py::test_is_killed"].text


def test_a_file_that_cannot_be_imported_fails_and_the_others_run(suite: Suite) -> None:
    """One mistake hides nothing else."""
    found = suite.run(a=DOES_NOT_IMPORT, b=PASSES)
    assert found == {"test_a.py": "error", "test_b.py::test_one": "passed", "test_b.py::test_two": "passed"}
    assert "no_such_module" in suite.outcomes["test_a.py"].text


def test_workers_that_cannot_start_are_not_started_for_ever(suite: Suite) -> None:
    """The run fails and prints the last worker's output."""
    with (suite.folder / "pytest.ini").open("a", encoding="utf-8") as file:
        file.write("addopts = --no-such-option\n")
    assert suite.run(a=PASSES) == {"all tests of own": "error"}
    assert "unrecognized arguments: --no-such-option" in suite.printed.getvalue()


def test_one_worker_gets_each_unit(tmp_path: Path) -> None:
    """Claims hold across processes, since a folder can be made once."""
    unit = Unit("a", "test_a.py")
    first, second = Exchange(tmp_path), Exchange(tmp_path)
    first.create([unit])
    assert [first.claim(unit), second.claim(unit)] == [True, False]


def test_the_junit_file_has_outcomes_texts_and_properties(tmp_path: Path) -> None:
    """The table of drift is made from it."""
    kind = Kind("own", "", 1, ())
    outcomes = [
        Outcome(kind, "own-1", "tests/test_a.py::test_x[1]", "passed", 1.5, properties=(("seconds", "2"),)),
        Outcome(kind, "own-1", "tests/test_a.py::test_y", "failed", 0.5, "E   assert\x1b[0m"),
    ]
    write_junit(tmp_path / "out.xml", outcomes)
    suite = ET.parse(tmp_path / "out.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert [case.get("classname") for case in suite] == ["tests.test_a", "tests.test_a"]
    assert [case.get("name") for case in suite] == ["test_x[1]", "test_y"]
    assert [(p.get("name"), p.get("value")) for p in suite.iter("property")] == [("seconds", "2")]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text == "E   assert?[0m"


@pytest.mark.parametrize(
    ("b", "files"),
    [
        ("ANSWER = 42\n", ["test_a.py"]),
        (DOES_NOT_IMPORT, ["test_a.py", "test_b.py"]),
    ],
)
def test_a_guest_gets_only_files_with_tests_unless_that_is_unknown(suite: Suite, b: str, files: list[str]) -> None:
    """It takes many times longer than this machine to read a file; a file that cannot be read fails in the guest."""
    for name, content in {"a": PASSES, "b": b}.items():
        (suite.folder / f"test_{name}.py").write_text(content, encoding="utf-8")
    assert Kind("own", "qemu", 1, ("test_*.py",), root=suite.folder).files() == files
