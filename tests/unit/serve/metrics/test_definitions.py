"""The list of metrics that people read."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # `lab` is a folder of the repository, not of the package

from lab.metric_names import PAGE, page


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    """`python -m lab.metric_names --write` brings it up to date."""
    assert PAGE.read_text(encoding="utf-8") == page()
