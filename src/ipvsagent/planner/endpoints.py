"""Choose the endpoints that this node may send traffic to: merged slices, readiness, topology, locality.

Rules EP-05 to EP-36. Pure functions of the slices and of two facts about the node, its name and its zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from msgspec import Struct

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Endpoint, EndpointSlice, ServicePort
from ipvsagent.model.state import RealServer


class PortEndpoints(Struct, frozen=True, gc=False):
    """Endpoints of one slice that serve one Service port, with their common port and weight.

    Args:
        port: the endpoints' port.
        weight: weight of the real servers.
        endpoints: never empty.
    """

    port: int
    weight: int
    endpoints: Sequence[Endpoint]


class Eligible(Struct, frozen=True, gc=False):
    """The endpoints for both policies; empty if there are none.

    Args:
        cluster: for policy Cluster.
        local: for policy Local.
        has_any: whether any endpoint anywhere could serve (EP-26).
    """

    cluster: tuple[RealServer, ...] = ()
    local: tuple[RealServer, ...] = ()
    has_any: bool = False


def endpoints_of_port(slices: Sequence[EndpointSlice], port: ServicePort, family: Family) -> list[PortEndpoints]:
    """Merge the endpoints of all slices for one Service port.

    Ports match by name and protocol, never by number (EP-06). Of entries with the same address and port, one is kept:
    not terminating before terminating, then ready, then the one in the newest slice, by generation and then by name
    (EP-11 as changed by DEV-13).

    Args:
        slices: all slices of the Service, of any family, in any order.
    """
    found: list[PortEndpoints] = []
    origins: list[EndpointSlice] = []
    for piece in slices:
        if piece.family is not family or not piece.endpoints:
            continue
        for slice_port in piece.ports:
            if slice_port.name == port.name and slice_port.protocol is port.protocol:
                found.append(PortEndpoints(slice_port.port, piece.weight, piece.endpoints))
                origins.append(piece)
    return found if _all_differ(found) else _without_duplicates(found, origins)


def _all_differ(found: Sequence[PortEndpoints]) -> bool:
    if len(found) == 1:
        return len({e.address for e in found[0].endpoints}) == len(found[0].endpoints)
    places = {(e.address, group.port) for group in found for e in group.endpoints}
    return len(places) == sum([len(group.endpoints) for group in found])


def _without_duplicates(found: Iterable[PortEndpoints], origins: Iterable[EndpointSlice]) -> list[PortEndpoints]:
    best: dict[tuple[Address, int], tuple[tuple[bool, bool, int, str], PortEndpoints]] = {}
    for group, piece in zip(found, origins, strict=True):
        for endpoint in group.endpoints:
            rank = (not endpoint.terminating, endpoint.ready, piece.generation, piece.key.name)
            place = endpoint.address, group.port  # the weight of the kept entry counts
            known = best.get(place)
            if known is None or rank > known[0]:
                best[place] = rank, PortEndpoints(group.port, group.weight, (endpoint,))
    return [group for _, group in best.values()]


def local_endpoints(found: Iterable[PortEndpoints], node_name: str) -> list[PortEndpoints]:
    """Return the endpoints on this node; without a node name nothing is local (EP-09)."""
    if not node_name:
        return []
    return _kept((group, [e for e in group.endpoints if e.node_name == node_name]) for group in found)


def any_local(endpoints: Iterable[Endpoint], node_name: str) -> bool:
    """Return whether one of these endpoints is on this node."""
    return bool(node_name) and node_name in [e.node_name for e in endpoints]


def _kept(found: Iterable[tuple[PortEndpoints, list[Endpoint]]]) -> list[PortEndpoints]:
    """Return the filtered groups, without empty ones."""
    return [PortEndpoints(group.port, group.weight, left) for group, left in found if left]


def eligible_endpoints(
    found: Sequence[PortEndpoints], *, node_name: str, zone: str, uses_cluster: bool, uses_local: bool
) -> Eligible:
    """Choose the endpoints for both policies.

    Ready endpoints are preferred; if none is ready, endpoints that are serving and terminating are used (EP-24).
    Topology hints only affect the cluster choice (EP-22, EP-23, EP-25), and each choice falls back independently of
    the other. A choice that no frontend uses stays empty (EP-21, EP-25).
    """
    ready = _kept([(group, [e for e in group.endpoints if e.ready]) for group in found])
    standing_in: list[PortEndpoints] = []
    if not ready or uses_local:
        standing_in = _kept((group, [e for e in group.endpoints if e.serving and e.terminating]) for group in found)
    cluster: Sequence[PortEndpoints] = ()
    if uses_cluster:
        cluster = _near(ready, node_name, zone) or standing_in
    local: Sequence[PortEndpoints] = ()
    if uses_local:
        local = local_endpoints(ready, node_name) or local_endpoints(standing_in, node_name)
    has_any = bool(cluster) or (uses_local and bool(ready or standing_in))
    return Eligible(_shuffled(cluster, node_name), _shuffled(local, node_name), has_any)


def _near(ready: Sequence[PortEndpoints], node_name: str, zone: str) -> Sequence[PortEndpoints]:
    """Apply the topology mode: same node, otherwise same zone, otherwise all endpoints (EP-22, EP-23)."""
    if not ready:
        return ready
    first = ready[0].endpoints[0]
    if not first.node_hints and not first.zone_hints:  # all endpoints must have hints, so this is the usual case
        return ready
    endpoints = [e for group in ready for e in group.endpoints]
    if node_name and all(e.node_hints for e in endpoints):
        near = _kept((group, [e for e in group.endpoints if node_name in e.node_hints]) for group in ready)
        if near:
            return near
    if zone and all(e.zone_hints for e in endpoints):
        near = _kept((group, [e for e in group.endpoints if zone in e.zone_hints]) for group in ready)
        if near:
            return near
    return ready


def _shuffled(chosen: Iterable[PortEndpoints], node_name: str) -> tuple[RealServer, ...]:
    """Order real servers by a hash of node and endpoint.

    Round robin then does not start with the same real server on every node, and a restart changes nothing.
    """
    hashed: list[tuple[int, Address, int, int]] = []  # address and port are unique
    node_seed = crc32(node_name.encode()) if chosen else 0
    for group in chosen:
        port, weight = group.port, group.weight
        seed = node_seed ^ port
        hashed += [(crc32(e.address, seed), e.address, port, weight) for e in group.endpoints]
    hashed.sort()
    return tuple([RealServer(address, port, weight) for _, address, port, weight in hashed])
