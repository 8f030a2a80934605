"""What all tests share: the guests in which they run, and limits that grow with the slowness of the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # `lab` is a folder of the repository, not of the package

from lab.speed import HANGS_AFTER_SECONDS, factor, scaled

import guests

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")  # no limit of time for an example: a loaded machine would exceed it

GUEST = os.environ.get("IN_GUEST", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of tests for a guest."""
    parser.addoption(
        "--guest-selection",
        choices=("quick", "all"),
        default="all",
        help="in a guest: tests that a quick run has there, or all that can run there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in guests.MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_report_header() -> str:
    """Say how slow the machine is."""
    return f"slowness: {factor():.1f} (waits are multiplied by it)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that run in another guest, and limit each test as the speed of the machine asks for."""
    if GUEST:
        selection = cast("guests.Selection", config.getoption("--guest-selection"))
        items[:], others = guests.select(items, GUEST, selection)
        if others:
            config.hook.pytest_deselected(items=others)
    if config.getoption("timeout") is not None:  # given by hand
        return
    limit = scaled(HANGS_AFTER_SECONDS if GUEST else float(config.getini("timeout")))
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit))
