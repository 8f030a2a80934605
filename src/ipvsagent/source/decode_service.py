"""Check Services (SVC rules)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from ipvsagent.model.address import Address, Family, Network
from ipvsagent.model.objects import ObjectKey, Service, ServicePort, ServiceType, TrafficPolicy
from ipvsagent.source import api_types
from ipvsagent.source.annotations import NO_WISHES, Wish, wishes_of
from ipvsagent.source.problems import (
    Problems,
    check_address,
    check_addresses,
    check_network,
    check_protocol,
    check_time,
)

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
DEFAULT_AFFINITY_SECONDS = 10800
LONGEST_AFFINITY_SECONDS = 86400


def service_from_wire(found: api_types.Service, key: ObjectKey, problems: Problems) -> Service | None:
    """Return a Service; None without problems if it is not for this proxy (SVC-01 to SVC-03)."""
    spec = found.spec or api_types.ServiceSpec()
    if PROXY_NAME_LABEL in (found.metadata.labels or {}):
        return None
    if spec.type == "ExternalName" or spec.clusterIP in (None, "", "None"):
        return None
    # An unknown word gets the most restrictive meaning (DEV-60): all restrictions of a LoadBalancer are in force.
    type_ = _choice(
        spec.type,
        "spec.type",
        problems,
        choices=_TYPES,
        default=ServiceType.CLUSTER_IP,
        unknown=ServiceType.LOAD_BALANCER,
    )
    cluster_ips = _cluster_ips(spec, problems)
    if not cluster_ips:
        return None
    annotations = found.metadata.annotations
    wishes = wishes_of(annotations, problems) if annotations else NO_WISHES
    source_ranges, all_ranges_read = _source_ranges(spec.load_balancer_source_ranges, problems)
    return Service(
        key=key,
        type=type_,
        cluster_ips=cluster_ips,
        ports=_ports(spec, problems),
        external_ips=check_addresses(spec.externalIPs, "spec.externalIPs", problems),
        load_balancer_ips=()
        if wishes.skips_balancer_ips is not Wish.NONE
        else _load_balancer_ips(found.status, problems),
        source_ranges=source_ranges,
        source_ranges_unread=not all_ranges_read,
        internal_policy=TrafficPolicy.CLUSTER
        if wishes.local is Wish.GRANTED
        else _policy(spec.internal_traffic_policy, "spec.internalTrafficPolicy", problems),
        external_policy=TrafficPolicy.LOCAL
        if wishes.local is not Wish.NONE
        else _policy(spec.external_traffic_policy, "spec.externalTrafficPolicy", problems),
        affinity_timeout_seconds=_affinity(spec, problems),
        health_check_node_port=_node_port(
            spec.health_check_node_port, "spec.healthCheckNodePort", "no health check is served", problems
        ),
        created_at=check_time(found.metadata.creation_timestamp, "metadata.creationTimestamp", problems),
        scheduling=wishes.scheduling,
    )


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(
    text: str | None,
    field: str,
    problems: Problems,
    *,
    choices: Mapping[str, _Choice],
    default: _Choice,
    unknown: _Choice,
) -> _Choice:
    if not text:
        return default
    chosen = choices.get(text)
    if chosen is None:
        problems.add(field, f"`{text}` is none of {', '.join(choices)}; {unknown} is used")
        return unknown
    return chosen


_TYPES = {t.value: t for t in ServiceType}
_POLICIES = {p.value: p for p in TrafficPolicy}


def _policy(text: str | None, field: str, problems: Problems) -> TrafficPolicy:
    return _choice(text, field, problems, choices=_POLICIES, default=TrafficPolicy.CLUSTER, unknown=TrafficPolicy.LOCAL)


def _cluster_ips(spec: api_types.ServiceSpec, problems: Problems) -> tuple[Address, ...]:
    """Return the cluster IP of each family (SVC-04)."""
    by_family: dict[Family, Address] = {}
    for field, text, family_name in _claimed_cluster_ips(spec):
        address = check_address(text, field, problems)
        if address is None:
            continue
        family = address.family
        if family_name not in (None, family.label):
            problems.add(field, f"{text} is not an {family_name} address as spec.ipFamilies says; it is ignored")
        elif family in by_family:
            problems.add(field, f"{text} is a second {family.label} address; it is ignored")
        else:
            by_family[family] = address
    if not by_family and not problems.found():
        problems.add("spec.clusterIPs", "has no address for spec.ipFamilies; the Service is not used")
    return tuple(by_family.values())


def _claimed_cluster_ips(spec: api_types.ServiceSpec) -> Sequence[tuple[str, str, str | None]]:
    """Return field, text and required family of each address.

    Without `ipFamilies` only `clusterIP` counts. A manifest may contain only families and `clusterIP`: an API server
    would derive `clusterIPs` from them.
    """
    if not spec.ip_families:
        return (("spec.clusterIP", spec.clusterIP or "", None),)
    if not spec.clusterIPs:
        return (("spec.clusterIP", spec.clusterIP or "", spec.ip_families[0]),)
    claimed = enumerate(zip(spec.clusterIPs, spec.ip_families, strict=False))
    return [(f"spec.clusterIPs[{index}]", text, family) for index, (text, family) in claimed]


def _ports(spec: api_types.ServiceSpec, problems: Problems) -> tuple[ServicePort, ...]:
    """Return the ports that can be served (SVC-05, SVC-16); of two equal ports, the first one counts."""
    ports: list[ServicePort] = []
    seen: set[tuple[int, int]] = set()
    seen_node_ports: set[tuple[int, int]] = set()
    for index, found in enumerate(spec.ports or ()):
        field = f"spec.ports[{index}]"
        protocol = check_protocol(found.protocol, f"{field}.protocol", problems)
        if protocol is None:
            continue
        if not 1 <= found.port <= 65535:
            problems.add(f"{field}.port", f"{found.port} is outside 1-65535; this port is ignored")
            continue
        if (found.port, protocol) in seen:
            problems.add(field, f"{found.port}/{protocol.name} is listed twice; this port is ignored")
            continue
        seen.add((found.port, protocol))
        node_port = _node_port(found.node_port, f"{field}.nodePort", "this node port is ignored", problems)
        if node_port and (node_port, protocol) in seen_node_ports:
            problems.add(f"{field}.nodePort", f"{node_port}/{protocol.name} is listed twice; this node port is ignored")
            node_port = 0
        seen_node_ports.add((node_port, protocol))
        ports.append(ServicePort(found.name or "", protocol, found.port, node_port))
    return tuple(ports)


def _node_port(number: int | None, field: str, consequence: str, problems: Problems) -> int:
    if number is None or 0 <= number <= 65535:
        return number or 0
    problems.add(field, f"{number} is outside 1-65535; {consequence}")
    return 0


def _load_balancer_ips(status: api_types.ServiceStatus | None, problems: Problems) -> tuple[Address, ...]:
    """Return the addresses whose ipMode is VIP or not set (SVC-09)."""
    balancer = status.load_balancer if status else None
    ingress = (balancer.ingress if balancer else None) or ()
    texts = [i.ip or "" if i.ip_mode in (None, "VIP") else "" for i in ingress]  # empty texts keep the index correct
    return check_addresses(texts, "status.loadBalancer.ingress", problems)


def _source_ranges(found: object, problems: Problems) -> tuple[tuple[Network, ...], bool]:
    """Return the source ranges, and whether all could be read: an invalid one must not allow more clients (DEV-60)."""
    if found is None:
        return (), True
    field, consequence = "spec.loadBalancerSourceRanges", "it lets no client in"
    if not isinstance(found, list):
        problems.add(field, f"is not a list of CIDRs; {consequence}")
        return (), False
    ranges: dict[Network, None] = {}
    all_read = True
    for index, item in enumerate(found):
        where = f"{field}[{index}]"
        if not isinstance(item, str):
            problems.add(where, f"is not text; {consequence}")
            network = None
        else:
            network = check_network(item, where, consequence, problems)
            if network is not None and ":" in item and network == _ALL_IPV4:
                problems.add(where, f"{item} is not read as 0.0.0.0/0; {consequence}")  # as in kube-proxy
                network = None
        if network is None:
            all_read = False
        else:
            ranges[network] = None
    return tuple(ranges), all_read


_ALL_IPV4 = Network.parse("0.0.0.0/0")


def _affinity(spec: api_types.ServiceSpec, problems: Problems) -> int:
    """Return the persistence timeout in seconds (SVC-07)."""
    if spec.session_affinity in (None, "", "None"):
        return 0
    if spec.session_affinity != "ClientIP":
        problems.add("spec.sessionAffinity", f"`{spec.session_affinity}` is none of None, ClientIP; None is used")
        return 0
    client_ip = spec.session_affinity_config.clientIP if spec.session_affinity_config else None
    seconds = client_ip.timeout_seconds if client_ip else None
    if seconds is None:
        return DEFAULT_AFFINITY_SECONDS
    if not 1 <= seconds <= LONGEST_AFFINITY_SECONDS:
        field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        problems.add(field, f"{seconds} is outside 1-{LONGEST_AFFINITY_SECONDS}; {DEFAULT_AFFINITY_SECONDS} is used")
        return DEFAULT_AFFINITY_SECONDS
    return seconds
