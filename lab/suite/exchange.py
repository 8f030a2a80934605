"""The folder through which the runner and its workers talk.

A worker is one pytest process, on this machine or in a guest. All workers of a kind see the same folder. Test files
are spread by claims: a worker makes the folder ``claims/UNIT``, which succeeds for one of them only, on every file
system that a guest may see the folder through. Each worker appends what happens to its own file of events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "SUITE_FOLDER"
WORKER_VARIABLE = "SUITE_WORKER"
SILENCE_VARIABLE = "SUITE_SILENCE_SECONDS"


@dataclass(frozen=True, slots=True)
class Unit:
    """A test file, or what is left of it after its worker died.

    Attributes:
        skip: node IDs that are not run again.
    """

    name: str
    file: str
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a worker reports.

    Attributes:
        what: ``collected``, ``claimed``, ``started``, ``ended`` or ``finished``.
        data: depends on `what`; values that JSON can hold.
    """

    what: str
    data: dict[str, Any] = field(default_factory=dict)


class Exchange:
    """The files below one folder, one for each kind of worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._units = folder / "units.json"
        self._claims = folder / "claims"

    def create(self, units: list[Unit]) -> None:
        """Make the folder and offer units to workers that start from now on."""
        self._claims.mkdir(parents=True, exist_ok=True)
        self._units.write_text(json.dumps([asdict(unit) for unit in units]), encoding="utf-8")

    def units(self) -> list[Unit]:
        """Return all units on offer, in the order in which they are to be claimed."""
        return [Unit(u["name"], u["file"], tuple(u["skip"])) for u in json.loads(self._units.read_text("utf-8"))]

    def claim(self, unit: Unit) -> bool:
        """Return whether the unit is the caller's from now on."""
        try:
            (self._claims / unit.name).mkdir()
        except FileExistsError:
            return False
        return True

    def claimed(self, unit: Unit) -> bool:
        """Return whether some worker has claimed the unit."""
        return (self._claims / unit.name).is_dir()

    def events_of(self, worker: str) -> Path:
        """Return the file of a worker's events."""
        return self.folder / f"{worker}.events"

    def stuck(self, worker: str) -> Path:
        """Return the file in which a worker writes where a test hangs."""
        return self.folder / f"{worker}.stuck"


class EventWriter:
    """Appends a worker's events to its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, what: str, **data: Any) -> None:
        """Append an event; the runner can read it when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([what, data]) + "\n")


class EventReader:
    """Reads a worker's events as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Event]:
        """Yield the events that have come since the last call; a line that is not complete yet waits."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return
        complete, newline, _ = new.rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        for line in complete.splitlines():
            what, data = json.loads(line)
            yield Event(what, data)
