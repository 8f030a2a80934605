"""The shapes in which objects travel, cut down to the fields that are used.

Whatever is a pointer, slice or map in the API's Go types may be null, and list elements may be, too. Unknown fields
cost nothing: msgspec skips them without building anything.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from ipvsagent.model.objects import Kind

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_ZONE = "topology.kubernetes.io/zone"


class WireLabels(Struct):
    """Those labels that matter; of two of them only the presence does, whatever the value."""

    service_name: str | None = field(name=LABEL_SERVICE_NAME, default=None)
    headless: Any | UnsetType = field(name=LABEL_HEADLESS, default=UNSET)
    proxy_name: Any | UnsetType = field(name=LABEL_PROXY_NAME, default=UNSET)
    zone: str | None = field(name=LABEL_ZONE, default=None)


NO_LABELS = WireLabels()


class WireMetadata(Struct, rename="camel"):
    """`metadata`."""

    name: str | None = None
    namespace: str | None = None
    labels: WireLabels | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    generation: int | None = None


class WireServicePort(Struct, rename="camel"):
    """`Service.spec.ports[]`."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class WireClientIp(Struct, rename="camel"):
    """`Service.spec.sessionAffinityConfig.clientIP`."""

    timeout_seconds: int | None = None


class WireAffinityConfig(Struct):
    """`Service.spec.sessionAffinityConfig`."""

    client_ip: WireClientIp | None = field(name="clientIP", default=None)


class WireServiceSpec(Struct, rename="camel"):
    """`Service.spec`."""

    type: str | None = None
    cluster_ip: str | None = field(name="clusterIP", default=None)
    cluster_ips: list[str | None] | None = field(name="clusterIPs", default=None)
    ip_families: list[str | None] | None = None
    ports: list[WireServicePort | None] | None = None
    external_ips: list[str | None] | None = field(name="externalIPs", default=None)
    load_balancer_source_ranges: list[str | None] | None = None
    session_affinity: str | None = None
    session_affinity_config: WireAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    health_check_node_port: int | None = None


class WireIngress(Struct, rename="camel"):
    """`Service.status.loadBalancer.ingress[]`."""

    ip: str | None = None
    ip_mode: str | None = None


class WireLoadBalancer(Struct):
    """`Service.status.loadBalancer`."""

    ingress: list[WireIngress | None] | None = None


class WireServiceStatus(Struct, rename="camel"):
    """`Service.status`."""

    load_balancer: WireLoadBalancer | None = None


class WireService(Struct):
    """A Service."""

    metadata: WireMetadata | None = None
    spec: WireServiceSpec | None = None
    status: WireServiceStatus | None = None


class WireSlicePort(Struct):
    """`EndpointSlice.ports[]`."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class WireConditions(Struct):
    """`EndpointSlice.endpoints[].conditions`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class WireHint(Struct):
    """A zone or a node that an endpoint is meant for."""

    name: str | None = None


class WireHints(Struct, rename="camel"):
    """`EndpointSlice.endpoints[].hints`."""

    for_zones: list[WireHint | None] | None = None
    for_nodes: list[WireHint | None] | None = None


class WireEndpoint(Struct, rename="camel"):
    """`EndpointSlice.endpoints[]`."""

    addresses: list[str | None] | None = None
    conditions: WireConditions | None = None
    node_name: str | None = None
    hints: WireHints | None = None


class WireSlice(Struct, rename="camel"):
    """An EndpointSlice."""

    metadata: WireMetadata | None = None
    address_type: str | None = None
    endpoints: list[WireEndpoint | None] | None = None
    ports: list[WireSlicePort | None] | None = None


class WireTaint(Struct):
    """`Node.spec.taints[]`."""

    key: str | None = None


class WireNodeSpec(Struct):
    """`Node.spec`."""

    pod_cidr: str | None = field(name="podCIDR", default=None)
    pod_cidrs: list[str | None] | None = field(name="podCIDRs", default=None)
    taints: list[WireTaint | None] | None = None


class WireNodeAddress(Struct):
    """`Node.status.addresses[]`."""

    type: str | None = None
    address: str | None = None


class WireNodeStatus(Struct):
    """`Node.status`."""

    addresses: list[WireNodeAddress | None] | None = None


class WireNode(Struct):
    """A Node."""

    metadata: WireMetadata | None = None
    spec: WireNodeSpec | None = None
    status: WireNodeStatus | None = None


WireObject = WireService | WireSlice | WireNode

WIRE_TYPES: dict[Kind, type[WireService | WireSlice | WireNode]] = {
    Kind.SERVICE: WireService,
    Kind.ENDPOINT_SLICE: WireSlice,
    Kind.NODE: WireNode,
}
