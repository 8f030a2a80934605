"""Random changes, drift, restarts and kills under traffic; after each round the kernel is what the oracle says."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from lab.speed import HANGS_AFTER_SECONDS, scaled

from kernel.node import Node
from kernel.processes import SLOW_GUEST
from kernel.soak import Soak

SEED = int(os.environ.get("SOAK_SEED") or 20260101)
SECONDS = float(os.environ.get("SOAK_SECONDS") or (40 if SLOW_GUEST else 30))


@pytest.mark.timeout(SECONDS + scaled(HANGS_AFTER_SECONDS))
def test_nothing_goes_wrong_in_the_long_run(
    node: Node, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """DEV-01, DEV-02, DEV-17, VS-07, CLN-09: no difference that lasts, no request lost on a Service that stays."""
    soak = Soak(node, SEED)
    counts = soak.run(SECONDS)
    with capsys.disabled():
        print(f"\nsoak with seed {SEED} for {SECONDS:g} s: {counts}")  # noqa: T201 - its result
    for name, count in vars(counts).items():
        record_property(name, count)
    record_property("seed", SEED)
    assert soak.found == []
    assert soak.errors == []
    assert counts.events
    assert counts.comparisons > 1
