"""Deadlines grow with the slowness of the machine."""

from __future__ import annotations

import pytest
from lab.speed import MOST, slowness


@pytest.mark.parametrize(
    ("seconds", "slower"),
    [(0.5, 1.0), (1.0, 1.0), (3.0, 3.0), (1000.0, MOST)],
    ids=["quicker", "equal", "slower", "ill"],
)
def test_a_slow_machine_waits_longer_and_a_quick_one_not_shorter(seconds: float, slower: float) -> None:
    """Never so long that a hanging test goes unnoticed."""
    assert slowness(seconds, 1.0) == slower
