"""In which order Services are written in a first sync: what a new node needs most comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ipvsagent.model.objects import EndpointSlice, ObjectKey, Service
from ipvsagent.planner.endpoints import any_local
from ipvsagent.planner.facts import KUBERNETES_API, is_cluster_dns


def first_sync_order(services: Iterable[tuple[Service, Sequence[EndpointSlice]]], node_name: str) -> list[ObjectKey]:
    """Sort: the API server, cluster DNS, Services with endpoints on this node, the rest (design, section 2)."""
    ranked = sorted((_rank(service, slices, node_name), service.key) for service, slices in services)
    return [key for _, key in ranked]


def _rank(service: Service, slices: Sequence[EndpointSlice], node_name: str) -> int:
    if service.key == KUBERNETES_API:
        return 0
    if is_cluster_dns(service):
        return 1
    if any(any_local(piece.endpoints, node_name) for piece in slices):
        return 2
    return 3
