"""When the reconciler deletes flows of connection tracking, and which."""

from __future__ import annotations

from ipvsagent.errors import Busy
from ipvsagent.model.address import Protocol
from ipvsagent.model.events import Changed, Deleted
from ipvsagent.model.flows import Flow
from ipvsagent.model.objects import EndpointPort, EndpointSlice, Kind, Service
from support.builders import address, endpoint_slice, key, port, service
from support.fake_node import FakeNode

_CLIENT = address("10.244.0.3")
_OLD, _NEW = "10.244.0.7", "10.244.0.8"


def _flow(server: str, *, vip: str = "10.96.0.10", number: int = 53, server_port: int = 5353) -> Flow:
    return Flow(
        Protocol.UDP, _CLIENT, 4000, address(vip), number, address(server), server_port, _CLIENT, 4000, id=len(server)
    )


def _service(protocol: str = "UDP", node_port: int = 0) -> Service:
    kind = "NodePort" if node_port else "ClusterIP"
    return service("shop/dns", ports=[port(53, protocol=protocol, node_port=node_port)], type=kind)


def _slice(*endpoints: str, protocol: str = "UDP", generation: int = 1) -> EndpointSlice:
    ports = [EndpointPort("", Protocol[protocol], 5353)]
    return endpoint_slice(*endpoints, of="shop/dns", name="dns-1", ports=ports, generation=generation)


def _node(*endpoints: str, protocol: str = "UDP", node_port: int = 0) -> FakeNode:
    node = FakeNode()
    node.hear_all([_service(protocol, node_port)], [_slice(*endpoints, protocol=protocol)])
    node.kernel.conntrack.listings = 0
    return node


def test_flow_to_a_removed_endpoint_is_deleted_and_others_stay() -> None:
    """CT-05: one listing for the family concerned."""
    node = _node(_OLD, _NEW)
    kept, foreign = _flow(_NEW), _flow(_OLD, vip="192.0.2.1")
    node.kernel.conntrack.flows += [_flow(_OLD), kept, foreign]
    node.hear(Changed(_slice(_NEW, generation=2)))
    assert node.kernel.conntrack.flows == [kept, foreign]
    assert node.kernel.conntrack.listings == 1


def test_flow_to_the_last_endpoint_is_deleted() -> None:
    """DEV-21: also with no endpoint left."""
    node = _node(_OLD)
    node.kernel.conntrack.flows.append(_flow(_OLD))
    node.hear(Changed(_slice(generation=2)))
    assert node.kernel.conntrack.flows == []


def test_flows_of_a_deleted_service_go_on_all_its_frontends() -> None:
    """DEV-21, DEV-22: cluster IP and node port, at their exact addresses."""
    node = _node(_OLD, node_port=30053)
    elsewhere = _flow(_OLD, vip="198.51.100.1", number=30053)
    node.kernel.conntrack.flows += [_flow(_OLD), _flow(_OLD, vip="192.168.60.1", number=30053), elsewhere]
    node.hear(Deleted(Kind.SERVICE, key("shop/dns")))
    assert node.kernel.conntrack.flows == [elsewhere]


def test_untranslated_flow_goes_when_the_first_endpoint_comes() -> None:
    """CT-08: its sender would never reach the new endpoint otherwise."""
    node = _node()
    node.kernel.conntrack.flows.append(_flow("10.96.0.10", server_port=53))
    node.hear(Changed(_slice(_NEW, generation=2)))
    assert node.kernel.conntrack.flows == []


def test_more_endpoints_and_tcp_changes_list_nothing() -> None:
    """CT-01: cost follows the change."""
    more = _node(_OLD)
    more.hear(Changed(_slice(_OLD, _NEW, generation=2)))
    tcp = _node(_OLD, protocol="TCP")
    tcp.hear(Changed(_slice(_NEW, protocol="TCP", generation=2)))
    assert (more.kernel.conntrack.listings, tcp.kernel.conntrack.listings) == (0, 0)


def test_failed_listing_is_reported_and_tried_again() -> None:
    """CT-02: the pass goes on, and the flow goes in the end."""
    node = _node(_OLD)
    node.kernel.conntrack.flows.append(_flow(_OLD))
    node.kernel.conntrack.failures.append(Busy("list flows"))
    node.hear(Changed(_slice(_NEW, generation=2)))
    assert node.status().failures == ("delete stale flows: list flows: Busy",)
    node.settle()
    assert node.kernel.conntrack.flows == []
    assert node.status().failures == ()


def test_restart_cleans_what_an_earlier_run_left() -> None:
    """CT-05: a run may end between its writes and its cleaning."""
    node = _node(_NEW)
    node.kernel.conntrack.flows.append(_flow(_OLD))
    again = FakeNode(node.kernel)
    again.hear_all([_service()], [_slice(_NEW)])
    assert again.kernel.conntrack.flows == []
