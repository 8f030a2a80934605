"""Reading one manifest file: YAML or JSON, several documents, lists of objects."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import yaml
from msgspec import Struct

from ipvsagent.model.objects import Kind, Problem
from ipvsagent.source.decode import DecodeResult, decode_value

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST_FILE_BYTES = 64 << 20

Stamp = tuple[int, int, int]
"""Inode, time of the last change in nanoseconds, size: another stamp means that the content may differ."""


class FileContent(Struct, frozen=True):
    """What one file holds.

    Args:
        complete: whether all of it could be parsed; if not, what was known of the file stays in force.
        problems: of the file, not of its objects.
    """

    outcomes: tuple[DecodeResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C one where it was built
    """Plain values only; timestamps stay text, as the API has them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def manifest_files(folder: Path) -> list[Path]:
    """The manifest files of a folder and its subfolders, hidden ones left out.

    A mounted ConfigMap keeps its files behind a hidden folder of links; the visible links are followed.

    Raises:
        OSError: the folder cannot be read.
    """
    found: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                found += manifest_files(Path(entry.path))
            elif entry.name.endswith(SUFFIXES):
                found.append(Path(entry.path))
    return found


def stamp_of(path: Path) -> Stamp:
    """A file's stamp; zeros for one that is just going."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_manifest(path: Path) -> FileContent:
    """Read one file; whatever is wrong with it comes out as a problem."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            return _unreadable(path, f"is larger than {LARGEST_FILE_BYTES >> 20} MiB; it is not read")
        text = path.read_text(encoding="utf-8")
        documents = [json.loads(text)] if path.suffix == ".json" else list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        return _unreadable(path, f"does not parse: {_yaml_words(error)}")
    except RecursionError:
        return _unreadable(path, "does not parse: it is nested too deeply")
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror or error}")
    except ValueError as error:  # JSON, and text that is not UTF-8
        return _unreadable(path, f"does not parse: {error}")
    outcomes: list[DecodeResult] = []
    problems: list[Problem] = []
    for value in (item for document in documents for item in _items(document)):
        outcome = _decode(path, value, problems)
        if outcome is not None:
            outcomes.append(outcome)
    return FileContent(tuple(outcomes), tuple(problems))


def _items(document: object) -> Iterator[object]:
    """A document's objects: itself, or the items of a list such as `kind: List`."""
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        items = document.get("items")
        if isinstance(items, list):
            kind = str(document["kind"]).removesuffix("List")
            for item in items:
                # Items of a ServiceList need not repeat their kind.
                yield {"kind": kind, **item} if kind and isinstance(item, dict) else item
            return
    if document is not None:
        yield document


def _decode(path: Path, value: object, problems: list[Problem]) -> DecodeResult | None:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        problems.append(
            Problem("file", str(path), "", "holds something that is no Kubernetes object; it is ignored")
        )
        return None
    try:
        kind = Kind(value["kind"])
    except ValueError:
        return None  # other kinds are none of our business
    return decode_value(kind, value)


def _unreadable(path: Path, reason: str) -> FileContent:
    return FileContent(problems=(Problem("file", str(path), "", reason),), complete=False)


def _yaml_words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())
