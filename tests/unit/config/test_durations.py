"""Durations as Go writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.config.durations import format_duration, go_duration, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (1, "1s"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s"), (86400, "24h0m0s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    """HC-23."""
    assert go_duration(seconds) == text


@given(st.floats(0, 2**31 - 1, allow_nan=False))
def test_a_duration_is_written_so_that_the_same_seconds_are_read(seconds: float) -> None:
    """Exactly, down to the last bit."""
    assert parse_duration(format_duration(seconds)) == seconds
