"""A second planner, written from the behaviour specification alone: slow, plain, from scratch every time.

It shares the model's input types with the product and nothing else; it is read beside the specification. Where the
product and this page differ, one of them has misread a rule. It knows no iptables rules: those are constant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.objects import (
    Endpoint,
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    ServiceType,
    TrafficPolicy,
)
from oracle.facts import FLAG_PERSISTENT, KernelFacts

CLUSTER_IP, LOAD_BALANCER_IP, EXTERNAL_IP, NODE_PORT = range(4)

YOUNGEST = "9999"  # an unknown age takes nothing from a known one


@dataclass(frozen=True)
class World:
    """All that decides what a node's kernel should hold.

    Attributes:
        interface_addresses: the addresses of all interfaces but kube-ipvs0.
        missing_schedulers: those without a module in the node's kernel.
    """

    services: Sequence[Service] = ()
    slices: Sequence[EndpointSlice] = ()
    nodes: Sequence[Node] = ()
    settings: Settings = Settings()  # noqa: RUF009 - immutable
    node_name: str = "node-1"
    interface_addresses: Sequence[Address] = ()
    missing_schedulers: frozenset[str] = frozenset()


@dataclass
class Pod:
    """An endpoint of a Service port: EP-06 gives it the slice's port number."""

    endpoint: Endpoint
    port: int
    weight: int  # DEV-15: the slice's

    @property
    def name(self) -> str:
        return place(self.endpoint.address, self.port)


@dataclass
class Want:
    """A Service wants an address, port and protocol: a virtual server, what leads to it, and whether to bind it."""

    service: Service
    kind: int
    key: str
    address: Address
    pods: list[Pod]
    settings: tuple[str, int, int]
    bind: bool
    entries: list[tuple[str, str]] = field(default_factory=list)


def expected(world: World) -> KernelFacts:
    """What the kernel should hold."""
    facts = KernelFacts()
    wants: list[Want] = []
    for service in world.services:
        for family in (Family.IPV4, Family.IPV6):
            if any(a.family is family for a in service.cluster_ips):  # SVC-04: else absent in that family
                wants += wants_of(world, service, family)
                for name, entry in entries_without_address(world, service, family):
                    facts.entries.setdefault(name, set()).add(entry)
    for want in owned(wants):
        facts.virtual_servers[want.key] = want.settings  # EP-37: with or without endpoints
        facts.real_servers[want.key] = {pod.name: pod.weight for pod in want.pods}  # VS-06, DEV-15
        if want.bind:
            facts.addresses.add(str(want.address))
        for name, entry in want.entries:
            facts.entries.setdefault(name, set()).add(entry)
    for text in facts.addresses:  # ADR-08
        facts.entries.setdefault(set_named("KUBE-IPVS-IPS", Address.parse(text).family), set()).add(text)
    return facts


def owned(wants: Iterable[Want]) -> list[Want]:
    """DEV-14: one owner a key: the ClusterIP's, then the oldest Service, then by namespace and name.

    What one Service wants twice at a key is one virtual server, with the entries of both: an external IP that is a
    load balancer IP too has those of SET-03 and of SET-05.
    """

    def precedence(want: Want) -> tuple[object, ...]:
        age = want.service.created_at or YOUNGEST
        return want.kind != CLUSTER_IP, age, want.service.key, want.kind

    winners: dict[str, Want] = {}
    for want in sorted(wants, key=precedence):
        first = winners.setdefault(want.key, want)
        if first is not want and first.service is want.service:
            first.entries += want.entries
            first.bind |= want.bind
    return list(winners.values())


def wants_of(world: World, service: Service, family: Family) -> Iterator[Want]:
    """VS-01: what one Service wants in one family."""
    node_addresses = addresses_of_node(world, family)
    external_local = counts_external_local(service)
    for port in service.ports:
        pods = pods_of_port(world, service, port, family)
        internal, external = real_servers(world, service, port, pods, family=family)
        timeout = service.affinity_timeout_seconds
        scheduler, flags = scheduler_of(world, service)
        settings = (scheduler, flags | (FLAG_PERSISTENT if timeout else 0), timeout)  # VS-02, VS-03

        for address in of_family(service.cluster_ips, family):  # at most one; always bound (ADR-03)
            want = Want(service, CLUSTER_IP, key(address, port.port, port), address, internal, settings, bind=True)
            want.entries.append((set_named("KUBE-CLUSTER-IP", family), portal(address, port)))  # SET-02
            yield want

        for address in external_ips(world, service, family):
            if belongs_elsewhere(world, address, family):
                continue
            bind = address not in node_addresses  # ADR-04
            want = Want(service, EXTERNAL_IP, key(address, port.port, port), address, external, settings, bind)
            name = (
                "KUBE-EXTERNAL-IP-LOCAL" if external_local and not only_inside(service, address) else "KUBE-EXTERNAL-IP"
            )  # SET-03, SET-04
            want.entries.append((set_named(name, family), portal(address, port)))
            yield want

        for address in of_family(service.load_balancer_ips, family):  # SVC-09: whatever the type
            if belongs_elsewhere(world, address, family):
                continue
            bind = address not in node_addresses  # ADR-04
            want = Want(service, LOAD_BALANCER_IP, key(address, port.port, port), address, external, settings, bind)
            want.entries += load_balancer_entries(world, service, port, address)
            yield want

        if port.node_port:  # SVC-16; SET-35: without a node address neither virtual server nor entry
            for address in node_port_addresses(world, family):
                at = key(address, port.node_port, port)
                want = Want(service, NODE_PORT, at, address, external, settings, bind=False)  # ADR-05
                want.entries += node_port_entries(service, port, address)
                yield want


# -- sets ----------------------------------------------------------------------------------------------------------


def load_balancer_entries(world: World, service: Service, port: ServicePort, vip: Address) -> Iterator[tuple[str, str]]:
    """SET-05 to SET-09, LB-01 to LB-03."""
    family = vip.family
    yield set_named("KUBE-LOAD-BALANCER", family), portal(vip, port)
    if counts_external_local(service) and not only_inside(service, vip):
        yield set_named("KUBE-LOAD-BALANCER-LOCAL", family), portal(vip, port)
    ranges = [r for r in service.source_ranges if r.family is family]
    if any(r.prefix_length == 0 for r in ranges) or not (ranges or service.source_ranges_unread):  # SVC-10, DEV-60
        return
    yield set_named("KUBE-LOAD-BALANCER-FW", family), portal(vip, port)
    for network in ranges:
        text = str(network.address) if network.prefix_length == family.bits else str(network)  # SET-33
        yield set_named("KUBE-LOAD-BALANCER-SOURCE-CIDR", family), f"{portal(vip, port)},{text}"
    own = node_ip(world, family)
    if own is not None and any(inside(own, str(r)) for r in ranges):  # LB-03
        yield set_named("KUBE-LOAD-BALANCER-SOURCE-IP", family), f"{portal(vip, port)},{vip}"


def node_port_entries(service: Service, port: ServicePort, address: Address) -> Iterator[tuple[str, str]]:
    """SET-10 to SET-15, and the note of the address that its virtual servers are known by after a restart."""
    word = {Protocol.TCP: "TCP", Protocol.UDP: "UDP", Protocol.SCTP: "SCTP-HASH"}[port.protocol]
    entry = f"{address},sctp:{port.node_port}" if port.protocol is Protocol.SCTP else str(port.node_port)
    yield set_named(f"KUBE-NODE-PORT-{word}", address.family), entry
    if counts_external_local(service):
        yield set_named(f"KUBE-NODE-PORT-LOCAL-{word}", address.family), entry
    note = "IPVSAGENT-NODE-PORT-IPS" if address.family is Family.IPV4 else "IPVSAGENT-6-NODE-PORT-IPS"
    yield note, str(address)


def entries_without_address(world: World, service: Service, family: Family) -> Iterator[tuple[str, str]]:
    """SET-01 and SET-16: they do not depend on who owns an address (DEV-34)."""
    for port in service.ports:
        for pod in pods_of_port(world, service, port, family):
            if is_local(world, pod):  # ready or not
                address = pod.endpoint.address
                entry = f"{address},{port.protocol.name.lower()}:{pod.port},{address}"
                yield set_named("KUBE-LOOP-BACK", family), entry
    local = service.external_policy is TrafficPolicy.LOCAL and service.ports  # DEV-62
    if service.type is ServiceType.LOAD_BALANCER and local and service.health_check_node_port:  # SVC-15
        yield set_named("KUBE-HEALTH-CHECK-NODE-PORT", family), str(service.health_check_node_port)


def set_named(name: str, family: Family) -> str:
    """SET rules: the first KUBE- becomes KUBE-6-, and 31 characters is the longest name."""
    return name if family is Family.IPV4 else ("KUBE-6-" + name.removeprefix("KUBE-"))[:31]


def portal(address: Address, port: ServicePort) -> str:
    """SET-30: ``10.96.0.1,tcp:80``."""
    return f"{address},{port.protocol.name.lower()}:{port.port}"


# -- endpoints -----------------------------------------------------------------------------------------------------


def pods_of_port(world: World, service: Service, port: ServicePort, family: Family) -> list[Pod]:
    """EP-03, EP-06, EP-11 with DEV-13: all endpoints of a Service port, one for each address and port."""
    found: dict[str, tuple[tuple[object, ...], Pod]] = {}
    for piece in world.slices:
        if piece.service != service.key or piece.family is not family:
            continue
        for number in [p.port for p in piece.ports if (p.name, p.protocol) == (port.name, port.protocol)]:
            for endpoint in piece.endpoints:
                pod = Pod(endpoint, number, piece.weight)
                rank = (not endpoint.terminating, endpoint.ready, piece.generation, piece.key.name)
                if pod.name not in found or rank > found[pod.name][0]:
                    found[pod.name] = (rank, pod)
    return [pod for _, pod in found.values()]


def real_servers(
    world: World, service: Service, port: ServicePort, pods: list[Pod], *, family: Family
) -> tuple[list[Pod], list[Pod]]:
    """EP-20 to EP-36: behind the ClusterIP, and behind everything else."""
    internal_local = service.internal_policy is TrafficPolicy.LOCAL
    external_local = counts_external_local(service)
    # SVC-14; SVC-08: external IPs count here even when they are not programmed
    vips = of_family(service.external_ips, family) + of_family(service.load_balancer_ips, family)
    is_external = bool(port.node_port or vips)
    uses_cluster = not internal_local or is_external
    uses_local = internal_local or (external_local and is_external)

    cluster = cluster_list(world, pods) if uses_cluster else []  # EP-21
    local = []
    if uses_local:  # EP-25
        local = [p for p in pods if is_local(world, p) and p.endpoint.ready] or [
            p for p in pods if is_local(world, p) and p.endpoint.serving and p.endpoint.terminating
        ]
    fallback = [] if world.settings.strict_local_policy else cluster  # DEV-11
    return (
        (local or fallback) if internal_local else cluster,  # EP-30 to EP-33: `cluster` is empty if not external
        (local or fallback) if external_local else cluster,  # EP-34 to EP-36
    )


def cluster_list(world: World, pods: list[Pod]) -> list[Pod]:
    """EP-22 to EP-24."""
    ready = [p for p in pods if p.endpoint.ready]
    zone = next((n.zone for n in world.nodes if n.name == own_name(world)), "")
    near = ready
    if ready and all(p.endpoint.node_hints for p in ready) and any(for_node(world, p) for p in ready):
        near = [p for p in ready if for_node(world, p)]
    elif zone and all(p.endpoint.zone_hints for p in ready) and any(zone in p.endpoint.zone_hints for p in ready):
        near = [p for p in ready if zone in p.endpoint.zone_hints]
    return near or [p for p in pods if p.endpoint.serving and p.endpoint.terminating]


def for_node(world: World, pod: Pod) -> bool:
    """EP-10."""
    return own_name(world) in pod.endpoint.node_hints


def is_local(world: World, pod: Pod) -> bool:
    """EP-09."""
    return bool(own_name(world)) and pod.endpoint.node_name == own_name(world)


def counts_external_local(service: Service) -> bool:
    """SVC-12."""
    open_to_outside = service.type is not ServiceType.CLUSTER_IP or bool(service.external_ips)
    return service.external_policy is TrafficPolicy.LOCAL and open_to_outside


# -- the node ------------------------------------------------------------------------------------------------------


def own_name(world: World) -> str:
    """EP-09."""
    return world.node_name.strip().lower()


def addresses_of_node(world: World, family: Family) -> list[Address]:
    """ADR-06: without loopback and IPv6 link-local."""
    return [
        a
        for a in of_family(world.interface_addresses, family)
        if not inside(a, "127.0.0.0/8") and not inside(a, "::1/128") and not inside(a, "fe80::/10")
    ]


def node_ip(world: World, family: Family) -> Address | None:
    """SYN-03."""
    bind = world.settings.bind_address
    if bind is not None and bind.family is family:
        return bind
    node = next((n for n in world.nodes if n.name == own_name(world)), None)
    return next(iter(of_family(node.addresses, family)), None) if node else None


def node_port_addresses(world: World, family: Family) -> list[Address]:
    """NP-01 to NP-05 with DEV-10 and DEV-60."""
    chosen = world.settings.node_port_addresses
    networks = [str(n) for n in chosen.networks if n.family is family]
    if chosen.primary:
        own = node_ip(world, family)
        networks = [str(own)] if own is not None else []
        if all(node_ip(world, f) is None for f in Family):
            return []
    every = addresses_of_node(world, family)
    if not networks or any(n.endswith("/0") for n in networks):
        return every
    return [a for a in every if any(inside(a, n) for n in networks)]


def only_inside(service: Service, address: Address) -> bool:
    """DEV-63: the Service's own cluster IP, whose endpoints may be on other nodes."""
    return address in service.cluster_ips and service.internal_policy is not TrafficPolicy.LOCAL


def belongs_elsewhere(world: World, address: Address, family: Family) -> bool:
    """Design, deliberate differences: the address of another node, an API server or a cluster range.

    The node that has the address itself serves it.
    """
    if address in addresses_of_node(world, family):
        return False
    others = [a for n in world.nodes if n.name != own_name(world) for a in n.addresses]
    api_servers = [e.address for s in world.slices if s.service == ("default", "kubernetes") for e in s.endpoints]
    nodes = [*others, *(own for f in Family if (own := node_ip(world, f)) is not None)]
    ranges = [
        str(n) for n in world.settings.local_detection.cluster_networks if not any(inside(a, str(n)) for a in nodes)
    ]  # DEV-64
    return address in others or address in api_servers or any(inside(address, n) for n in ranges)


def external_ips(world: World, service: Service, family: Family) -> list[Address]:
    """SVC-08."""
    return of_family(service.external_ips, family) if world.settings.allow_external_ips else []


# -- words ---------------------------------------------------------------------------------------------------------


def scheduler_of(world: World, service: Service) -> tuple[str, int]:
    """VS-02 and VS-03 with DEV-15 and DEV-16: the Service's own if this kernel has it, else the cluster's."""
    cluster = (world.settings.scheduler, scheduler_flags(world.settings, world.settings.scheduler))
    asked = service.scheduling
    if asked is None or (asked.scheduler != cluster[0] and asked.scheduler in world.missing_schedulers):
        return cluster
    scheduler = asked.scheduler or cluster[0]
    fits = asked.flags_for in ("", scheduler)
    if asked.flags is not None and fits:
        return scheduler, asked.flags
    return scheduler, scheduler_flags(world.settings, scheduler)


def scheduler_flags(settings: Settings, scheduler: str) -> int:
    """VS-03 with DEV-16: configured flags are the configured scheduler's."""
    if settings.scheduler_flags is not None and scheduler == settings.scheduler:
        return settings.scheduler_flags
    return 0x10 if scheduler == "mh" else 0


def of_family(addresses: Iterable[Address], family: Family) -> list[Address]:
    """Those of one family."""
    return [a for a in addresses if a.family is family]


def inside(address: Address, network: str) -> bool:
    """Whether an address lies in a CIDR."""
    return ipaddress.ip_address(str(address)) in ipaddress.ip_network(network)


def key(address: Address, number: int, port: ServicePort) -> str:
    """``10.96.0.1:80/TCP``."""
    return f"{place(address, number)}/{port.protocol.name}"


def place(address: Address, number: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"{address}:{number}" if address.family is Family.IPV4 else f"[{address}]:{number}"
