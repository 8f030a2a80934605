"""The fields of Kubernetes objects that are read, with the types of the API.

If the Go type is a pointer, slice or map, null is a normal value. Numbers are checked later, in `source.decode`,
so that one bad port does not reject its Service. A field of the wrong JSON type rejects the object; msgspec names its
path.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, field

Name = Annotated[str, Meta(min_length=1, max_length=253)]


class Metadata(Struct, rename="camel", gc=False):
    """`metadata` of any object."""

    name: Name
    namespace: str | None = None
    labels: dict[str, str | None] | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class ServicePort(Struct, rename="camel", gc=False):
    """One of `spec.ports` of a Service."""

    port: int = 0
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class ClientIp(Struct, rename="camel", gc=False):
    """`spec.sessionAffinityConfig.clientIP`."""

    timeout_seconds: int | None = None


class AffinityConfig(Struct, gc=False):
    """`spec.sessionAffinityConfig`."""

    clientIP: ClientIp | None = None  # noqa: N815 - the API's name


class ServiceSpec(Struct, rename="camel", gc=False):
    """`spec` of a Service."""

    type: str | None = None
    clusterIP: str | None = None  # noqa: N815 - the API's name
    clusterIPs: list[str] | None = None  # noqa: N815 - the API's name
    ip_families: list[str] | None = None
    ports: list[ServicePort] | None = None
    externalIPs: list[str] | None = None  # noqa: N815 - the API's name
    load_balancer_source_ranges: object = None  # of any type: an invalid value must not keep an old version in use
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    session_affinity: str | None = None
    session_affinity_config: AffinityConfig | None = None
    health_check_node_port: int | None = None


class Ingress(Struct, rename="camel", gc=False):
    """One of `status.loadBalancer.ingress`."""

    ip: str | None = None
    ip_mode: str | None = None


class LoadBalancer(Struct, gc=False):
    """`status.loadBalancer`."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Struct, rename="camel", gc=False):
    """`status` of a Service."""

    load_balancer: LoadBalancer | None = None


class ServiceAnnotations(Struct, gc=False):
    """The annotations of a Service that are used (`source.annotations`).

    Users write them, so they may have any value; some only need to be present, so null is not the same as absent.
    """

    scheduler: object = field(name="ipvsagent.io/scheduler", default=UNSET)
    scheduler_flags: object = field(name="ipvsagent.io/scheduler-flags", default=UNSET)
    local: object = field(name="ipvsagent.io/local", default=UNSET)
    skip_balancer_ips: object = field(name="ipvsagent.io/skip-load-balancer-ips", default=UNSET)
    router_scheduler: object = field(name="kube-router.io/service.scheduler", default=UNSET)
    router_scheduler_flags: object = field(name="kube-router.io/service.schedflags", default=UNSET)
    router_local: object = field(name="kube-router.io/service.local", default=UNSET)
    router_skip_balancer_ips: object = field(name="kube-router.io/service.skiplbips", default=UNSET)


class ServiceMetadata(Metadata, rename="camel", gc=False):
    """`metadata` of a Service; other annotations are large and not needed."""

    annotations: ServiceAnnotations | None = None


class Service(Struct, gc=False):
    """A Service."""

    metadata: ServiceMetadata
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class Conditions(Struct, gc=False):
    """`conditions` of an endpoint."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Struct, gc=False):
    """A zone or node that an endpoint is meant for."""

    name: str = ""


class Hints(Struct, rename="camel", gc=False):
    """`hints` of an endpoint."""

    for_zones: list[Hint] | None = None
    for_nodes: list[Hint] | None = None


class Endpoint(Struct, rename="camel", gc=False):
    """One of `endpoints` of a slice."""

    addresses: list[str] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None


class EndpointPort(Struct, gc=False):
    """One of `ports` of a slice."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class SliceAnnotations(Struct, gc=False):
    """The annotations of a slice that are used; users write them, so they may have any value."""

    weight: object = field(name="ipvsagent.io/weight", default=UNSET)
    last_change_trigger_time: object = field(name="endpoints.kubernetes.io/last-change-trigger-time", default=None)


class SliceMetadata(Metadata, rename="camel", gc=False):
    """`metadata` of an EndpointSlice; other annotations are large and not needed."""

    annotations: SliceAnnotations | None = None


class EndpointSlice(Struct, rename="camel", gc=False):
    """An EndpointSlice."""

    metadata: SliceMetadata
    address_type: str | None = None
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class NodeAddress(Struct, gc=False):
    """One of `status.addresses` of a Node."""

    type: str = ""
    address: str = ""


class NodeStatus(Struct, gc=False):
    """`status` of a Node."""

    addresses: list[NodeAddress] | None = None


class Taint(Struct, gc=False):
    """One of `spec.taints` of a Node."""

    key: str = ""


class NodeSpec(Struct, gc=False):
    """`spec` of a Node."""

    podCIDR: str | None = None  # noqa: N815 - the API's name
    podCIDRs: list[str] | None = None  # noqa: N815 - the API's name
    taints: list[Taint] | None = None


class Node(Struct, gc=False):
    """A Node."""

    metadata: Metadata
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


ApiObject = Service | EndpointSlice | Node


class KeyMetadata(Struct, gc=False):
    """Just enough of `metadata` to name an object that cannot be decoded."""

    name: str = ""
    namespace: str | None = None


class KeyOnly(Struct, gc=False):
    """An object's key."""

    metadata: KeyMetadata | None = None
