"""What health and pages are made from: a status and a progress at one moment."""

from __future__ import annotations

import datetime as dt

from ipvsagent.config.types import Settings
from ipvsagent.model.status import Progress, Status
from ipvsagent.serve.inputs import ServingInputs

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
WELL = Status(complete=True, synchronised=True, prepared=True, node_eligible=True)
STUCK = Progress(900.0, 939.0)


def inputs(status: Status = WELL, progress: Progress | None = None) -> ServingInputs:
    """Everything at the monotonic time 1000, the last complete pass 10 s ago; the limit is 60 s."""
    return ServingInputs(
        status=lambda: status,
        progress=lambda: progress or Progress(990.0),
        settings=Settings,
        now=lambda: NOW,
        clock=lambda: 1000.0,
    )
