"""Tests of the image in a plain folder, where the Dockerfile was carried out: `make test-image`.

A plain `pytest` leaves them out. ``IPVSAGENT_IMAGE`` names the folder that `lab.image` made.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the tests of this folder out where there is no image."""
    return None if "IPVSAGENT_IMAGE" in os.environ or collection_path.name == "conftest.py" else True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to run what was left out."""
    if "IPVSAGENT_IMAGE" not in os.environ:
        terminalreporter.write_line("tests/image was left out: it needs the image; run `make test-image`")
