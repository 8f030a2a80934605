"""ctnetlink messages, there and back."""

from __future__ import annotations

import pytest

from ipvsagent.kernel.netlink.codecs import conntrack as codec
from ipvsagent.kernel.netlink.sockets import attribute
from ipvsagent.model.address import Protocol
from ipvsagent.model.flows import Flow
from support.builders import address


def _flow(client: str, vip: str, server: str, protocol: Protocol = Protocol.UDP) -> Flow:
    return Flow(protocol, address(client), 4000, address(vip), 53, address(server), 5353, address(client), 4001, id=7)


@pytest.mark.parametrize("protocol", [Protocol.UDP, Protocol.SCTP])
@pytest.mark.parametrize("ends", [("10.244.0.3", "10.96.0.10", "10.244.0.7"), ("fd00:1::3", "fd00:2::10", "fd00:1::7")])
def test_flow_keeps_both_directions_and_its_number(ends: tuple[str, str, str], protocol: Protocol) -> None:
    """CT-07: a request names the full key."""
    flow = _flow(*ends, protocol)
    assert codec.decode_flow(codec.encode_delete(flow), flow.family) == flow


def test_flow_of_tcp_is_left_out() -> None:
    """CT-01: TCP is never touched."""
    flow = _flow("10.244.0.3", "10.96.0.10", "10.244.0.7", Protocol.TCP)
    assert codec.decode_flow(codec.encode_delete(flow), flow.family) is None


def test_flow_in_a_zone_is_left_out() -> None:
    """CT-05: what others track in zones of their own is theirs."""
    flow = _flow("10.244.0.3", "10.96.0.10", "10.244.0.7")
    assert codec.decode_flow(codec.encode_delete(flow) + attribute(18, b"\0\5"), flow.family) is None
    assert codec.decode_flow(codec.encode_delete(flow) + attribute(18, b"\0\0"), flow.family) == flow
