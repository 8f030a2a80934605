"""Structured log lines on stderr: a fixed message, then fields as ``key=value``.

``info`` is what an operator would miss, ``debug`` is work on single objects. Rooms that decide (planner) or mirror
the kernel (kernel) do not log.
"""

from __future__ import annotations

import logging
import sys
from typing import Protocol


class Logger(Protocol):
    """What the other rooms use of a logger."""

    def debug(self, message: str, **fields: object) -> None:
        """Log work on a single object."""

    def info(self, message: str, **fields: object) -> None:
        """Log what an operator would miss."""

    def warning(self, message: str, **fields: object) -> None:
        """Log what an operator has to look at."""

    def error(self, message: str, **fields: object) -> None:
        """Log what keeps the agent from its work."""


class TextLogger:
    """Writes ``level: message key=value …`` lines; quotes values that hold blanks."""

    def __init__(self, name: str = "ipvsagent") -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, **fields: object) -> None:
        """Log work on a single object."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log what an operator would miss."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log what an operator has to look at."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Log what keeps the agent from its work."""
        self._log(logging.ERROR, message, fields)

    def _log(self, level: int, message: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            words = [message, *(f"{key}={_quoted(str(value))}" for key, value in fields.items())]
            self._logger.log(level, "%s", " ".join(words))


def configure(*, debug: bool) -> None:
    """Send log lines to stderr, with time and level; to be called once, by the command line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LowerCaseLevel("%(asctime)s %(levelname)s: %(message)s", "%Y-%m-%dT%H:%M:%S"))
    logger = logging.getLogger("ipvsagent")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.INFO)


class _LowerCaseLevel(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)


def _quoted(text: str) -> str:
    if text and not any(c in ' "=\n' for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
