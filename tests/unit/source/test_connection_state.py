"""What the log says of broken connections."""

from __future__ import annotations

from ipvsagent.source.connection_state import ConnectionState
from support.fake_node import SilentLogger


def test_resources_that_break_for_one_reason_share_their_lines() -> None:
    """One line when the first breaks, one when the last is back."""
    log, now = SilentLogger(), [100.0]
    state = ConnectionState(log, lambda: now[0])
    state.broke("services", "refused")
    state.broke("nodes", "refused")
    now[0] = 130.0
    state.broke("services", "timed out")
    assert state.faults() == (
        "API server nodes: not followed for 30 s: refused",
        "API server services: not followed for 30 s: timed out",
    )
    state.recovered("services", 140.0)
    state.recovered("nodes", 142.25)
    state.recovered("nodes", 150.0)
    assert [line for line in log.lines if not line.startswith("debug")] == [
        "warning: connection to the API server broke resource=services reason=refused",
        "info: connection to the API server is back resource=nodes gap_seconds=42.2",
    ]
    assert state.faults() == ()


def test_another_reason_has_lines_for_itself() -> None:
    """A permission that is missing for ever hides no outage."""
    log = SilentLogger()
    state = ConnectionState(log, lambda: 100.0)
    state.broke("nodes", "403")
    state.broke("services", "refused")
    state.recovered("services", 101.0)
    state.broke("services", "refused")
    assert [line.partition(" ")[2] for line in log.lines] == [
        "connection to the API server broke resource=nodes reason=403",
        "connection to the API server broke resource=services reason=refused",
        "connection to the API server is back resource=services gap_seconds=1.0",
        "connection to the API server broke resource=services reason=refused",
    ]


def test_connections_that_are_closed_on_purpose_are_no_fault() -> None:
    """Stopping says nothing."""
    log = SilentLogger()
    state = ConnectionState(log)
    state.stop()
    state.broke("services", "closed")
    assert (log.lines, state.faults()) == ([], ())
