"""A Service as the API writes it, made into a `model.objects.Service` (SVC-02 to SVC-10)."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TypeVar

from msgspec import UNSET

from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.objects import Service, ServicePort, ServiceType, TrafficPolicy
from ipvsagent.source.decode_checks import (
    networks,
    optional_port_number,
    port_number,
    protocol,
    quote,
    service_address,
    service_addresses,
    timestamp,
)
from ipvsagent.source.decode_result import Findings, Rejection
from ipvsagent.source.decode_wire import (
    NO_LABELS,
    WireIngress,
    WireMetadata,
    WireService,
    WireServicePort,
    WireServiceSpec,
)

DEFAULT_AFFINITY_SECONDS = 10800
LONGEST_AFFINITY_SECONDS = 86400

_Choice = TypeVar("_Choice", bound=StrEnum)


def decode_service(wire: WireService, metadata: WireMetadata, findings: Findings) -> Service | None:
    """Make a Service; None if this proxy does not serve it.

    Not served: headless Services (SVC-02), ExternalName (SVC-03), those with the label
    `service.kubernetes.io/service-proxy-name`, whatever its value (SVC-01).

    Raises:
        Rejection: it should be served but has no cluster IP that could be.
    """
    spec = wire.spec
    if (metadata.labels or NO_LABELS).proxy_name is not UNSET or spec is None:
        return None
    if spec.type == "ExternalName" or not spec.cluster_ip or spec.cluster_ip == "None":
        return None
    cluster_ips = _cluster_ips(spec, findings)
    ingress = wire.status and wire.status.load_balancer and wire.status.load_balancer.ingress
    return Service(
        key=findings.key,
        type=_choice(ServiceType, spec.type, "spec.type", findings),
        cluster_ips=cluster_ips,
        ports=_ports(spec.ports or (), findings),
        external_ips=service_addresses(spec.external_ips, "spec.externalIPs", findings, "external IP"),
        load_balancer_ips=_load_balancer_ips(ingress or (), findings),
        source_ranges=networks(
            spec.load_balancer_source_ranges, "spec.loadBalancerSourceRanges", findings, "source range"
        ),
        internal_policy=_choice(
            TrafficPolicy, spec.internal_traffic_policy, "spec.internalTrafficPolicy", findings
        ),
        external_policy=_choice(
            TrafficPolicy, spec.external_traffic_policy, "spec.externalTrafficPolicy", findings
        ),
        affinity_timeout_seconds=_affinity_timeout(spec, findings),
        health_check_node_port=optional_port_number(
            spec.health_check_node_port, "spec.healthCheckNodePort", findings, "health check node port"
        ),
        created_at=timestamp(metadata.creation_timestamp, "metadata.creationTimestamp", findings),
    )


def _choice(choices: type[_Choice], text: str | None, field: str, findings: Findings) -> _Choice:
    """Read one of an enum's words; the first of them is the API's default."""
    default = next(iter(choices))
    if not text:
        return default
    try:
        return choices(text)
    except ValueError:
        allowed = ", ".join(choices)
        findings.add(field, f"{quote(text)} is not one of {allowed}; taken as {default.value}")
        return default


def _cluster_ips(spec: WireServiceSpec, findings: Findings) -> tuple[Address, ...]:
    """The cluster IP of each family (SVC-04)."""
    found: dict[Family, Address] = {}
    for field, text, family_name in _named_cluster_ips(spec):
        address = service_address(text, field, findings, "cluster IP")
        if address is None:
            continue
        if family_name not in (None, address.family.label):
            findings.add(field, f"{quote(text)} is not an {family_name} address; this cluster IP is ignored")
        else:
            found.setdefault(address.family, address)
    if not found:
        raise Rejection("spec.clusterIP", "gives no usable cluster IP; this Service is not served as it stands")
    return tuple(found.values())


def _named_cluster_ips(spec: WireServiceSpec) -> Iterator[tuple[str, str, str | None]]:
    """Field, text and the family that `ipFamilies` asks for.

    A manifest may give `clusterIP` alone; the API server would have filled `clusterIPs` with it.
    """
    first = spec.cluster_ip or ""
    if not spec.ip_families:
        yield "spec.clusterIP", first, None
        return
    listed: Sequence[str | None] = spec.cluster_ips or ()
    texts: Sequence[str | None] = listed or (first,)
    for index, (family, text) in enumerate(zip(spec.ip_families, texts, strict=False)):
        if text:
            yield f"spec.clusterIPs[{index}]" if listed else "spec.clusterIP", text, family


def _ports(wires: Sequence[WireServicePort | None], findings: Findings) -> tuple[ServicePort, ...]:
    """Service ports; of two with the same port and protocol the first counts, likewise of node ports."""
    ports: dict[tuple[int, Protocol], tuple[int, ServicePort]] = {}
    node_ports: dict[tuple[int, Protocol], int] = {}
    for index, wire in enumerate(wires):
        if wire is None:
            continue
        field = f"spec.ports[{index}]"
        transport = protocol(wire.protocol, f"{field}.protocol", findings, "port")
        number = port_number(wire.port, f"{field}.port", findings, "port")
        if transport is None or not number:
            continue
        first = ports.get((number, transport))
        if first:
            findings.add(
                f"{field}.port", f"{number}/{transport.name} stands in spec.ports[{first[0]}] already; ignored here"
            )
            continue
        node_port = optional_port_number(wire.node_port, f"{field}.nodePort", findings, "node port")
        other = node_ports.setdefault((node_port, transport), index) if node_port else index
        if other != index:
            findings.add(
                f"{field}.nodePort",
                f"{node_port}/{transport.name} stands in spec.ports[{other}] already; ignored here",
            )
            node_port = 0
        name = sys.intern(wire.name or "")
        ports[number, transport] = (index, ServicePort(name, transport, number, node_port))
    return tuple(port for _, port in ports.values())


def _load_balancer_ips(wires: Sequence[WireIngress | None], findings: Findings) -> tuple[Address, ...]:
    """Load balancer addresses that are served on the node itself (SVC-09)."""
    texts: list[str | None] = []
    for index, wire in enumerate(wires):
        mode = wire.ip_mode if wire else None
        if mode not in (None, "", "VIP", "Proxy"):
            findings.add(
                f"status.loadBalancer.ingress[{index}].ipMode",
                f"{quote(mode)} is not one of VIP, Proxy; this load balancer IP is ignored",
            )
        texts.append(wire.ip if wire and mode in (None, "", "VIP") else None)
    return service_addresses(texts, "status.loadBalancer.ingress", findings, "load balancer IP")


def _affinity_timeout(spec: WireServiceSpec, findings: Findings) -> int:
    """Seconds of session affinity, 0 for none (SVC-07)."""
    if spec.session_affinity in (None, "", "None"):
        return 0
    if spec.session_affinity != "ClientIP":
        findings.add(
            "spec.sessionAffinity", f"{quote(spec.session_affinity)} is not one of ClientIP, None; taken as None"
        )
        return 0
    config = spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if seconds is None:
        return DEFAULT_AFFINITY_SECONDS
    if 1 <= seconds <= LONGEST_AFFINITY_SECONDS:
        return seconds
    used = LONGEST_AFFINITY_SECONDS if seconds > 0 else DEFAULT_AFFINITY_SECONDS
    findings.add(
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        f"{quote(seconds)} is outside 1-{LONGEST_AFFINITY_SECONDS}; {used} is used",
    )
    return used
