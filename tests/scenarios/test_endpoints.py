"""Which endpoints stand behind a virtual server (sections 2 of the specification)."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Protocol
from ipvsagent.model.objects import EndpointPort
from scenarios.facts import plan, real_servers
from support.builders import endpoint, endpoint_slice, port, service

CLUSTER = "10.96.0.10:80/TCP"
NODE_PORT = "192.168.60.1:30080/TCP"


def test_endpoints_of_all_slices_are_united() -> None:
    """EP-03: the endpoints of a Service are the union over its slices."""
    state = plan(service(), endpoint_slice("10.244.0.11", name="a"), endpoint_slice("10.244.0.12", name="b"))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080", "10.244.0.12:8080"]


def test_slices_of_other_services_do_not_count() -> None:
    """EP-01: the owner is the slice's label in the slice's namespace."""
    state = plan(service(), endpoint_slice("10.244.0.11"), endpoint_slice("10.244.0.12", of="shop/other"))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


def test_ports_match_by_name_and_protocol_not_by_number() -> None:
    """EP-06: one Service port can have real servers with different numbers."""
    web = service(ports=[port(80, name="http"), port(53, name="dns", protocol="UDP")])
    first = endpoint_slice(
        "10.244.0.11",
        name="a",
        ports=[EndpointPort("http", Protocol.TCP, 8080), EndpointPort("dns", Protocol.UDP, 5353)],
    )
    second = endpoint_slice(
        "10.244.0.12",
        name="b",
        ports=[EndpointPort("http", Protocol.TCP, 9090), EndpointPort("dns", Protocol.TCP, 5353)],
    )
    state = plan(web, first, second)
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080", "10.244.0.12:9090"]
    assert real_servers(state, "10.96.0.10:53/UDP") == ["10.244.0.11:5353"]


def test_each_family_takes_the_slices_of_its_own() -> None:
    """EP-02, SVC-04: an IPv6 cluster IP forwards to IPv6 endpoints."""
    dual = service("shop/web", "10.96.0.10", "fd00:96::10")
    state = plan(dual, endpoint_slice("10.244.0.11"), endpoint_slice("fd00:244::11"))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]
    assert real_servers(state, "[fd00:96::10]:80/TCP") == ["[fd00:244::11]:8080"]


def test_of_duplicates_the_one_that_does_not_terminate_counts() -> None:
    """EP-11, DEV-13: an entry that serves and terminates does not hide the same address that is ready."""
    leaving = endpoint("10.244.0.11", ready=False, terminating=True, serving=True)
    state = plan(service(), endpoint_slice("10.244.0.11", name="a"), endpoint_slice(leaving, name="b", generation=9))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


def test_same_address_with_two_ports_is_two_real_servers() -> None:
    """EP-12."""
    other = endpoint_slice("10.244.0.11", name="b", ports=[EndpointPort("", Protocol.TCP, 9090)])
    state = plan(service(), endpoint_slice("10.244.0.11", name="a"), other)
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080", "10.244.0.11:9090"]


def test_service_without_endpoints_keeps_its_virtual_server_without_real_servers() -> None:
    """EP-20, EP-37."""
    assert real_servers(plan(service()), CLUSTER) == []


def test_not_ready_endpoints_are_left_out() -> None:
    """EP-08, EP-23."""
    state = plan(service(), endpoint_slice("10.244.0.11", endpoint("10.244.0.12", ready=False)))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


def test_with_none_ready_those_serving_and_terminating_stand_in() -> None:
    """EP-24: not serving is never used, terminating alone is not enough."""
    state = plan(
        service(),
        endpoint_slice(
            endpoint("10.244.0.11", ready=False, serving=True, terminating=True),
            endpoint("10.244.0.12", ready=False, serving=False, terminating=True),
            endpoint("10.244.0.13", ready=False, serving=True, terminating=False),
        ),
    )
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ((("zone-a",), ("zone-b",)), ["10.244.0.11:8080"]),
        ((("zone-b",), ("zone-c",)), ["10.244.0.11:8080", "10.244.0.12:8080"]),
        ((("zone-a",), ()), ["10.244.0.11:8080", "10.244.0.12:8080"]),
    ],
    ids=["one in this zone", "none in this zone", "one without hints"],
)
def test_zone_hints_narrow_only_when_complete_and_of_use(
    hints: tuple[tuple[str, ...], ...], expected: list[str]
) -> None:
    """EP-10, EP-22, EP-23: every ready endpoint has a hint and one names this zone, or there is no narrowing."""
    made = [endpoint(f"10.244.0.1{i}", zones=zones) for i, zones in enumerate(hints, 1)]
    assert real_servers(plan(service(), endpoint_slice(*made)), CLUSTER) == expected


def test_node_hints_go_before_zone_hints() -> None:
    """EP-22: PreferSameNode wins over PreferSameZone."""
    state = plan(
        service(),
        endpoint_slice(
            endpoint("10.244.0.11", zones=["zone-a"], nodes=["node-2"]),
            endpoint("10.244.0.12", zones=["zone-b"], nodes=["node-1"]),
        ),
    )
    assert real_servers(state, CLUSTER) == ["10.244.0.12:8080"]


def test_terminating_stand_ins_ignore_hints() -> None:
    """EP-24."""
    state = plan(
        service(),
        endpoint_slice(endpoint("10.244.0.11", ready=False, terminating=True, zones=["zone-b"])),
    )
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


LOCAL_AND_REMOTE = endpoint_slice(
    endpoint("10.244.0.11", node="node-1", zones=["zone-b"]),
    endpoint("10.244.1.11", node="node-2", zones=["zone-a"]),
)
REMOTE = endpoint_slice(endpoint("10.244.1.11", node="node-2"))


def test_internal_policy_local_uses_local_endpoints_whatever_their_hints() -> None:
    """EP-09, EP-25, EP-31, SVC-13."""
    state = plan(service(internal_policy="Local"), LOCAL_AND_REMOTE)
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]


def test_internal_policy_local_without_local_endpoint_has_no_real_server() -> None:
    """EP-21, EP-32: the cluster choice stays empty where nothing uses it."""
    assert real_servers(plan(service(internal_policy="Local"), REMOTE), CLUSTER) == []


def test_internal_policy_local_falls_back_when_the_service_is_reached_from_outside() -> None:
    """EP-33, SVC-14."""
    web = service(internal_policy="Local", type="NodePort", ports=[port(80, node_port=30080)])
    state = plan(web, REMOTE)
    assert real_servers(state, CLUSTER) == ["10.244.1.11:8080"]
    assert real_servers(state, NODE_PORT) == ["10.244.1.11:8080"]


def test_external_policy_local_keeps_node_port_traffic_on_the_node() -> None:
    """EP-34, EP-35: the cluster IP is not affected."""
    web = service(external_policy="Local", type="NodePort", ports=[port(80, node_port=30080)])
    slices = endpoint_slice(endpoint("10.244.0.11", node="node-1"), endpoint("10.244.1.11", node="node-2"))
    state = plan(web, slices)
    assert real_servers(state, NODE_PORT) == ["10.244.0.11:8080"]
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080", "10.244.1.11:8080"]


def test_external_policy_local_without_local_endpoint_falls_back_unless_strict() -> None:
    """EP-36, DEV-11."""
    web = service(external_policy="Local", type="NodePort", ports=[port(80, node_port=30080)])
    assert real_servers(plan(web, REMOTE), NODE_PORT) == ["10.244.1.11:8080"]
    strict = plan(web, REMOTE, settings=Settings(strict_local_policy=True))
    assert real_servers(strict, NODE_PORT) == []
    assert real_servers(strict, CLUSTER) == ["10.244.1.11:8080"]


def test_local_terminating_endpoint_stands_in_while_a_remote_one_is_ready() -> None:
    """EP-25: the two fallbacks are independent of each other."""
    web = service(external_policy="Local", type="NodePort", ports=[port(80, node_port=30080)])
    state = plan(
        web,
        endpoint_slice(
            endpoint("10.244.0.11", node="node-1", ready=False, terminating=True),
            endpoint("10.244.1.11", node="node-2"),
        ),
    )
    assert real_servers(state, NODE_PORT) == ["10.244.0.11:8080"]
    assert real_servers(state, CLUSTER) == ["10.244.1.11:8080"]


@pytest.mark.parametrize(
    ("ports", "names"),
    [((EndpointPort("web", Protocol.TCP, 8080),), "`web`/TCP"), ((), "none")],
    ids=["others", "none"],
)
def test_a_service_whose_slices_never_match_a_port_is_reported(ports: tuple[EndpointPort, ...], names: str) -> None:
    """EP-06, DEV-61: pods are ready, and yet no connection succeeds."""
    state = plan(service(ports=[port(80, name="http")]), endpoint_slice("10.244.0.11", ports=ports))
    (problem,) = state.problems
    assert str(problem) == (
        "Service shop/web: spec.ports match no port of its EndpointSlices by name and protocol ("
        f"{names}); they have no endpoints"
    )
    assert problem.label == "UnmatchedPorts"


def test_a_service_without_endpoints_or_with_one_matching_port_is_in_order() -> None:
    """EP-37, DEV-61."""
    web = service(ports=[port(80, name="http"), port(81, name="more")])
    assert plan(web).problems == ()
    assert plan(web, endpoint_slice(ports=[EndpointPort("x", Protocol.TCP, 1)])).problems == ()
    assert plan(web, endpoint_slice("10.244.0.11", ports=[EndpointPort("more", Protocol.TCP, 1)])).problems == ()
    other_family = endpoint_slice("fd00::1", ports=[EndpointPort("x", Protocol.TCP, 1)])
    assert plan(web, other_family).problems == ()
