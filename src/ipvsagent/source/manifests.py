"""Objects from a folder of YAML and JSON files, followed live.

A change costs work in proportion to the files that changed. A file that stops parsing keeps its last good objects,
so that an editor's half-written file takes nothing down; a file that goes takes its objects with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ipvsagent.errors import SourceError
from ipvsagent.model.events import Changed, Deleted, Event, Listed, Rejected, SourceProblems
from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem, kind_of
from ipvsagent.source.decode import NotUsed, Unusable, Usable
from ipvsagent.source.files import FileContent, Stamp, manifest_files, read_manifest, stamp_of

Place = tuple[Kind, ObjectKey]
Outcome = Usable | NotUsed | Unusable


class _Known(Struct):
    """What is known of one file."""

    stamp: Stamp
    outcomes: dict[Place, Outcome]  # of the last content that parsed


class ManifestSource:
    """Follows a folder.

    Args:
        folder: is read with its subfolders.
        put: takes events; called from the source's thread once `start` was called.
        poll_seconds: how often the folder is looked at. Polling sees what notifications miss: mounted ConfigMaps,
            network file systems.
    """

    def __init__(self, folder: Path, put: Callable[[Event], None], poll_seconds: float = 0.25) -> None:
        self._folder = folder
        self._put = put
        self._poll_seconds = poll_seconds
        self._files: dict[Path, _Known] = {}
        self._holders: dict[Place, list[Path]] = {}  # files that hold an object, sorted: the first one counts
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
        self._thread.start()

    def stop(self) -> None:
        """End following it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def scan(self) -> None:
        """Look once, and put an event for everything that changed; the first time one list of each kind."""
        try:
            present = {path: stamp_of(path) for path in manifest_files(self._folder)}
        except OSError as error:
            self._report(str(self._folder), (Problem("folder", str(self._folder), "", f"cannot be read: {error}"),))
            return  # what is known stays
        self._report(str(self._folder), ())
        touched: dict[Place, None] = {}
        for path in [p for p in self._files if p not in present]:
            self._forget(path, touched)
        for path, stamp in present.items():
            known = self._files.get(path)
            if known is None or known.stamp != stamp:
                self._read(path, stamp, touched)
        if self._listed:
            self._tell(touched)
        else:
            self._listed = True
            for event in self._lists():
                self._put(event)

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.scan()

    def _read(self, path: Path, stamp: Stamp, touched: dict[Place, None]) -> None:
        content = read_manifest(path)
        known = self._files.setdefault(path, _Known(stamp, {}))
        known.stamp = stamp
        self._report(str(path), content.problems)
        if not content.complete:
            return
        outcomes = {_place(o): o for o in reversed(content.outcomes)}  # the first of a file's duplicates counts
        old, known.outcomes = known.outcomes, outcomes
        for place in old.keys() | outcomes.keys():
            if old.get(place) != outcomes.get(place):
                touched[place] = None
                self._hold(place, path, held=place in outcomes)

    def _forget(self, path: Path, touched: dict[Place, None]) -> None:
        for place in self._files.pop(path).outcomes:
            touched[place] = None
            self._hold(place, path, held=False)
        self._report(str(path), ())

    def _hold(self, place: Place, path: Path, *, held: bool) -> None:
        holders = set(self._holders.pop(place, ()))
        holders = holders | {path} if held else holders - {path}
        if holders:
            self._holders[place] = sorted(holders)

    def _outcome(self, place: Place) -> Outcome | None:
        """What counts for an object: the first file's version, with a problem if others hold it, too."""
        holders = self._holders.get(place)
        if not holders:
            return None
        outcome = self._files[holders[0]].outcomes[place]
        if len(holders) == 1 or isinstance(outcome, NotUsed):
            return outcome
        others = ", ".join(str(p) for p in holders[1:])
        reason = f"stands in {holders[0]}, which counts, and in {others}"
        problem = Problem(place[0].value, str(place[1]), "", reason)
        if isinstance(outcome, Usable):
            return Usable(outcome.object, (*outcome.problems, problem))
        return Unusable(outcome.kind, outcome.key, (*outcome.problems, problem))

    def _tell(self, touched: dict[Place, None]) -> None:
        for place in touched:
            match self._outcome(place):
                case Usable(found, problems):
                    self._put(Changed(found, problems))
                case Unusable(kind, key, problems):
                    self._put(Rejected(kind, key, problems))
                case _:
                    self._put(Deleted(*place))

    def _lists(self) -> Iterator[Listed]:
        for kind in Kind:
            objects: list[KubernetesObject] = []
            rejected: list[ObjectKey] = []
            problems: dict[ObjectKey, tuple[Problem, ...]] = {}
            for place in self._holders:
                outcome = self._outcome(place)
                if place[0] is not kind or outcome is None or isinstance(outcome, NotUsed):
                    continue
                if outcome.problems:
                    problems[place[1]] = outcome.problems
                if isinstance(outcome, Usable):
                    objects.append(outcome.object)
                else:
                    rejected.append(place[1])
            yield Listed(kind, tuple(objects), tuple(rejected), problems)

    def _report(self, origin: str, problems: tuple[Problem, ...]) -> None:
        if self._reported.get(origin, ()) != problems:
            self._reported[origin] = problems
            self._put(SourceProblems(origin, problems))


def read_objects(paths: Sequence[Path]) -> tuple[list[KubernetesObject], list[Problem]]:
    """Read files and folders once.

    Returns:
        The objects that can be used, and every problem with objects and files.

    Raises:
        SourceError: a path does not exist.
    """
    objects: dict[Place, KubernetesObject] = {}
    problems: list[Problem] = []
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        for content in _contents(path):
            problems += content.problems
            for outcome in content.outcomes:
                if isinstance(outcome, Usable):
                    objects.setdefault(_place(outcome), outcome.object)
                    problems += outcome.problems
                elif isinstance(outcome, Unusable):
                    problems += outcome.problems
    return list(objects.values()), problems


def _contents(path: Path) -> Iterator[FileContent]:
    files = manifest_files(path) if path.is_dir() else [path]
    return (read_manifest(p) for p in sorted(files))


def _place(outcome: Outcome) -> Place:
    if isinstance(outcome, Usable):
        return kind_of(outcome.object), outcome.object.key
    return outcome.kind, outcome.key
