"""Follow objects in a folder of YAML and JSON files.

The cost of a change depends on the number of changed files. If a file no longer parses, its last good objects stay in
use; if a file is removed, its objects are removed.

Files are often written in place: truncated and then filled, or moved away and rewritten. Therefore an object counts as
removed only after two scans in a row did not find it; additions and changes count immediately.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ipvsagent.errors import SourceError
from ipvsagent.model.events import Changed, Deleted, Event, Listed, Rejected, SourceProblems
from ipvsagent.model.objects import EndpointSlice, Kind, KubernetesObject, ObjectKey, Problem, Service, kind_of
from ipvsagent.source.decode import NotUsed, Unusable, Usable
from ipvsagent.source.files import (
    FileContent,
    Found,
    Stamp,
    manifest_files,
    read_manifest,
    stamp_of,
    unread_endpoints,
)

ObjectReference = tuple[Kind, ObjectKey]
Outcome = Usable | NotUsed | Unusable

_ENDPOINTS = "Endpoints"  # origin of their problems

UNREAD: Stamp = (-1, -1, -1)
YOUNG_NANOSECONDS = 20_000_000
"""A file younger than this may change again without a new time stamp: the kernel's clock ticks every 4 ms."""


class _Known(Struct):
    """The state of one file."""

    stamp: Stamp
    outcomes: dict[ObjectReference, Outcome]  # of the last content that parsed
    endpoints: tuple[ObjectKey, ...] = ()  # of the last content that parsed
    doubted: Stamp | None = None  # the content with this stamp lacked objects and must be read again


class ManifestSource:
    """Follows a folder.

    Args:
        folder: read with its subfolders.
        put: takes events; called from the source's thread after `start`.
        poll_seconds: time between scans. Polling also works where notifications do not: mounted ConfigMaps, network
            file systems.
    """

    def __init__(self, folder: Path, put: Callable[[Event], None], poll_seconds: float = 0.25) -> None:
        self._folder = folder
        self._put = put
        self._poll_seconds = poll_seconds
        self._files: dict[Path, _Known] = {}
        self._missing: set[Path] = set()  # known files that the last scan did not find
        self._holders: dict[ObjectReference, list[Path]] = {}  # files with an object, sorted: the first one counts
        self._endpoints_held: dict[Path, tuple[ObjectKey, ...]] = {}  # `Endpoints`, which are not read, by file
        self._reported: dict[str, tuple[Problem, ...]] = {}
        self._listed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="manifests", daemon=True)

    def start(self) -> None:
        """Read the folder once, then follow it in a thread.

        Raises:
            SourceError: there is no such folder.
        """
        if not self._folder.is_dir():
            raise SourceError(f"{self._folder} is not a folder; `--manifests` takes a folder of YAML or JSON files")
        self.scan()
        if not self._listed:
            raise SourceError(f"folder {self._folder} cannot be read")
        self._thread.start()

    def stop(self) -> None:
        """Stop following the folder."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def scan(self) -> None:
        """Scan once, and put an event for each change; the first time, put one list of each kind."""
        found = self._find()
        if found is None:
            return  # keep the known objects
        touched: dict[ObjectReference, None] = {}
        present = {path: stamp_of(path) for path in found.files}
        unreadable = {folder for folder, _ in found.unreadable}
        gone = {p for p in self._files if p not in present and unreadable.isdisjoint(p.parents)}
        for path in gone & self._missing:
            self._forget(path, touched)
        self._missing = gone - self._missing
        changed = sorted(p for p, stamp in present.items() if self._changed(p, stamp))
        for path in changed:
            self._read(path, present[path], touched)
        if (changed or gone) and (self._endpoints_held or self._reported.get(_ENDPOINTS)):
            self._report_endpoints()
        if self._listed:
            self._tell(touched)
        else:
            self._listed = True
            for event in self._lists():
                self._put(event)

    def _changed(self, path: Path, stamp: Stamp) -> bool:
        known = self._files.get(path)
        return known is None or known.stamp != stamp

    def _find(self) -> Found | None:
        """Return the files; None, with a report, if the folder itself cannot be read."""
        origin = str(self._folder)
        try:
            found = manifest_files(self._folder)
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}; its objects stay in use"
            self._report(origin, (Problem("folder", origin, "", reason),))
            return None
        reports = (
            Problem("folder", str(path), "", f"cannot be read: {reason}; its objects stay in use")
            for path, reason in found.unreadable
        )
        self._report(origin, tuple(reports))
        return found

    def _follow(self) -> None:
        wait = self._poll_seconds
        while not self._stopping.wait(wait):
            began = time.monotonic()
            self.scan()
            # Scan a very large folder less often: at most a tenth of one CPU.
            wait = max(self._poll_seconds, 9 * (time.monotonic() - began))

    def _read(self, path: Path, stamp: Stamp, touched: dict[ObjectReference, None]) -> None:
        young = abs(time.time_ns() - stamp[1]) < YOUNG_NANOSECONDS
        content = read_manifest(path)
        known = self._files.setdefault(path, _Known(UNREAD, {}))
        outcomes: dict[ObjectReference, Outcome] = {}
        for outcome in content.outcomes:
            outcomes.setdefault(_reference(outcome), outcome)
        if known.outcomes.keys() - outcomes.keys() and known.doubted != stamp:
            known.doubted = stamp
            return
        known.stamp = UNREAD if young else stamp
        self._report(str(path), (*content.problems, *_doubles(path, content)))
        if not content.complete:
            return
        old, known.outcomes, known.endpoints = known.outcomes, outcomes, content.endpoints
        self._note_endpoints(path)
        for reference in dict.fromkeys((*old, *outcomes)):
            if old.get(reference) != outcomes.get(reference):
                touched[reference] = None
                self._hold(reference, path, held=reference in outcomes)

    def _note_endpoints(self, path: Path) -> None:
        known = self._files.get(path)
        if known is not None and known.endpoints:
            self._endpoints_held[path] = known.endpoints
        else:
            self._endpoints_held.pop(path, None)

    def _report_endpoints(self) -> None:
        """Check all objects; only called while a file contains `Endpoints`."""
        usable = [o.object for f in self._files.values() for o in f.outcomes.values() if isinstance(o, Usable)]
        services = {o.key for o in usable if isinstance(o, Service)}
        slices = [o for o in usable if isinstance(o, EndpointSlice)]
        held = dict.fromkeys(key for keys in self._endpoints_held.values() for key in keys)
        self._report(_ENDPOINTS, unread_endpoints(held, services, slices))

    def _forget(self, path: Path, touched: dict[ObjectReference, None]) -> None:
        for reference in self._files.pop(path).outcomes:
            touched[reference] = None
            self._hold(reference, path, held=False)
        self._note_endpoints(path)
        self._report(str(path), ())

    def _hold(self, reference: ObjectReference, path: Path, *, held: bool) -> None:
        holders = set(self._holders.pop(reference, ()))
        holders = holders | {path} if held else holders - {path}
        if holders:
            self._holders[reference] = sorted(holders)

    def _outcome(self, reference: ObjectReference) -> Outcome | None:
        """Return an object's version in the first file that contains it, with a problem if other files do, too."""
        holders = self._holders.get(reference)
        if not holders:
            return None
        outcome = self._files[holders[0]].outcomes[reference]
        if len(holders) == 1 or isinstance(outcome, NotUsed):
            return outcome
        others = ", ".join(str(p) for p in holders[1:])
        reason = f"is in {holders[0]}, which counts, and also in {others}"
        problem = Problem(reference[0].value, str(reference[1]), "", reason)
        if isinstance(outcome, Usable):
            return Usable(outcome.object, (*outcome.problems, problem))
        return Unusable(outcome.kind, outcome.key, (*outcome.problems, problem))

    def _tell(self, touched: dict[ObjectReference, None]) -> None:
        for reference in touched:
            match self._outcome(reference):
                case Usable(found, problems):
                    self._put(Changed(found, problems))
                case Unusable(kind, key, problems):
                    self._put(Rejected(kind, key, problems))
                case _:
                    self._put(Deleted(*reference))

    def _lists(self) -> Iterator[Listed]:
        for kind in Kind:
            objects: list[KubernetesObject] = []
            rejected: list[ObjectKey] = []
            problems: dict[ObjectKey, tuple[Problem, ...]] = {}
            for reference in self._holders:
                outcome = self._outcome(reference)
                if reference[0] is not kind or outcome is None or isinstance(outcome, NotUsed):
                    continue
                if outcome.problems:
                    problems[reference[1]] = outcome.problems
                if isinstance(outcome, Usable):
                    objects.append(outcome.object)
                else:
                    rejected.append(reference[1])
            yield Listed(kind, tuple(objects), tuple(rejected), problems)

    def _report(self, origin: str, problems: tuple[Problem, ...]) -> None:
        if self._reported.get(origin, ()) != problems:
            self._reported[origin] = problems
            self._put(SourceProblems(origin, problems))


def read_objects(paths: Sequence[Path]) -> tuple[list[KubernetesObject], list[Problem]]:
    """Read files and folders once.

    Returns:
        The usable objects, and every problem with objects and files.

    Raises:
        SourceError: a path does not exist.
    """
    objects: dict[ObjectReference, KubernetesObject] = {}
    problems: list[Problem] = []
    holders: dict[ObjectReference, Path] = {}
    endpoints: dict[ObjectKey, None] = {}
    for file, content in _contents(paths, problems):
        problems += (*content.problems, *_doubles(file, content))
        endpoints.update(dict.fromkeys(content.endpoints))
        for outcome in content.outcomes:
            reference = _reference(outcome)
            holder = holders.get(reference)
            if holder is None:
                holders[reference] = file
                if isinstance(outcome, Usable):
                    objects[reference] = outcome.object
                if not isinstance(outcome, NotUsed):
                    problems += outcome.problems
            elif holder != file:
                reason = f"is in {holder}, which counts, and also in {file}"
                problems.append(Problem(reference[0].value, str(reference[1]), "", reason))
    services = {o.key for o in objects.values() if isinstance(o, Service)}
    slices = [o for o in objects.values() if isinstance(o, EndpointSlice)]
    problems += unread_endpoints(endpoints, services, slices)
    return list(objects.values()), problems


def _contents(paths: Sequence[Path], problems: list[Problem]) -> Iterator[tuple[Path, FileContent]]:
    """Yield every file once, in the order of the paths and then of the names."""
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        for file in sorted(_files_at(path, problems)):
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, read_manifest(file)


def _files_at(path: Path, problems: list[Problem]) -> Sequence[Path]:
    if not path.is_dir():
        return (path,)
    try:
        found = manifest_files(path)
    except OSError as error:
        raise SourceError(f"folder {path} cannot be read: {error.strerror or error}") from error
    problems += [Problem("folder", str(p), "", f"cannot be read: {reason}") for p, reason in found.unreadable]
    return found.files


def _doubles(path: Path, content: FileContent) -> Iterator[Problem]:
    """Yield a problem for each object that a file contains more than once."""
    seen: set[ObjectReference] = set()
    for reference in map(_reference, content.outcomes):
        if reference in seen:
            yield Problem(
                "file", str(path), "", f"contains {reference[0].value} {reference[1]} twice; the first one counts"
            )
        seen.add(reference)


def _reference(outcome: Outcome) -> ObjectReference:
    if isinstance(outcome, Usable):
        return kind_of(outcome.object), outcome.object.key
    return outcome.kind, outcome.key
