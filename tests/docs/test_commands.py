"""Commands of the pages that people copy from: run here, or marked as what cannot be."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from chart.rendering import CHART, helm
from docs.pages import DOCS, ROOT, Block, blocks

PAGES = (DOCS / "guides/quick-start.md", DOCS / "guides/migration.md")
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.mark == "run"]
USED = ("charts", "examples", "tests")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_commands_has_some_that_run(page: Path) -> None:
    """A guide nobody can try is not checked at all."""
    assert [block for block in RUN if block.page == page]
    fences = re.findall(r"^ *```(?:console|bash)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == len(blocks(page))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_every_block_says_whether_it_runs(block: Block) -> None:
    """`<!-- run -->`, `<!-- needs a cluster -->` or `<!-- not run: why -->` stands above it."""
    assert re.fullmatch(r"run|needs a cluster|not run: .+", block.mark), "a comment above the block must say so"
    assert block.commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_runs_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """One command after the other, in a folder that looks like the repository; what the page shows as output comes."""
    for name in USED:
        (tmp_path / name).symlink_to(ROOT / name)
    paths = (Path(sys.executable).parent, ROOT / ".venv/bin", "/usr/bin", "/bin")
    environment = {
        "PATH": os.pathsep.join(map(str, paths)),
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(tmp_path),
    }
    for block in [block for block in RUN if block.page == page]:
        for command in block.commands:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command.text],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.name}: {command.text}\n{done.stderr}"
            if command.output:
                assert done.stdout == command.output, block.name


@pytest.mark.parametrize("block", [b for b in BLOCKS if b not in RUN], ids=lambda block: block.name)
def test_what_needs_a_cluster_is_at_least_well_formed(block: Block) -> None:
    """The shell parses it, patches are JSON, and the chart takes the values that Helm is given."""
    for command in block.commands:
        words = shlex.split(command.text)
        subprocess.run(["bash", "-n", "-c", command.text], check=True)
        for patch in [word for previous, word in pairwise(words) if previous == "-p"]:
            json.loads(patch)
        if words[0] == "helm" and "charts/ipvsagent" in words:
            values = [f"--set={word}" for previous, word in pairwise(words) if previous == "--set"]
            rendered = helm("template", "ipvsagent", str(CHART), *values)
            assert rendered.status == 0, rendered.errors
        if words[0] == "helm":
            (verb,) = [word for word in words[1:] if word in {"install", "upgrade", "uninstall", "template"}]
            known = helm(verb, "--help").output
            assert [word for word in words if word.startswith("--") and f" {word} " not in known] == []


@pytest.mark.parametrize("path", sorted((DOCS / "guides").glob("*.md")), ids=lambda path: path.name)
def test_commands_of_the_agent_exist(path: Path) -> None:
    """Also in blocks that need a cluster: every `ipvsagent WORD` is a command."""
    words = set(re.findall(r"(?:^|\$ |-- |`)ipvsagent ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert words <= {"run", "plan", "cleanup", "doctor", "config", "version"}
