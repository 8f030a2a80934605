"""Follow the configuration file while the agent runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ipvsagent.config.load import LoadedConfiguration, parse_configuration
from ipvsagent.errors import ConfigurationError


class ConfigurationWatcher:
    """Reads the file again whenever its content changes.

    It compares contents and not times, because a mounted ConfigMap changes by swapping symbolic links.

    Args:
        known: the content from which the settings in force were read. The first check finds an edit made since then;
            with None it reports any content.
        loaded: called with each new, valid configuration, in the watcher's thread.
        refused: called with the reason if the new content cannot be used; the old settings stay in force.
    """

    def __init__(
        self,
        path: Path,
        *,
        known: str | None,
        loaded: Callable[[LoadedConfiguration], None],
        refused: Callable[[str], None],
        poll_seconds: float = 0.5,
    ) -> None:
        self._path = path
        self._loaded = loaded
        self._refused = refused
        self._poll_seconds = poll_seconds
        self._content = known
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="configuration", daemon=True)

    def start(self) -> None:
        """Start following the file."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following it, and wait until the thread has ended."""
        self._stopping.set()
        self._thread.join()

    def is_alive(self) -> bool:
        """Return whether the thread is running."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Check the file once."""
        content = self._read()
        if content == self._content:
            return
        self._content = content
        if content is None:
            self._refused(f"{self._path} cannot be read")
            return
        try:
            self._loaded(parse_configuration(content))
        except ConfigurationError as error:
            self._refused(str(error))

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            self.check()

    def _read(self) -> str | None:
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
