"""Following the configuration file while the agent runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ipvsagent.config.load import LoadedConfiguration, parse_configuration
from ipvsagent.errors import ConfigurationError


class ConfigurationWatcher:
    """Reads the file again whenever its content changes.

    The content is compared, not its times: a mounted ConfigMap changes by swapping symbolic links.

    Args:
        known: the content that the settings in force were read from. An edit made since then is found by the first
            look; None takes any content for one.
        loaded: called with each new, valid configuration, from the watcher's own thread.
        refused: called with the reason when the new content cannot be used; the old one stays in force.
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
        """Begin to follow the file."""
        self._thread.start()

    def stop(self) -> None:
        """End following it."""
        self._stopping.set()
        self._thread.join()

    def is_alive(self) -> bool:
        """Whether it follows the file now."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Look once."""
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
