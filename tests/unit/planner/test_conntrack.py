"""Which flows are stale."""

from __future__ import annotations

from ipvsagent.model.address import Protocol
from ipvsagent.model.flows import Flow
from ipvsagent.model.state import VirtualServerKey
from ipvsagent.planner.conntrack import stale_flows
from support.builders import address

_DNS = VirtualServerKey(Protocol.UDP, address("10.96.0.10"), 53)
_KEPT = frozenset({(address("10.244.0.7"), 5353)})


def _flow(reply: str, reply_port: int, *, to: str = "10.96.0.10", port: int = 53, protocol: str = "UDP") -> Flow:
    client = address("10.244.0.3")
    return Flow(Protocol[protocol], client, 4000, address(to), port, address(reply), reply_port, client, 4000)


def test_flow_to_a_real_server_that_is_there_stays() -> None:
    """CT-05: only flows that lead elsewhere are stale."""
    assert stale_flows([_flow("10.244.0.7", 5353)], {_DNS: _KEPT}) == []


def test_flow_to_a_real_server_that_went_away_is_stale() -> None:
    """CT-05: address and port both count."""
    gone, other_port = _flow("10.244.0.8", 5353), _flow("10.244.0.7", 5354)
    assert stale_flows([gone, other_port], {_DNS: _KEPT}) == [gone, other_port]


def test_flow_that_was_never_translated_is_stale() -> None:
    """CT-08: the frontend itself is the answering side."""
    flow = _flow("10.96.0.10", 53)
    assert stale_flows([flow], {_DNS: _KEPT}) == [flow]


def test_every_flow_of_a_frontend_without_real_servers_is_stale() -> None:
    """DEV-21: the last endpoint's flows go, too."""
    flow = _flow("10.244.0.7", 5353)
    assert stale_flows([flow], {_DNS: frozenset()}) == [flow]


def test_flows_to_other_addresses_ports_and_protocols_stay() -> None:
    """CT-04, DEV-22: a frontend is its exact address, port and protocol."""
    flows = [
        _flow("10.244.0.8", 5353, to="192.0.2.1"),
        _flow("10.244.0.8", 5353, port=54),
        _flow("10.244.0.8", 5353, protocol="SCTP"),
    ]
    assert stale_flows(flows, {_DNS: _KEPT}) == []


def test_tcp_flows_are_never_stale() -> None:
    """CT-01: TCP clients notice by themselves."""
    key = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 53)
    assert stale_flows([_flow("10.244.0.8", 5353, protocol="TCP")], {key: frozenset()}) == []
