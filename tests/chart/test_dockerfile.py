"""The Dockerfile says what the image's documentation promises; that it works, `make test-image` shows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import ipvsagent
from chart.rendering import ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab.image import Instruction, parse

INSTRUCTIONS = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def test_hadolint_finds_nothing() -> None:
    """With all of its rules, and no remark in the file that switches one off."""
    assert "hadolint" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    done = subprocess.run(
        [str(ROOT / ".venv/bin/hadolint"), "--no-color", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_begins_with_the_pinned_base() -> None:
    """A tag that does not move on to another release."""
    arguments = dict(i.rest.split("=", 1) for i in INSTRUCTIONS if i.word == "ARG" and "=" in i.rest)
    assert re.fullmatch(r"debian:\d+\.\d+-slim", arguments["BASE"])
    stages = [i.rest for i in INSTRUCTIONS if i.word == "FROM"]
    assert stages == ["${BASE} AS build", "${BASE}"]


def test_the_version_is_that_of_the_agent() -> None:
    """Where the build does not give another one."""
    assert Instruction("ARG", f"VERSION={ipvsagent.__version__}") in INSTRUCTIONS


def test_labels_are_those_of_the_open_container_initiative() -> None:
    """What registries show."""
    labels = {n for i in INSTRUCTIONS if i.word == "LABEL" for n in re.findall(r"(\S+)=\"", i.rest)}
    names = ("title", "description", "licenses", "version", "revision", "created", "source", "base.name")
    assert {f"org.opencontainers.image.{n}" for n in names} == labels


def test_nothing_depends_on_the_architecture() -> None:
    """One Dockerfile for amd64 and arm64."""
    for name in ("Dockerfile", "lab/sbom.py", "constraints.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(r"amd64|arm64|x86_64|aarch64|--platform|platform_machine", text) is None, name


def test_what_is_in_the_image_is_written_down_after_all_of_it_is_there() -> None:
    """The last step that changes the file system, with a script that does not stay."""
    last = [i for i in INSTRUCTIONS if i.word in {"RUN", "COPY"}][-1]
    assert last.rest.startswith("--mount=type=bind,source=lab/sbom.py,")


@pytest.mark.parametrize("name", ["src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "lab/sbom.py"])
def test_the_build_is_given_what_it_copies(name: str) -> None:
    """And .dockerignore keeps all else out, so that no other change causes a new build."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert f"!{name}" in lines
    copied = {word.removeprefix("./") for i in INSTRUCTIONS if i.word == "COPY" for word in i.rest.split()}
    shown = {found for i in INSTRUCTIONS for found in re.findall(r"--mount=type=bind,source=([^,]+),", i.rest)}
    assert name in copied | shown


def test_comments_may_stand_within_an_instruction() -> None:
    """As in a long RUN."""
    assert parse('RUN one; \\\n# why\n  two\nCMD ["x"]\n') == [
        Instruction("RUN", "one;    two"),
        Instruction("CMD", '["x"]'),
    ]
