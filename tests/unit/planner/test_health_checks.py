"""Health check node ports: which, where, and how many local endpoints."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.config.values import NodePortAddresses
from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.objects import EndpointPort, EndpointSlice, Node, Service
from ipvsagent.model.state import HealthCheck
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.facts import health_check_addresses, takes_traffic
from ipvsagent.planner.services import plan_service
from support.builders import NODE, address, addresses, endpoint, endpoint_slice, key, port, service

IPV4 = (Family.IPV4,)


def checks(web: Service, *slices: EndpointSlice) -> tuple[HealthCheck, ...]:
    """The health checks in a Service's plan."""
    return plan_service(web, slices, node=NODE, settings=Settings()).health_checks


def local_web(*cluster_ips: str, ports: int = 1) -> Service:
    """A Service with a health check node port."""
    return service(
        "shop/web",
        *cluster_ips,
        type="LoadBalancer",
        external_policy="Local",
        health_check_node_port=32000,
        ports=[port(80 + n, name=f"p{n}") for n in range(ports)],
    )


def ports_of_slice(count: int) -> list[EndpointPort]:
    """The slice ports that belong to `local_web`."""
    return [EndpointPort(f"p{n}", Protocol.TCP, 8080 + n) for n in range(count)]


def test_local_ready_addresses_count_once_over_all_ports() -> None:
    """HC-14: two ports with the same endpoints are no more endpoints; remote and unready ones do not count."""
    piece = endpoint_slice(
        endpoint("10.244.0.11", node="node-1"),
        endpoint("10.244.0.12", node="node-1"),
        endpoint("10.244.0.13", node="node-1", ready=False),
        endpoint("10.244.1.11", node="node-2"),
        endpoint("10.244.0.14"),
        ports=ports_of_slice(2),
    )
    assert checks(local_web(ports=2), piece) == (HealthCheck(Family.IPV4, 32000, 2),)


def test_endpoints_that_no_port_of_the_service_reaches_do_not_count() -> None:
    """HC-14, DEV-62: a load balancer that knows of them would send its clients to a port that answers nobody."""
    pods = endpoint_slice(endpoint("10.244.0.11", node="node-1"), ports=[EndpointPort("other", Protocol.TCP, 8080)])
    assert checks(local_web(), pods) == (HealthCheck(Family.IPV4, 32000, 0),)
    both = endpoint_slice(endpoint("10.244.0.12", node="node-1"), name="web-2", ports=ports_of_slice(1))
    assert checks(local_web(), pods, both) == (HealthCheck(Family.IPV4, 32000, 1),)


def test_an_endpoint_that_stands_in_while_it_terminates_does_not_count() -> None:
    """HC-14: it may still serve (EP-25), but no load balancer is to send more here."""
    leaving = endpoint("10.244.0.11", node="node-1", ready=False, serving=True, terminating=True)
    assert checks(local_web(), endpoint_slice(leaving, ports=ports_of_slice(1))) == (
        HealthCheck(Family.IPV4, 32000, 0),
    )


def test_each_family_counts_its_own() -> None:
    """HC-10: a dual-stack Service has two."""
    slices = [
        endpoint_slice(endpoint("10.244.0.11", node="node-1"), ports=ports_of_slice(1)),
        endpoint_slice(
            endpoint("fd00:244::11", node="node-1"), endpoint("fd00:244::12", node="node-1"), ports=ports_of_slice(1)
        ),
    ]
    assert checks(local_web("10.96.0.10", "fd00:96::10"), *slices) == (
        HealthCheck(Family.IPV4, 32000, 1),
        HealthCheck(Family.IPV6, 32000, 2),
    )


@pytest.mark.parametrize(
    "web",
    [
        service(type="LoadBalancer", external_policy="Cluster", health_check_node_port=32000),
        service(type="NodePort", external_policy="Local", health_check_node_port=32000),
        service(type="LoadBalancer", external_policy="Local"),
        service(type="LoadBalancer", external_policy="Local", health_check_node_port=32000, ports=[]),
    ],
)
def test_services_that_need_no_health_check_have_none(web: Service) -> None:
    """SVC-15, DEV-62: only a LoadBalancer with externalTrafficPolicy Local, a port to check and one to be asked on."""
    assert checks(web, endpoint_slice(endpoint("10.244.0.11", node="node-1"))) == ()


def test_the_whole_is_replaced_when_a_part_changes_and_only_then() -> None:
    """HC-10: who holds an earlier mapping sees no change; a plan that says the same makes no new one."""
    desired = Desired()
    one = endpoint_slice(endpoint("10.244.0.11", node="node-1"), ports=ports_of_slice(1))
    web = local_web()
    desired.replace(web.key, plan_service(web, [one], node=NODE, settings=Settings()))
    first = desired.health_checks
    assert first == {web.key: (HealthCheck(Family.IPV4, 32000, 1),)}
    other = service("shop/other", "10.96.0.11")
    desired.replace(other.key, plan_service(other, [], node=NODE, settings=Settings()))
    assert desired.health_checks is first
    desired.replace(web.key, plan_service(web, [], node=NODE, settings=Settings()))
    assert desired.health_checks == {web.key: (HealthCheck(Family.IPV4, 32000, 0),)}
    desired.replace(web.key, None)
    assert desired.health_checks == {}
    assert first == {key("shop/web"): (HealthCheck(Family.IPV4, 32000, 1),)}


PRESENT = addresses("127.0.0.1", "192.168.60.1", "10.244.0.1", "::1", "fd00:60::1", "fe80::1")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ([], ("0.0.0.0", "::")),
        (["0.0.0.0/0"], ("0.0.0.0", "::")),
        (["192.168.60.0/24"], ("192.168.60.1", "::")),
        (["192.168.60.0/24", "127.0.0.0/8"], ("127.0.0.1", "192.168.60.1", "::")),
        (["192.168.0.0/16", "10.244.0.0/16", "fd00:60::/64"], ("10.244.0.1", "192.168.60.1", "fd00:60::1")),
        (["172.16.0.0/12", "fd00:99::/64"], ()),
        (["192.168.60.0/24", "::/0", "fd00:60::/64"], ("192.168.60.1", "::")),
    ],
)
def test_where_health_check_ports_listen(setting: list[str], expected: tuple[str, ...]) -> None:
    """HC-11: a wildcard unless the family is restricted; loopback where the setting covers it; DEV-10: nothing else."""
    networks = NodePortAddresses(tuple(Network.parse(n) for n in setting))
    found = health_check_addresses(networks, PRESENT, internal_addresses=(), families=tuple(Family))
    assert tuple(map(str, found)) == expected


@pytest.mark.parametrize(
    ("internal", "expected"),
    [
        (("192.168.60.1", "fd00:60::1"), ("192.168.60.1", "fd00:60::1")),
        (("192.168.60.1",), ("192.168.60.1", "::")),
        ((), ()),
        (("127.0.0.1",), ()),
    ],
)
def test_primary_is_the_nodes_address(internal: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """HC-11, NP-05, DEV-60: a family without a known address is not restricted, unless nothing is known of the node."""
    found = health_check_addresses(
        NodePortAddresses(primary=True),
        PRESENT,
        internal_addresses=addresses(*internal),
        families=tuple(Family),
    )
    assert tuple(map(str, found)) == expected


def test_a_family_that_is_not_served_has_no_health_check() -> None:
    """HC-10: one server a family that works."""
    found = health_check_addresses(NodePortAddresses(), PRESENT, internal_addresses=(), families=IPV4)
    assert found == (Address(bytes(4)),) == (address("0.0.0.0"),)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (None, False),
        (Node("node-1"), True),
        (Node("node-1", deleting=True), False),
        (Node("node-1", taint_keys=("node.kubernetes.io/unschedulable",)), True),
        (Node("node-1", taint_keys=("x", "ToBeDeletedByClusterAutoscaler")), False),
    ],
)
def test_which_nodes_take_new_traffic(node: Node | None, expected: bool) -> None:
    """HC-03: known, not being deleted, not about to be removed by the autoscaler."""
    assert takes_traffic(node) is expected
