"""Which endpoints this node may send traffic to: merging slices, readiness, topology, locality.

Rules EP-05 to EP-36. Pure functions of the slices and of two facts about the node, its name and its zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zlib import crc32

from msgspec import Struct

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Endpoint, EndpointSlice, ServicePort
from ipvsagent.model.state import RealServer


class PortEndpoint(Struct, frozen=True, gc=False):
    """One endpoint of one Service port: the address and port that traffic goes to, and its conditions."""

    endpoint: Endpoint
    real_server: RealServer


class Eligible(Struct, frozen=True, gc=False):
    """The two choices that policies pick from; empty where there is none.

    Args:
        cluster: for policy Cluster.
        local: for policy Local.
        has_any: whether any endpoint anywhere could serve (EP-26).
    """

    cluster: tuple[RealServer, ...] = ()
    local: tuple[RealServer, ...] = ()
    has_any: bool = False


def endpoints_of_port(slices: Sequence[EndpointSlice], port: ServicePort, family: Family) -> list[PortEndpoint]:
    """Unite the slices' endpoints that belong to one Service port.

    Ports match by name and protocol, never by number (EP-06). Of entries with the same address and port one
    stays: not terminating before terminating, then ready, then of the newest slice, by generation and then by
    name (EP-11 as changed by DEV-13).

    Args:
        slices: all slices of the Service, of any family, in any order.
    """
    found: list[PortEndpoint] = []
    origins: list[EndpointSlice] = []
    for piece in slices:
        if piece.family is not family:
            continue
        for slice_port in piece.ports:
            if slice_port.name == port.name and slice_port.protocol is port.protocol:
                number, weight = slice_port.port, piece.weight
                found += [PortEndpoint(e, RealServer(e.address, number, weight)) for e in piece.endpoints]
                origins += [piece] * len(piece.endpoints)
    if len({(f.endpoint.address, f.real_server.port) for f in found}) == len(found):
        return found
    best: dict[tuple[Address, int], tuple[tuple[bool, bool, int, str], PortEndpoint]] = {}
    for candidate, piece in zip(found, origins, strict=True):
        endpoint = candidate.endpoint
        rank = (not endpoint.terminating, endpoint.ready, piece.generation, piece.key.name)
        place = endpoint.address, candidate.real_server.port  # one place has one weight: that of the entry that stays
        known = best.get(place)
        if known is None or rank > known[0]:
            best[place] = rank, candidate
    return [candidate for _, candidate in best.values()]


def local_endpoints(endpoints: Sequence[PortEndpoint], node_name: str) -> list[PortEndpoint]:
    """Those that run on this node."""
    return [e for e in endpoints if is_local(e.endpoint, node_name)]


def is_local(endpoint: Endpoint, node_name: str) -> bool:
    """Whether an endpoint runs on this node; without a name nothing is local (EP-09)."""
    return bool(node_name) and endpoint.node_name == node_name


def eligible_endpoints(
    endpoints: Sequence[PortEndpoint], *, node_name: str, zone: str, uses_cluster: bool, uses_local: bool
) -> Eligible:
    """Choose the endpoints for both policies.

    Ready endpoints win; with none ready, serving ones that terminate stand in (EP-24). Topology hints narrow
    the cluster choice only (EP-22, EP-23, EP-25), and each choice falls back independently of the other. What
    no frontend uses stays empty (EP-21, EP-25).
    """
    ready = [e for e in endpoints if e.endpoint.ready]
    standing_in: list[PortEndpoint] | None = None
    if not ready or uses_local:
        standing_in = [e for e in endpoints if e.endpoint.serving and e.endpoint.terminating]
    cluster: Sequence[PortEndpoint] = ()
    if uses_cluster:
        cluster = _near(ready, node_name, zone) or standing_in or ()
    local: Sequence[PortEndpoint] = ()
    if uses_local:
        local = local_endpoints(ready, node_name) or local_endpoints(standing_in or (), node_name)
    has_any = bool(cluster) or (uses_local and bool(ready or standing_in))
    return Eligible(_shuffled(cluster, node_name), _shuffled(local, node_name), has_any)


def _near(ready: Sequence[PortEndpoint], node_name: str, zone: str) -> Sequence[PortEndpoint]:
    """Apply the topology mode: same node, else same zone, else no narrowing (EP-22, EP-23)."""
    if node_name and all(e.endpoint.node_hints for e in ready):
        near = [e for e in ready if node_name in e.endpoint.node_hints]
        if near:
            return near
    if zone and all(e.endpoint.zone_hints for e in ready):
        near = [e for e in ready if zone in e.endpoint.zone_hints]
        if near:
            return near
    return ready


def _shuffled(endpoints: Iterable[PortEndpoint], node_name: str) -> tuple[RealServer, ...]:
    """Order real servers by a hash of node and endpoint.

    So round robin does not begin with the same one on every node, and a restart changes nothing.
    """
    servers = [e.real_server for e in endpoints]
    if len(servers) > 1:
        seed = crc32(node_name.encode())
        hashed = [(crc32(s.address, seed ^ s.port), s.address, s.port, s) for s in servers]  # no two have one place
        hashed.sort()
        servers = [item[3] for item in hashed]
    return tuple(servers)
