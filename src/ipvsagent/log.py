"""Structured log lines on stderr: a fixed message, then fields; one line an event, as text or JSON.

Level ``info`` is for what an operator would miss,
``debug`` for work on single objects. Rooms that decide (planner) or mirror
the kernel (kernel) do not log.

Repeated messages are limited: three lines a minute with the same fields, twenty lines a minute with different fields.
After the minute, one line reports how many lines were left out. Lines of level ``debug`` are not limited; for level
``info`` only the limit of twenty counts.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

LINES_OF_SAME_FIELDS = 3
LINES_OF_SAME_MESSAGE = 20
WINDOW_SECONDS = 60.0


class Logger(Protocol):
    """The logger interface that the other rooms use."""

    def debug(self, message: str, **fields: object) -> None:
        """Log work on a single object."""

    def info(self, message: str, **fields: object) -> None:
        """Log what an operator would miss."""

    def warning(self, message: str, **fields: object) -> None:
        """Log what an operator must look at."""

    def error(self, message: str, **fields: object) -> None:
        """Log what prevents the agent from working."""


@dataclass(slots=True)
class _Window:
    """How often one message was written and left out since the window began."""

    begun: float
    written: int = 0
    left_out: int = 0
    by_fields: dict[str, int] = field(default_factory=dict)


class RepeatLimit:
    """Decides which lines are written; may be used from several threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}  # oldest first
        self._lock = threading.Lock()

    def admits(self, message: str, fields: Mapping[str, object], *, identical: bool = True) -> bool:
        """Return whether to write a line, and count it.

        Args:
            identical: whether the stricter limit for the same fields applies.
        """
        with self._lock:
            window = self._windows.setdefault(message, _Window(self._clock()))
            said = str(fields)
            same = window.by_fields.get(said, 0)
            if window.written >= LINES_OF_SAME_MESSAGE or (identical and same >= LINES_OF_SAME_FIELDS):
                window.left_out += 1
                return False
            window.written += 1
            window.by_fields[said] = same + 1
            return True

    def take_left_out(self) -> dict[str, int]:
        """End the windows whose time is over; return the number of lines left out, by message."""
        with self._lock:
            over = self._clock() - WINDOW_SECONDS
            ended = []
            for message, window in self._windows.items():
                if window.begun > over:
                    break
                ended.append((message, window.left_out))
            for message, _ in ended:
                del self._windows[message]
            return {message: count for message, count in ended if count}


class StructuredLogger:
    """Writes lines through Python's logging, in the form that `configure` chose.

    Args:
        limit: limits repeated lines; None creates a new one.
    """

    def __init__(self, name: str = "ipvsagent", limit: RepeatLimit | None = None) -> None:
        self._logger = logging.getLogger(name)
        self._limit = limit or RepeatLimit()

    def debug(self, message: str, **fields: object) -> None:
        """Log work on a single object."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log what an operator would miss."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log what an operator must look at."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Log what prevents the agent from working."""
        self._log(logging.ERROR, message, fields)

    def _log(self, level: int, message: str, fields: dict[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        for repeated, count in self._limit.take_left_out().items():
            self._write(logging.WARNING, "lines were left out", {"repeated": repeated, "count": count})
        if level == logging.DEBUG or self._limit.admits(message, fields, identical=level > logging.INFO):
            self._write(level, message, fields)

    def _write(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        self._logger.log(level, "%s", message, extra={"fields": fields})


def configure(*, log_format: str = "text", level: str = "info") -> None:
    """Set the format and level of log lines; may be called again while running.

    Args:
        log_format: ``text`` or ``json``.
        level: ``error``, ``warning``, ``info`` or ``debug``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logger = logging.getLogger("ipvsagent")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return dict(getattr(record, "fields", {}))


class _TextFormatter(logging.Formatter):
    """``time level: message key=value …``; values that contain blanks are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        words = [record.getMessage(), *(f"{key}={_quoted(str(value))}" for key, value in _fields(record).items())]
        return f"{when} {record.levelname.lower()}: {' '.join(words)}"


class _JsonFormatter(logging.Formatter):
    """One JSON object per line; times are UTC; values other than strings, numbers and booleans become strings."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": when.replace("+00:00", "Z"), "level": record.levelname.lower(), "message": record.getMessage()}
        # A field never replaces the fields that every line has.
        fields = {f"field_{k}" if k in head else k: _plain(v) for k, v in _fields(record).items()}
        return json.dumps(head | fields, ensure_ascii=False)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _quoted(text: str) -> str:
    if text and not any(c in ' "=\n' for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
