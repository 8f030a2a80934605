"""The workflow runs what everybody can run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from docs.pages import ROOT

FILE = ROOT / ".github/workflows/ci.yml"
WORKFLOW = yaml.safe_load(FILE.read_text(encoding="utf-8"))
JOB = WORKFLOW["jobs"]["check"]
EVERYTHING = WORKFLOW["jobs"]["everything"]


def _check(path: Path) -> subprocess.CompletedProcess[str]:
    """Compare a workflow with the schema of GitHub's workflows, which comes with the program."""
    program = str(ROOT / ".venv/bin/check-jsonschema")
    words = [program, "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_it_fits_the_schema_of_workflows() -> None:
    """It runs elsewhere alone; a wrong key would be noticed there first."""
    done = _check(FILE)
    assert done.returncode == 0, done.stdout


def test_the_schema_would_find_a_mistake(tmp_path: Path) -> None:
    """What the test above relies on."""
    broken = tmp_path / "ci.yml"
    broken.write_text(FILE.read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    done = _check(broken)
    assert done.returncode == 1
    assert "'runs-on' is a required property" in done.stdout


def test_it_runs_targets_of_the_makefile() -> None:
    """Every change runs `make test`; each night and each release everything, with every test in every guest."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    chosen = JOB["strategy"]["matrix"]["target"]
    assert set(chosen) <= targets
    assert sorted(chosen) == ["demo", "docs", "package", "test", "test-portable"]
    assert EVERYTHING["if"] == "github.event_name == 'schedule' || startsWith(github.ref, 'refs/tags/')"
    assert EVERYTHING["steps"][2]["run"] == "make test-all"
    assert WORKFLOW[True]["schedule"], "YAML reads the key `on` as true"


def test_it_does_nothing_else_and_may_do_nothing_else() -> None:
    """One step installs make; the token can only read."""
    for job, target in ((JOB, "${{ matrix.target }}"), (EVERYTHING, "test-all")):
        steps = [step["run"] for step in job["steps"] if "run" in step]
        assert steps == [
            "apt-get update && apt-get install --yes --no-install-recommends make",
            f"make {target}",
        ]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    expressions = set(re.findall(r"\$\{\{ *(\S+)", FILE.read_text(encoding="utf-8")))
    assert expressions == {"matrix.target", "always()"}


def test_its_container_is_the_release_that_the_image_is_made_of() -> None:
    """Of the same Debian, pinned; in a container without privileges tests in namespaces would be left out.

    User-mode Linux has its 2 GiB of memory in /dev/shm.
    """
    base = re.search(r"^ARG BASE=(\S+)-slim$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert base
    for job in (JOB, EVERYTHING):
        assert job["container"] == {"image": base[1], "options": "--privileged --shm-size=3g"}


@pytest.mark.parametrize("step", [step["uses"] for job in (JOB, EVERYTHING) for step in job["steps"] if "uses" in step])
def test_actions_are_of_github_itself_and_of_one_version(step: str) -> None:
    """Nobody else's code gets the token."""
    assert re.fullmatch(r"actions/[a-z-]+@v\d+", step)
