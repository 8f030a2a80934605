"""The status of a running agent: immutable values that the owner thread publishes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import ObjectKey, Problem
from ipvsagent.model.state import HealthCheck, NoLocalEndpoints


class Progress(Struct, frozen=True):
    """The progress of the owner thread; times are seconds of a monotonic clock.

    Args:
        completed_at: end of the last pass that completed every stage; the agent's start if there was none.
        outstanding_since: since when work has been waiting for such a pass (HC-02, DEV-32); None if there is none.
    """

    completed_at: float
    outstanding_since: float | None = None


class Status(Struct, frozen=True):
    """A snapshot after a pass of the owner thread.

    Args:
        complete: whether all objects were listed once (SYN-04).
        synchronised: whether the kernel has the whole desired state.
        services: number of Services with a plan.
        virtual_servers: number of desired virtual servers.
        failures: items that could not be written, as text, with the error.
        configuration_refused: the reason why the newest configuration is not in force; empty if it is.
        waiting_for_restart: fields whose configured values are not in force yet.
        problems: problems of objects and their source, including conflicts.
        prepared: whether the first synchronisation has ended, even with failures.
        families: the address families that this node serves (DEV-81).
        node_eligible: whether load balancers may send new traffic to this node (HC-03).
        node_unknown: a message if the cluster has no Node for this node; otherwise empty (DEV-65).
        health_checks: health check node ports with the number of local endpoints (HC-10, HC-14).
        no_local_endpoints: number of Services with policy Local that have endpoints, but none on this node (EP-38).
        health_check_addresses: where those ports are served; an unspecified address means all of its family (HC-11).
    """

    complete: bool = False
    synchronised: bool = False
    services: int = 0
    virtual_servers: int = 0
    failures: tuple[str, ...] = ()
    configuration_refused: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    prepared: bool = False
    families: tuple[Family, ...] = tuple(Family)
    node_eligible: bool = False
    node_unknown: str = ""
    health_checks: Mapping[ObjectKey, tuple[HealthCheck, ...]] = MappingProxyType({})
    health_check_addresses: tuple[Address, ...] = ()
    no_local_endpoints: Mapping[NoLocalEndpoints, int] = MappingProxyType({})
