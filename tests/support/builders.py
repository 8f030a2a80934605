"""Short ways to make model objects in tests; every value that matters to a test is given by the test."""

from __future__ import annotations

from collections.abc import Sequence

from ipvsagent.model.address import Address, Network, Protocol
from ipvsagent.model.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    ObjectKey,
    Scheduling,
    Service,
    ServicePort,
    ServiceType,
    TrafficPolicy,
)
from ipvsagent.planner.facts import NodeFacts


def address(text: str) -> Address:
    """An address from its text."""
    return Address.parse(text)


def addresses(*texts: str) -> tuple[Address, ...]:
    """Addresses from their texts."""
    return tuple(Address.parse(t) for t in texts)


def key(text: str) -> ObjectKey:
    """An object key from ``namespace/name``."""
    namespace, _, name = text.rpartition("/")
    return ObjectKey(namespace or "shop", name)


def port(number: int = 80, *, name: str = "", protocol: str = "TCP", node_port: int = 0) -> ServicePort:
    """A Service port."""
    return ServicePort(name, Protocol[protocol], number, node_port)


def service(
    name: str = "shop/web",
    *cluster_ips: str,
    ports: Sequence[ServicePort] = (ServicePort("", Protocol.TCP, 80),),
    type: str = "ClusterIP",  # noqa: A002 - the field's own name
    external_ips: Sequence[str] = (),
    load_balancer_ips: Sequence[str] = (),
    source_ranges: Sequence[str] = (),
    internal_policy: str = "Cluster",
    external_policy: str = "Cluster",
    affinity_timeout_seconds: int = 0,
    health_check_node_port: int = 0,
    created_at: str = "2026-01-01T00:00:00Z",
    scheduling: Scheduling | None = None,
) -> Service:
    """A Service; with no cluster IP given it has 10.96.0.10."""
    return Service(
        key=key(name),
        type=ServiceType(type),
        cluster_ips=addresses(*(cluster_ips or ("10.96.0.10",))),
        ports=tuple(ports),
        external_ips=addresses(*external_ips),
        load_balancer_ips=addresses(*load_balancer_ips),
        source_ranges=tuple(Network.parse(r) for r in source_ranges),
        internal_policy=TrafficPolicy(internal_policy),
        external_policy=TrafficPolicy(external_policy),
        affinity_timeout_seconds=affinity_timeout_seconds,
        health_check_node_port=health_check_node_port,
        created_at=created_at,
        scheduling=scheduling,
    )


def endpoint(
    text: str,
    *,
    ready: bool = True,
    serving: bool = True,
    terminating: bool = False,
    node: str = "",
    zones: Sequence[str] = (),
    nodes: Sequence[str] = (),
) -> Endpoint:
    """An endpoint of a slice."""
    return Endpoint(Address.parse(text), ready, serving, terminating, node, tuple(zones), tuple(nodes))


def endpoint_slice(
    *endpoints: Endpoint | str,
    of: str = "shop/web",
    name: str = "",
    ports: Sequence[EndpointPort] = (EndpointPort("", Protocol.TCP, 8080),),
    generation: int = 1,
    weight: int = 1,
) -> EndpointSlice:
    """A slice of a Service; its family is that of its first endpoint (IPv4 without any)."""
    made = tuple(endpoint(e) if isinstance(e, str) else e for e in endpoints)
    owner = key(of)
    family = made[0].address.family if made else Address.parse("0.0.0.0").family
    return EndpointSlice(
        key=ObjectKey(owner.namespace, name or f"{owner.name}-{family.label.lower()}"),
        service=owner,
        family=family,
        ports=tuple(ports),
        endpoints=made,
        generation=generation,
        weight=weight,
    )


NODE = NodeFacts(
    name="node-1",
    zone="zone-a",
    addresses=frozenset(addresses("192.168.60.1", "10.244.0.1", "fd00:60::1")),
    node_port_addresses=addresses("192.168.60.1", "fd00:60::1"),
    internal_addresses=addresses("192.168.60.1", "fd00:60::1"),
)
"""A node with two families; NodePorts answer on one address each."""
