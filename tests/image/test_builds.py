"""Building it again gives the same, and nothing of it is missing on the other architecture. Needs the network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab.image import DOCKERFILE, parse

pytestmark = pytest.mark.timeout(600)

# It comes as source alone, and is compiled in a stage of the image's build.
COMPILED = {"python-iptables"}
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)]  # up to the glibc of Debian 12
STAMPED = Path("opt/ipvsagent")


@pytest.fixture
def folder() -> Path:
    """Where `lab.image` built it."""
    return Path(os.environ["IPVSAGENT_IMAGE"]).resolve()


@pytest.fixture
def again(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A second build, from the same base, in another folder."""
    (tmp_path / "base-bookworm").symlink_to(folder / "base-bookworm")
    (tmp_path / "base-bookworm.done").touch()
    done = subprocess.run(
        [sys.executable, "-m", "lab.image", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield tmp_path
    for name in ("build", "image"):
        shutil.rmtree(tmp_path / name)


def _contents(root: Path) -> dict[str, tuple[object, ...]]:
    """Kind, rights, owner and content of every file; its time too in the agent's own folder.

    Other times are those of packages, and of folders that were made meanwhile: these the builder of images rewrites.
    """
    found: dict[str, tuple[object, ...]] = {}
    for top, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(top, name)
            status = path.lstat()
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = str(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            relative = path.relative_to(root)
            time = status.st_mtime_ns if relative.is_relative_to(STAMPED) else 0
            found[str(relative)] = (status.st_mode, status.st_uid, status.st_gid, content, time)
    return found


def test_two_builds_are_the_same(folder: Path, again: Path) -> None:
    """Every file of both, Debian's included, as long as Debian's packages are the same."""
    first, second = _contents(folder / "image"), _contents(again / "image")
    assert len(first) > 5000
    assert first == second
    assert (folder / "image.json").read_bytes() == (again / "image.json").read_bytes()


def test_every_python_package_is_there_for_arm64(folder: Path, tmp_path: Path) -> None:
    """In the version of the image, as a wheel for a Python and a C library such as the image's."""
    text = (folder / "image/opt/ipvsagent/share/sbom.cdx.json").read_text(encoding="utf-8")
    purls = [c["purl"] for c in json.loads(text)["components"] if c["purl"].startswith("pkg:pypi/")]
    pinned = [p.removeprefix("pkg:pypi/").replace("@", "==") for p in purls]
    wanted = [p for p in pinned if p.partition("==")[0] not in COMPILED | {"ipvsagent"}]
    assert len(wanted) > 10
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", tmp_path]
    words += ["--python-version=3.11", "--implementation=cp", *(f"--platform={name}" for name in PLATFORMS)]
    done = subprocess.run([*map(str, words), *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [path.name for path in tmp_path.glob("*.whl")]
    assert len(names) == len(wanted)
    assert all(name.endswith(("-none-any.whl", "_aarch64.whl")) for name in names)
    assert any(name.endswith("_aarch64.whl") for name in names)


def test_every_debian_package_is_there_for_arm64(folder: Path, tmp_path: Path) -> None:
    """In the versions that the Dockerfile asks for, with all that they need; nothing is installed."""
    for name in ("lists/partial", "cache/archives/partial"):
        (tmp_path / name).mkdir(parents=True)
    etc = folder / "image/etc/apt"
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Debug::NoLocking": "true",
        "Dir::Cache": tmp_path / "cache",
        "Dir::Etc::sourcelist": etc / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::trustedparts": etc / "trusted.gpg.d",
        "Dir::State": tmp_path,
        "Dir::State::lists": tmp_path / "lists",
        "Dir::State::status": "/dev/null",
    }
    apt = ["apt-get", "--quiet", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    subprocess.run([*apt, "update"], check=True, capture_output=True)
    runs = [i.rest for i in parse(DOCKERFILE.read_text(encoding="utf-8")) if i.word == "RUN"]
    packages = {package for run in runs for package in re.findall(r"[a-z0-9.-]+=[^\s;]+\*", run)}
    assert {package.partition("=")[0] for package in packages} >= {"python3", "iptables", "kmod", "gcc"}
    words = [*apt, "install", "--simulate", "--no-install-recommends", *sorted(packages)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[arm64]" in done.stdout
    assert "[amd64]" not in done.stdout
