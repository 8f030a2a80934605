"""A folder of manifests that a test changes, and the source that follows it."""

from __future__ import annotations

import os
from pathlib import Path

from ipvsagent.model.events import Event
from ipvsagent.source.manifests import ManifestSource


def service(name: str, cluster_ip: str = "10.96.0.10", *, port: object = 80) -> str:
    """A Service in namespace `shop` as YAML."""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{clusterIP: {cluster_ip}, ports: [{{port: {port}}}]}}\n"
    )


class Following:
    """A source and what it says, a look at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events: list[Event] = []
        self._source = ManifestSource(folder, self._events.append)
        self._tick = 1_700_000_000

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file with a time stamp that is its own."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        self._tick += 1
        os.utime(path, (self._tick, self._tick))
        return path

    def look(self, times: int = 1) -> list[Event]:
        """What came of the last of so many looks; those before must say nothing."""
        for _ in range(times - 1):
            assert self._look() == []
        return self._look()

    def _look(self) -> list[Event]:
        self._source.scan()
        events = self._events.copy()
        self._events.clear()
        return events
