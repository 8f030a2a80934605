"""What is generated from the code is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `lab` is a folder of the repository, not of the package

from lab.reference import ROOT, generated


@pytest.mark.parametrize("path", generated(), ids=str)
def test_generated_file_is_up_to_date(path: Path) -> None:
    """`make reference` writes the schema and the tables of the reference."""
    assert (ROOT / path).read_text(encoding="utf-8") == generated()[path], "run `make reference`"
