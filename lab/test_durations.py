"""Recorded durations of test files, by which the suite orders its work."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("test_durations.json")


def load(kind: str) -> dict[str, float]:
    """Return the seconds of each file in a kind of worker; empty if none were recorded."""
    recorded: dict[str, dict[str, float]] = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
    return recorded.get(kind, {})
