"""`make image`: run the steps of the Dockerfile in plain directories, without a container engine.

    python -m lab.image FOLDER

Each stage becomes a folder below FOLDER with a root file system, the last one `image`; `image.json` beside it says what
a container would be started with. The base image is the same release of Debian, made by debootstrap and kept for the
next time. Needs root, a network and Debian's package `debootstrap`.

Only what this Dockerfile uses is understood; anything else is an error.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
SUITE = "bookworm"

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_SHOWN_FILE = re.compile(r"--mount=type=bind,source=(?P<source>[^,\s]+),target=(?P<target>[^,\s]+)\s+")
_PLAIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Files of this machine without which nothing can be fetched; they do not stay.
_BORROWED = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON = re.compile(r"(?i)(http|https|no)_proxy|PIP_CERT|PIP_INDEX_URL|PIP_EXTRA_INDEX_URL|SSL_CERT_FILE")


class Instruction(NamedTuple):
    """One instruction: its word in capital letters, and the rest."""

    word: str
    rest: str


class Stage:
    """A stage during the build.

    Args:
        root: its root file system.
        arguments: build arguments declared before the first stage.
    """

    def __init__(self, root: Path, arguments: Mapping[str, str]) -> None:
        self.root = root
        self.global_arguments = arguments
        self.arguments: dict[str, str] = {}
        self.environment: dict[str, str] = {"PATH": _PLAIN_PATH}
        self.labels: dict[str, str] = {}
        self.shell = ["/bin/sh", "-c"]
        self.folder = "/"
        self.started_with: dict[str, list[str]] = {}

    def expand(self, text: str) -> str:
        """Replace variables by build arguments and environment."""
        known = {**self.arguments, **self.environment}
        return _VARIABLE.sub(lambda m: known.get(m[1] or m[2], ""), text)

    def run(self, script: str) -> None:
        """RUN: run a command in the stage's root, with this machine's network and the mounted files."""
        borrowed = {self.root / p[1:]: Path(p) for p in _BORROWED if Path(p).exists()}
        while option := _SHOWN_FILE.match(script):
            borrowed[self.root / option["target"][1:]] = ROOT / option["source"]
            script = script[option.end() :]
        borrowed = {target: path for target, path in borrowed.items() if not target.exists()}
        for target, path in borrowed.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        passed_on = {k: v for k, v in os.environ.items() if _PASSED_ON.fullmatch(k)}
        environment = {**passed_on, "DEBIAN_FRONTEND": "noninteractive", **self.arguments, **self.environment}
        words = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", self.folder, *self.shell, script]
        try:
            subprocess.run(["chroot", self.root, *words], env=environment, stdin=subprocess.DEVNULL, check=True)
        finally:
            for target in borrowed:
                target.unlink()

    def copy(self, words: list[str], stages: Mapping[str, Stage]) -> None:
        """COPY: copy from the repository, except files in .dockerignore, or from another stage."""
        source, ignored = ROOT, _ignored()
        if words[0].startswith("--from="):
            source, ignored = stages[words.pop(0).removeprefix("--from=")].root, []
        target = self.root / os.path.join(self.folder, words[-1])[1:]
        for name in words[:-1]:
            found = source / name.lstrip("/")
            if any(fnmatch.fnmatch(name, pattern) for pattern in ignored):
                raise FileNotFoundError(f"{name} is not let in by .dockerignore")
            if found.is_dir():
                shutil.copytree(
                    found, target, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
                    if source == ROOT else None,
                )  # fmt: skip
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, target)


def _ignored() -> list[str]:
    """Return the top-level entries that .dockerignore excludes: all except those with an exclamation mark."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = {line[1:] for line in lines if line.startswith("!")}
    return [p.name for p in ROOT.iterdir() if p.name not in admitted]


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def build(instructions: list[Instruction], folder: Path) -> Stage:
    """Run the instructions.

    Raises:
        ValueError: an instruction that is not understood.
        CalledProcessError: a RUN that failed.
    """
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for word, rest in instructions:
        print(f"{word} {' '.join(rest.split())[:100]}", flush=True)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name or "image"] = Stage(folder / (name or "image"), arguments)
            _fresh_root(stage.root, _VARIABLE.sub(lambda m: arguments[m[1] or m[2]], base.strip()), folder)
        elif stage is None:
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            _carry_out(word, rest, stage, stages)
    if stage is None:
        raise ValueError("there is no FROM")
    return stage


def _carry_out(word: str, rest: str, stage: Stage, stages: Mapping[str, Stage]) -> None:
    match word:
        case "ARG":
            name, _, default = rest.partition("=")
            stage.arguments[name] = os.environ.get(name, default or stage.global_arguments.get(name, ""))
        case "ENV":
            stage.environment.update(_pairs(stage.expand(rest)))
        case "LABEL":
            stage.labels.update(_pairs(stage.expand(rest)))
        case "SHELL":
            stage.shell = json.loads(rest)
        case "WORKDIR":
            stage.folder = rest
            (stage.root / rest[1:]).mkdir(parents=True, exist_ok=True)
        case "RUN":
            stage.run(rest)
        case "COPY":
            stage.copy(rest.split(), stages)
        case "ENTRYPOINT" | "CMD":
            stage.started_with[word.lower()] = json.loads(rest)
        case _:
            raise ValueError(f"{word} is not understood here")


def _pairs(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text))


def _fresh_root(root: Path, base: str, folder: Path) -> None:
    """Copy the directory that replaces the base image."""
    if not base.startswith("debian:"):
        raise ValueError(f"{base}: only images of Debian can be stood in for")
    kept = folder / f"base-{SUITE}"
    if not (kept / "usr/bin/dpkg").exists() or not (folder / f"{kept.name}.done").exists():
        shutil.rmtree(kept, ignore_errors=True)
        words = ["debootstrap", "--variant=minbase", SUITE, str(kept)]
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        for waste in ("var/cache/apt", "var/lib/apt/lists", "var/log"):  # an image has none of it
            shutil.rmtree(kept / waste)
            (kept / waste).mkdir()
        (folder / f"{kept.name}.done").touch()
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "--archive", f"{kept}/.", root], check=True)
    # debootstrap takes the packages of the release; an image has the security updates, too.
    (root / "etc/resolv.conf").unlink(missing_ok=True)


def main(words: list[str]) -> int:
    """Build the image, and write the settings with which a container is started."""
    folder = Path(words[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stage = build(parse(DOCKERFILE.read_text(encoding="utf-8")), folder)
    answer = {"labels": stage.labels, "environment": stage.environment, **stage.started_with}
    (folder / "image.json").write_text(json.dumps(answer, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
