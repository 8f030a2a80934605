"""Read one manifest file: YAML or JSON, several documents, lists of objects."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from ipvsagent.model.objects import EndpointSlice, Kind, ObjectKey, Problem
from ipvsagent.source.decode import DecodeResult, NotUsed, Unusable, decode_value
from ipvsagent.source.decode_slice import SERVICE_LABEL
from ipvsagent.yaml_text import YamlError, parse_yaml

SUFFIXES = (".yaml", ".yml", ".json")
LARGEST_FILE_BYTES = 64 << 20

_API_VERSIONS = {
    Kind.SERVICE: "v1",
    Kind.ENDPOINT_SLICE: "discovery.k8s.io/v1",
    Kind.NODE: "v1",
}

Stamp = tuple[int, int, int]
"""Inode, time of the last change in nanoseconds, size: if the stamp changes, the content may have changed."""


class FileContent(Struct, frozen=True):
    """The content of one file.

    Args:
        endpoints: keys of the `Endpoints` in it, which are not read.
        complete: whether the whole file could be parsed; if not, its last good objects stay in use.
        problems: of the file, not of its objects.
    """

    outcomes: tuple[DecodeResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    endpoints: tuple[ObjectKey, ...] = ()
    complete: bool = True


class Found(Struct, frozen=True):
    """The manifest files of a folder.

    Args:
        unreadable: subfolders that could not be listed, with the reason.
    """

    files: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...] = ()


def manifest_files(folder: Path) -> Found:
    """Find the manifest files of a folder and its subfolders, except hidden ones.

    A mounted ConfigMap keeps its files behind a hidden folder of links; the visible links are followed.

    Raises:
        OSError: the folder itself cannot be read.
    """
    files: list[Path] = []
    unreadable: list[tuple[Path, str]] = []
    with os.scandir(folder) as entries:
        visible = [e for e in entries if not e.name.startswith(".")]
    for entry in visible:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            try:
                below = manifest_files(path)
            except OSError as error:
                unreadable.append((path, error.strerror or str(error)))
                continue
            files += below.files
            unreadable += below.unreadable
        elif entry.name.endswith(SUFFIXES):
            files.append(path)
    return Found(tuple(files), tuple(unreadable))


def stamp_of(path: Path) -> Stamp:
    """Return a file's stamp; zeros if it was just removed."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_manifest(path: Path) -> FileContent:
    """Read one file; report everything wrong with it as problems."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could block forever
            return _unreadable(path, "is not a regular file; it is not read")
        if status.st_size > LARGEST_FILE_BYTES:
            return _unreadable(path, f"is larger than {LARGEST_FILE_BYTES >> 20} MiB; it is not read")
        text = path.read_text(encoding="utf-8-sig")
        documents = [json.loads(text)] if path.suffix == ".json" else [d for _, d in parse_yaml(text)]
    except YamlError as error:
        where = f"line {error.line}: " if error.line else ""
        return _unreadable(path, f"does not parse: {where}{error.reason}")
    except RecursionError:
        return _unreadable(path, "does not parse: it is nested too deeply")
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror or error}")
    except json.JSONDecodeError as error:
        return _unreadable(path, f"does not parse: line {error.lineno}: {error.msg}")
    except ValueError as error:  # text that is not UTF-8; numbers with more digits than Python accepts
        return _unreadable(path, f"does not parse: {error}")
    return _decode_all(path, documents)


def _decode_all(path: Path, documents: list[object]) -> FileContent:
    outcomes: list[DecodeResult] = []
    problems: list[Problem] = []
    endpoints: list[ObjectKey] = []
    for value in (item for document in documents for item in _items(document)):
        kind = _kind(path, value, problems)
        if kind is None:
            endpoints += _endpoints(value)
            continue
        outcome = decode_value(kind, value, with_defaults=True)
        if isinstance(outcome, Unusable) and not outcome.key.name:
            # Without a name the object cannot be recognised later, so this is a problem of the file.
            problems += [Problem("file", str(path), "", f"{p.kind}: {p.field} {p.reason}") for p in outcome.problems]
        else:
            outcomes.append(outcome)
            if isinstance(outcome, NotUsed) and kind is Kind.ENDPOINT_SLICE and not _has_owner(value):
                reason = f"names no Service in its label {SERVICE_LABEL}; it is not used"
                problems.append(Problem(kind.value, str(outcome.key), "metadata.labels", reason))
    return FileContent(tuple(outcomes), tuple(problems), tuple(endpoints))


def _has_owner(value: object) -> bool:
    labels = value["metadata"].get("labels") if isinstance(value, dict) else None
    return isinstance(labels, dict) and bool(labels.get(SERVICE_LABEL))


def _endpoints(value: object) -> Iterator[ObjectKey]:
    """Yield the key of an object of kind `Endpoints`; nothing for other kinds."""
    if isinstance(value, dict) and value.get("kind") == "Endpoints" and value.get("apiVersion", "v1") == "v1":
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            yield ObjectKey(str(metadata.get("namespace") or "default"), str(metadata.get("name")))


def unread_endpoints(
    endpoints: Iterable[ObjectKey], services: Container[ObjectKey], slices: Iterable[EndpointSlice]
) -> tuple[Problem, ...]:
    """Return a problem for each `Endpoints` object of a Service without a slice (DEV-61).

    In a cluster, a controller creates slices from `Endpoints`; there is none for files.
    """
    owners = {s.service for s in slices}
    reason = "is not read; add an EndpointSlice for its Service, which has none"
    return tuple(Problem("Endpoints", str(k), "", reason) for k in endpoints if k in services and k not in owners)


def _items(document: object) -> Iterator[object]:
    """Yield a document's objects: itself, or the items of a list such as `kind: List`."""
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


def _kind(path: Path, value: object, problems: list[Problem]) -> Kind | None:
    """Return the kind to decode a value as; None if it is not read, such as a kind of the same name in another API."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        problems.append(
            Problem("file", str(path), "", "contains something that is not a Kubernetes object; it is ignored")
        )
        return None
    try:
        kind = Kind(value["kind"])
    except ValueError:
        return None
    wanted = _API_VERSIONS[kind]
    given = str(value.get("apiVersion") or wanted)
    if given == wanted:
        return kind
    if given.rpartition("/")[0] == wanted.rpartition("/")[0]:
        reason = f"contains {kind.value} of apiVersion `{given}`, which is not read; allowed: {wanted}"
        problems.append(Problem("file", str(path), "", reason))
    return None


def _unreadable(path: Path, reason: str) -> FileContent:
    return FileContent(problems=(Problem("file", str(path), "", reason),), complete=False)
