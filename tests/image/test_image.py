"""The image starts, has what the agent needs, and nothing that it does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from lab.speed import scaled

import ipvsagent

ROOT = Path(__file__).parents[2]
# docs/developer/image.md states these: uncompressed, in what Debian's image does not hold already.
BUDGET_MEBIBYTES = 145


@pytest.fixture
def folder() -> Path:
    """Where `lab.image` built it."""
    return Path(os.environ["IPVSAGENT_IMAGE"]).resolve()


@pytest.fixture
def started_with(folder: Path) -> dict[str, Any]:
    """What a container would be started with."""
    return dict(json.loads((folder / "image.json").read_text(encoding="utf-8")))


def _run(folder: Path, started_with: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the image, with its environment alone."""
    command = ["chroot", str(folder / "image"), *words]
    return subprocess.run(
        command, env=started_with["environment"], capture_output=True, text=True, check=False, timeout=scaled(60)
    )


def test_it_starts_the_agent(folder: Path, started_with: dict[str, Any]) -> None:
    """With the version that its label tells."""
    assert started_with["cmd"] == ["run"]
    done = _run(folder, started_with, *started_with["entrypoint"], "version")
    assert (done.returncode, done.stdout) == (0, f"ipvsagent {ipvsagent.__version__}\n"), done.stderr
    assert started_with["labels"]["org.opencontainers.image.version"] == ipvsagent.__version__


@pytest.fixture
def example(folder: Path) -> Iterator[str]:
    """The example's folder, as the image sees it."""
    target = folder / "image/mnt/example"
    shutil.copytree(ROOT / "examples/demo", target, dirs_exist_ok=True)
    yield "/mnt/example"
    shutil.rmtree(target)


def test_it_plans(folder: Path, started_with: dict[str, Any], example: str) -> None:
    """The same as the code of this tree does."""
    words = ("ipvsagent", "plan", "-f", example, "--node-name", "node-1", "-o", "ipvsadm")
    done = _run(folder, started_with, *words)
    assert done.returncode == 0, done.stderr
    here = subprocess.run(
        [str(ROOT / ".venv/bin/ipvsagent"), "plan", "-f", str(ROOT / "examples/demo"), *words[4:]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == here.stdout != ""


def test_the_doctor_looks_around(folder: Path, started_with: dict[str, Any]) -> None:
    """Whatever it finds on this machine."""
    done = _run(folder, started_with, "ipvsagent", "doctor")
    assert done.returncode in {0, 1}, done.stderr
    assert " ok, " in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("iptables-legacy", "--version"), "(legacy)"),
        (("ip6tables-legacy", "--version"), "(legacy)"),
        (("iptables-nft", "--version"), "(nf_tables)"),
        (("ip6tables-nft-restore", "--version"), "(nf_tables)"),
        (("modprobe", "--version"), "kmod"),
        (("python3", "-c", "import iptc, pyroute2, prometheus_client; print('imported')"), "imported"),
        (("sleep", "--version"), "sleep"),  # the pods of the chart's cleanup
    ],
    ids=lambda v: v[0] if isinstance(v, tuple) else "",
)
def test_it_has_what_the_agent_and_the_chart_call(
    folder: Path, started_with: dict[str, Any], words: tuple[str, ...], answer: str
) -> None:
    """Both variants of iptables; the agent chooses."""
    done = _run(folder, started_with, *words)
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


def test_the_hook_of_the_chart_runs_in_it(folder: Path, started_with: dict[str, Any]) -> None:
    """With the libraries that the agent has."""
    program = (ROOT / "charts/ipvsagent/files/cleanup.py").read_text(encoding="utf-8")
    done = _run(folder, started_with, "python3", "-c", program, "--help")
    assert done.returncode == 0, done.stderr
    assert "--find-api-server" in done.stdout


@pytest.mark.parametrize("program", ["gcc", "pip", "pip3", "make", "git", "curl"])
def test_tools_for_building_are_left_out(folder: Path, started_with: dict[str, Any], program: str) -> None:
    """They would help an intruder alone."""
    assert shutil.which(program, path=_path_of(folder, started_with)) is None


def _path_of(folder: Path, started_with: dict[str, Any]) -> str:
    return ":".join(f"{folder}/image{p}" for p in started_with["environment"]["PATH"].split(":"))


def test_modules_are_compiled_for_a_file_system_that_cannot_be_written(folder: Path) -> None:
    """Compiling them again at each start would take seconds; no time of a file decides whether they count."""
    package = folder / "image/opt/ipvsagent/lib/python3.11/site-packages/ipvsagent"
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 50
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00"  # flags of PEP 552: by hash, unchecked


def test_it_keeps_to_its_budget(folder: Path) -> None:
    """What is added to Debian's image, uncompressed."""
    assert 0 < _added(folder) < BUDGET_MEBIBYTES


def test_the_page_states_its_size(folder: Path) -> None:
    """Of its parts and of all, to within three MiB: Debian's updates change it a little."""
    page = (ROOT / "docs/developer/image.md").read_text(encoding="utf-8")
    ours = _size(folder / "image/opt/ipvsagent") / 2**20
    rows = {
        r"\| `/opt/ipvsagent`, of which .* \| (\d+) \|": ours,
        r"\| `/opt/ipvsagent`, of which the Kubernetes client is (\d+) \|": _client(folder),
        r"\| Debian's .* \| (\d+) \|": _added(folder) - ours,
        rf"\| (\d+), at most {BUDGET_MEBIBYTES}, checked \|": _added(folder),
    }
    for row, measured in rows.items():
        stated = re.search(row, page)
        assert stated, row
        assert abs(int(stated[1]) - measured) < 3, row


def _client(folder: Path) -> float:
    return _size(folder / "image/opt/ipvsagent/lib/python3.11/site-packages/kubernetes") / 2**20


def _added(folder: Path) -> float:
    """MiB that are not in the base already."""
    return (_size(folder / "image") - _size(folder / "base-bookworm")) / 2**20


def _size(root: Path) -> int:
    """Bytes of all files."""
    return sum(
        (Path(top) / name).lstat().st_size
        for top, _, names in os.walk(root)
        if not top.startswith((f"{root}/proc", f"{root}/dev", f"{root}/sys"))
        for name in names
    )


def test_it_says_what_it_consists_of(folder: Path) -> None:
    """Every Debian package that dpkg knows, every Python package, in a valid document."""
    image = folder / "image"
    text = (image / "opt/ipvsagent/share/sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    status = (image / "var/lib/dpkg/status").read_text(encoding="utf-8")
    packages = re.findall(r"^Package: (\S+)\n(?:\S.*\n)*?Status: install ok installed$", status, re.MULTILINE)
    assert sorted(c["name"] for c in components if c["purl"].startswith("pkg:deb/")) == sorted(packages)
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    in_python = [c["purl"].removeprefix("pkg:pypi/").replace("@", "==") for c in components if ":pypi/" in c["purl"]]
    assert set(in_python) <= set(pinned)
    assert {"kubernetes", "pyroute2", "python-iptables"} <= {name.partition("==")[0] for name in in_python}


def test_the_base_image_and_the_source_are_named(started_with: dict[str, Any]) -> None:
    """Whoever rebuilds it can tell from what."""
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in started_with["labels"].items()}
    assert labels["base.name"].startswith("debian:")
    assert all(labels.values())


def test_nothing_of_the_machine_that_built_it_is_left(folder: Path) -> None:
    """Neither names of servers nor lists of packages."""
    image = folder / "image"
    assert not (image / "etc/resolv.conf").exists()
    assert list((image / "var/lib/apt/lists").glob("*_*")) == []
    assert list((image / "var/cache/apt/archives").glob("*.deb")) == []
