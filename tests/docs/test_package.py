"""What is released: wheel and sdist build, have the package's version and hold what they need."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import ipvsagent
from docs.pages import ROOT

NAME = f"ipvsagent-{ipvsagent.__version__}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both; the wheel is made from the sdist, so that this one is complete."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_sdist_holds_what_building_and_testing_need(built: Path) -> None:
    """And nothing of the environment that it was made in."""
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "mkdocs.yml"} <= names
    assert {"src/ipvsagent/py.typed", "docs/index.md", "charts/ipvsagent/Chart.yaml", "lab/setup.sh"} <= names
    assert not [name for name in names if name.startswith((".venv", "build/", "lab/out")) or "__pycache__" in name]


def test_the_wheel_runs(built: Path, tmp_path: Path) -> None:
    """It holds the schema and the marker of types, and its command says its version."""
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path)
    assert {"ipvsagent/py.typed", "ipvsagent/config/schema.json"} <= names
    commands = (tmp_path / f"{NAME}.dist-info/entry_points.txt").read_text(encoding="utf-8")
    assert "ipvsagent = ipvsagent.cli.main:main" in commands
    program = "import sys; from ipvsagent.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{NAME.replace('-', ' ')}\n"), done.stderr
