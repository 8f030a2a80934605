"""IPVS timeouts against TCP keepalive."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Timeouts
from ipvsagent.model.state import IpvsTimeouts
from ipvsagent.planner.sysctls import plan_timeouts

KERNEL = IpvsTimeouts(900, 120, 300)


@pytest.mark.parametrize(
    ("wanted", "present", "keepalive", "request_"),
    [
        (Timeouts(), KERNEL, 7875, IpvsTimeouts(7875, 0, 0)),
        (Timeouts(), KERNEL, 600, IpvsTimeouts()),
        (Timeouts(), IpvsTimeouts(9000, 120, 300), 7875, IpvsTimeouts()),
        (Timeouts(tcp_seconds=60), KERNEL, 7875, IpvsTimeouts(60, 0, 0)),
        (Timeouts(automatic=False), KERNEL, 7875, IpvsTimeouts()),
        (Timeouts(900, 30, 10), KERNEL, 7875, IpvsTimeouts(0, 30, 10)),
    ],
    ids=["raised", "long enough", "never lowered", "given", "switched off", "only what differs"],
)
def test_timeouts(wanted: Timeouts, present: IpvsTimeouts, keepalive: int, request_: IpvsTimeouts) -> None:
    """SYS-08, CFG-25, KR-18: never below the time after which the host gives a silent peer up, unless told so."""
    assert plan_timeouts(wanted, present, keepalive_seconds=keepalive) == request_
