"""The workflow runs what everybody can run."""

from __future__ import annotations

import re

import yaml

from docs.pages import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
JOB = WORKFLOW["jobs"]["check"]


def test_it_runs_targets_of_the_makefile_that_cover_all_tests() -> None:
    """`make test` and `make test-image` in parts, so that they run side by side."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    chosen = set(JOB["strategy"]["matrix"]["target"])
    assert chosen <= targets
    assert {"lint", "test-unit", "test-kernel", "test-image", "docs", "package"} <= chosen


def test_it_does_nothing_else_and_may_do_nothing_else() -> None:
    """One step installs make; the token can only read."""
    steps = [step["run"] for step in JOB["steps"] if "run" in step]
    assert [step for step in steps if not step.startswith("apt-get")] == ["make ${{ matrix.target }}"]
    assert WORKFLOW["permissions"] == {"contents": "read"}
