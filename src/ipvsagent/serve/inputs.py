"""What the servers read from the running agent."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.instrumentation.health_responses import HealthResponseCounts
from ipvsagent.model.status import Progress, Status


class ServingInputs(Struct, frozen=True):
    """The functions and values that responses are made from; any thread may call the functions, and none waits.

    Args:
        silence_seconds: time since the API server last confirmed what is served; None without an API server.
        source_faults: the resources that are not followed now.
        started_at: when the agent started, with its zone.
        flags: the command line's options in force.
        metrics: content type and text of the metrics; None if metrics are not served. This one may take long.
        health_responses: counts the responses of the health server (MET-12, MET-13).
        now: the time of day, with its zone.
        clock: monotonic seconds, the same clock as `Progress` uses.
    """

    status: Callable[[], Status]
    progress: Callable[[], Progress]
    settings: Callable[[], Settings]
    silence_seconds: Callable[[], float] | None = None
    source_faults: Callable[[], tuple[str, ...]] = tuple
    started_at: dt.datetime = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    flags: tuple[tuple[str, str], ...] = ()
    metrics: Callable[[], tuple[str, bytes]] | None = None
    health_responses: HealthResponseCounts = msgspec.field(default_factory=HealthResponseCounts)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    clock: Callable[[], float] = time.monotonic
