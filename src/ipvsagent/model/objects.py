"""Kubernetes objects, reduced to the fields that this product uses (SVC-06 lists the others).

`source.decode` decodes and checks them. The values here are valid: addresses are packed, ports are in 1-65535, the
API's defaults are filled in.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Address, Family, Network, Protocol


class ObjectKey(NamedTuple):
    """Namespace and name of an object; the namespace of a Node is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Kind(enum.StrEnum):
    """The object kinds that are read."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    NODE = "Node"


class ServiceType(enum.StrEnum):
    """`Service.spec.type`, without ExternalName, which is ignored (SVC-03)."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class TrafficPolicy(enum.StrEnum):
    """`internalTrafficPolicy` and `externalTrafficPolicy`."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class ServicePort(Struct, frozen=True, gc=False):
    """One entry of `spec.ports` (SVC-05)."""

    name: str  # empty for a Service's only, unnamed port
    protocol: Protocol
    port: int
    node_port: int = 0  # 0: none (SVC-16)


class Scheduling(Struct, frozen=True, gc=False):
    """The scheduler that a Service's annotations request (DEV-15, KR-01, KR-02).

    The planner decides which one is used, because that also depends on the kernel and on the cluster's scheduler.

    Args:
        scheduler: empty for the cluster's scheduler.
        flags: bits as in `model.state`; None if not given.
        flags_for: the only scheduler that has these flags; empty for any.
        scheduler_field: the path of the field with `scheduler`, for problems.
        flags_field: the path of the field with `flags`.
    """

    scheduler: str = ""
    flags: int | None = None
    flags_for: str = ""
    scheduler_field: str = ""
    flags_field: str = ""


class Service(Struct, frozen=True, gc=False):
    """One Service that has a cluster IP (SVC-02).

    Invariant: at most one cluster IP per family (SVC-04); the tuples contain no duplicates.
    """

    key: ObjectKey
    type: ServiceType
    cluster_ips: tuple[Address, ...]
    ports: tuple[ServicePort, ...]
    external_ips: tuple[Address, ...] = ()  # SVC-08
    load_balancer_ips: tuple[Address, ...] = ()  # ipMode VIP only (SVC-09)
    source_ranges: tuple[Network, ...] = ()  # SVC-10
    source_ranges_unread: bool = False  # some could not be read: a family without other ranges is closed (DEV-60)
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    affinity_timeout_seconds: int = 0  # 0: no session affinity (SVC-07)
    health_check_node_port: int = 0  # 0: none (SVC-15)
    created_at: str = ""  # RFC 3339 in UTC, so text order is time order
    scheduling: Scheduling | None = None  # None for nearly all Services: no annotations


class EndpointPort(Struct, frozen=True, gc=False):
    """One port of a slice (EP-05)."""

    name: str
    protocol: Protocol
    port: int


class Endpoint(Struct, frozen=True, gc=False):
    """One address of a slice with its conditions, nulls resolved (EP-07 to EP-10)."""

    address: Address
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node_name: str = ""  # empty: unknown, never local (EP-09)
    zone_hints: tuple[str, ...] = ()
    node_hints: tuple[str, ...] = ()


DEFAULT_WEIGHT = 1  # VS-06


class EndpointSlice(Struct, frozen=True, gc=False):
    """One EndpointSlice that belongs to a Service (EP-01).

    Invariant: every endpoint's address is of `family` (EP-02).
    """

    key: ObjectKey
    service: ObjectKey
    family: Family
    ports: tuple[EndpointPort, ...]
    endpoints: tuple[Endpoint, ...]
    generation: int = 0  # the newer slice wins over the older one (DEV-13)
    weight: int = DEFAULT_WEIGHT  # of its endpoints as real servers; 0: no new connections (DEV-15)


class Node(Struct, frozen=True, gc=False):
    """The fields of a Node object that are used (SYN-03, HC-03)."""

    name: str
    addresses: tuple[Address, ...] = ()  # InternalIPs in order, then ExternalIPs
    zone: str = ""  # label topology.kubernetes.io/zone
    pod_networks: tuple[Network, ...] = ()
    deleting: bool = False
    taint_keys: tuple[str, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Return the key under which a Node is stored; Nodes have no namespace."""
        return ObjectKey("", self.name)


KubernetesObject = Service | EndpointSlice | Node


def kind_of(item: KubernetesObject) -> Kind:
    """Return the kind of a model object."""
    match item:
        case Service():
            return Kind.SERVICE
        case EndpointSlice():
            return Kind.ENDPOINT_SLICE
        case Node():
            return Kind.NODE


class Problem(Struct, frozen=True, gc=False, order=True):
    """Something wrong with one object; other objects are not affected.

    Args:
        reason: what is wrong and what follows from it, without a final full stop.
        label: one of InvalidObject, AddressConflict, AddressRefused, DoubtfulAddress,
            UnrestrictedAddress, UnmatchedPorts, NodeUnknown, KernelPartMissing,
            FailedToStartServiceHealthcheck.
    """

    kind: str  # Service, EndpointSlice, Node, or file
    name: str  # namespace/name, or the file's path
    field: str  # path of the field such as spec.ports[0].nodePort; empty for the object as a whole
    reason: str
    label: str = "InvalidObject"  # what kind of problem, for events and metrics

    def __str__(self) -> str:
        where = f"{self.kind} {self.name}"
        return f"{where}: {self.field} {self.reason}" if self.field else f"{where}: {self.reason}"


class NodeNotice(Struct, frozen=True):
    """A notice about the agent of this node for an operator; it becomes an event of the Node (HC-30).

    Args:
        label: one of Starting, FailedToStart, SchedulerFallback, ConfigurationRefused,
            FailedToStartProxierHealthcheck, FailedToStartMetricServer.
        words: without a final full stop.
        action: what the agent was doing, as events have it.
        warning: whether something is wrong.
    """

    label: str
    words: str
    action: str = "StartKubeProxy"  # kube-proxy's word, which users and tools expect
    warning: bool = True


Announced = Problem | NodeNotice
"""What is reported to an operator as a Kubernetes event."""
