"""Scenes that tests of metrics share."""

from __future__ import annotations

import pytest

from ipvsagent.errors import DumpInterrupted
from ipvsagent.instrumentation.api_requests import RequestCounts
from ipvsagent.instrumentation.counters import Drift
from ipvsagent.model.address import Family
from ipvsagent.model.objects import Kind
from ipvsagent.model.ops import AddVirtualServer
from ipvsagent.model.state import (
    VirtualServer,
)
from unit.serve.metrics.scene import WEB, Scene


@pytest.fixture
def scene() -> Scene:
    """A node with one Service that has a node port, and a virtual server of somebody else's."""
    return Scene()


@pytest.fixture
def busy() -> Scene:
    """As `scene`, with at least one sample of every metric."""
    made = Scene()
    counters = made.inputs.counters
    counters.note_operations([AddVirtualServer(VirtualServer(WEB, "rr"))] * 2, [None, DumpInterrupted("x")])
    counters.note_task("write rules", well=True)
    counters.note_change(Kind.SERVICE)
    counters.note_drift(Drift.RULES, 1, 1)
    counters.note_rule_failure(Family.IPV6)
    counters.note_flow_deleted(Family.IPV4)
    for histogram in (counters.passes, counters.change_to_kernel, counters.programming, counters.flow_cleanings):
        histogram.observe(0.3)
    made.inputs.requests = RequestCounts()
    made.inputs.requests.note("192.0.2.1:6443", "GET", "200", 0.3)
    made.inputs.requests.note_request_size("192.0.2.1:6443", "GET", 0)
    made.inputs.requests.note_response_size("192.0.2.1:6443", "GET", 5000)
    made.inputs.health_responses.note("healthz", 200)
    made.inputs.health_responses.note("livez", 503)
    return made
