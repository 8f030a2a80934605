"""The plan of one Service: its virtual servers with real servers, VIPs and set entries on this node.

A Service is reached through its frontends: cluster IP, external IPs, load balancer IPs, and its node port on every
chosen node address, each with every port. A frontend contains everything that is added and removed together with its
virtual server, so that a frontend lost to another Service (`planner.claims`) also loses its set entries.

Pure: the same Service, slices, facts and settings give the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.objects import EndpointSlice, Problem, Service, ServicePort, ServiceType, TrafficPolicy
from ipvsagent.model.state import (
    Frontend,
    FrontendKind,
    HealthCheck,
    NoLocalEndpoints,
    RealServer,
    ServicePlan,
    SetEntry,
    TrafficPolicyKind,
    VirtualServer,
    VirtualServerKey,
)
from ipvsagent.planner import sets
from ipvsagent.planner.addresses import AddressPolicy
from ipvsagent.planner.endpoints import Eligible, PortEndpoints, eligible_endpoints, endpoints_of_port, local_endpoints
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.planner.scheduling import choose_scheduling

_LOCAL = TrafficPolicy.LOCAL  # read for every Service; an attribute lookup costs more than a name


class _Context(Struct, frozen=True):
    """One Service in one family: the values that all its ports share."""

    service: Service
    family: Family
    cluster_ip: Address
    external_ips: tuple[Address, ...]
    load_balancer_ips: tuple[Address, ...]
    source_ranges: tuple[Network, ...] | None  # None: unrestricted (SVC-10); empty: closed (DEV-60)
    scheduler: str
    scheduler_flags: int
    node: NodeFacts
    settings: Settings
    internal_local: bool  # whether internalTrafficPolicy is Local (SVC-13)
    external_local: bool  # whether externalTrafficPolicy Local is in force (SVC-12)

    def reached_from_outside(self, port: ServicePort) -> bool:
        """Return whether a port is reachable other than through the cluster IP (*ext* of SVC-14).

        Addresses that are not served here count, too: the cluster IP's endpoints must not depend on that (SVC-08).
        """
        if port.node_port:
            return True
        addresses = (*self.service.load_balancer_ips, *self.service.external_ips)
        return bool(addresses) and any(a.family is self.family for a in addresses)

    def set_name(self, base: str) -> str:
        """Return the name of a set in this family."""
        return sets.set_name(base, self.family)

    def keeps_clients(self, address: Address) -> bool:
        """Return whether traffic from outside to an address is not masqueraded, because its endpoints are on this node.

        If a Service's cluster IP is also an external address, it has the endpoints of the cluster IP (DEV-63).
        """
        return self.external_local and (self.internal_local or address != self.cluster_ip)

    def binds(self, address: Address) -> bool:
        """Return whether an external or load balancer IP must be bound to the dummy interface (ADR-04)."""
        return address not in self.node.addresses


def plan_service(
    service: Service, slices: Sequence[EndpointSlice], *, node: NodeFacts, settings: Settings
) -> ServicePlan:
    """Plan one Service.

    Args:
        slices: all of its slices, in any order.

    Returns:
        Its frontends in a fixed order, without duplicates; problems name what was left out and why.
    """
    frontends: dict[VirtualServerKey, Frontend] = {}
    entries: dict[SetEntry, None] = {}
    problems: list[Problem] = []
    health_checks: list[HealthCheck] = []
    no_local: dict[NoLocalEndpoints, None] = {}
    any_local = service.internal_policy is _LOCAL or service.external_policy is _LOCAL
    scheduling = choose_scheduling(service, node, settings, problems)
    reached = False
    for cluster_ip in service.cluster_ips:
        family = cluster_ip.family
        if family not in node.families:
            continue
        context = _context(service, cluster_ip, scheduling=scheduling, node=node, settings=settings, problems=problems)
        local: set[Address] = set()
        for port in service.ports:
            endpoints = endpoints_of_port(slices, port, family)
            reached = reached or bool(endpoints)
            here = local_endpoints(endpoints, node.name)
            if here:
                # A health check counts only ready endpoints, and no terminating ones (HC-14).
                local.update(e.address for group in here for e in group.endpoints if e.ready)
                entries.update(dict.fromkeys(_loop_back_entries(context, port, here)))
            eligible = _eligible(context, port, endpoints)
            for frontend in _frontends(context, port, eligible):
                if any_local and _lacks_local_endpoints(context, frontend.kind, eligible):
                    no_local[NoLocalEndpoints(_policy_kind(frontend.kind), family)] = None
                key = frontend.virtual_server.key
                known = frontends.get(key)
                frontends[key] = frontend if known is None else _united(known, frontend)
        if health_port := _health_check_port(service):
            entries[SetEntry(context.set_name(sets.HEALTH_CHECK_NODE_PORT), port=health_port)] = None
            health_checks.append(HealthCheck(family, health_port, len(local)))
    if not reached:
        problems += _unmatched(service, slices, node.families)
    return ServicePlan(
        service.key,
        service.created_at,
        tuple(frontends.values()),
        tuple(entries),
        tuple(problems),
        tuple(health_checks),
        tuple(no_local),
    )


def _context(
    service: Service,
    cluster_ip: Address,
    *,
    scheduling: tuple[str, int],
    node: NodeFacts,
    settings: Settings,
    problems: list[Problem],
) -> _Context:
    family = cluster_ip.family
    allowed = settings.external_addresses
    external_ips: tuple[Address, ...] = ()
    if service.external_ips and settings.allow_external_ips:
        policy = AddressPolicy("spec.externalIPs", allowed.external_ips, node, settings)
        external_ips = policy.takeable(service, [a for a in service.external_ips if a.family is family], problems)
    balancer_ips: tuple[Address, ...] = ()
    if service.load_balancer_ips:
        policy = AddressPolicy("status.loadBalancer.ingress", allowed.load_balancer_ips, node, settings)
        balancer_ips = policy.takeable(service, [a for a in service.load_balancer_ips if a.family is family], problems)
    return _Context(
        service,
        family,
        cluster_ip,
        external_ips,
        balancer_ips,
        _source_ranges(service, family, problems) if balancer_ips else None,
        *scheduling,
        node,
        settings,
        internal_local=service.internal_policy is _LOCAL,
        external_local=service.external_policy is _LOCAL
        and (service.type is not ServiceType.CLUSTER_IP or bool(service.external_ips)),
    )


def _unmatched(service: Service, slices: Sequence[EndpointSlice], families: Sequence[Family]) -> Iterator[Problem]:
    """Yield a problem if a Service has endpoints, but its ports match none of their ports (EP-06, DEV-61)."""
    served = [a.family for a in service.cluster_ips if a.family in families]
    usable = [s for s in slices if s.endpoints and s.family in served]
    if usable and service.ports:
        words = ", ".join(sorted({f"`{p.name}`/{p.protocol.name}" for s in usable for p in s.ports})) or "none"
        reason = f"match no port of its EndpointSlices by name and protocol ({words}); they have no endpoints"
        yield Problem("Service", str(service.key), "spec.ports", reason, "UnmatchedPorts")


def _source_ranges(service: Service, family: Family, problems: list[Problem]) -> tuple[Network, ...] | None:
    """Return the ranges that may use the load balancer addresses of a family; None if everybody may (SVC-10).

    An unreadable range keeps the restriction in force, because it may belong to this family (DEV-60).
    """
    ranges = tuple([r for r in service.source_ranges if r.family is family])
    if any(r.prefix_length == 0 for r in ranges):
        return None
    if ranges:
        return ranges
    if not service.source_ranges_unread and not service.source_ranges:
        return None
    field, addresses = "spec.loadBalancerSourceRanges", f"{family.label} load balancer addresses"
    if service.source_ranges_unread:
        what = f"has no {family.label} range that can be read; {addresses} let no client in"
        problems.append(Problem("Service", str(service.key), field, what))
        return ()
    what = f"has no {family.label} range; {addresses} are open to every client"  # DEV-26
    problems.append(Problem("Service", str(service.key), field, what, "UnrestrictedAddress"))
    return None


def _health_check_port(service: Service) -> int:
    """Return the health check node port, or 0 (SVC-15); a Service without ports has nothing to check (DEV-62)."""
    if service.ports and service.type is ServiceType.LOAD_BALANCER and service.external_policy is TrafficPolicy.LOCAL:
        return service.health_check_node_port
    return 0


def _loop_back_entries(context: _Context, port: ServicePort, here: Sequence[PortEndpoints]) -> Iterator[SetEntry]:
    """Yield the hairpin entries of all endpoints on this node, ready or not (SET-01)."""
    name = context.set_name(sets.LOOP_BACK)
    for group in here:
        for endpoint in group.endpoints:
            yield SetEntry(name, group.port, port.protocol, endpoint.address, endpoint.address)


def _eligible(context: _Context, port: ServicePort, endpoints: Sequence[PortEndpoints]) -> Eligible:
    outside = context.reached_from_outside(port)
    return eligible_endpoints(
        endpoints,
        node_name=context.node.name,
        zone=context.node.zone,
        uses_cluster=not context.internal_local or outside,
        uses_local=context.internal_local or (context.external_local and outside),
    )


def _frontends(context: _Context, port: ServicePort, eligible: Eligible) -> Iterator[Frontend]:
    yield _cluster_ip(context, port, _choose(context.internal_local, eligible, context))
    external = _choose(context.external_local, eligible, context)
    for address in context.load_balancer_ips:
        yield _load_balancer_ip(context, port, address, external)
    for address in context.external_ips:
        yield _external_ip(context, port, address, external)
    if port.node_port:
        for address in context.node.node_port_addresses:
            if address.family is context.family:
                yield _node_port(context, port, address, external)


def _choose(local: bool, eligible: Eligible, context: _Context) -> tuple[RealServer, ...]:
    """Choose endpoints by policy; Local without a local endpoint falls back by default (EP-30 to EP-36, DEV-11)."""
    if not local:
        return eligible.cluster
    if eligible.local or context.settings.strict_local_policy:
        return eligible.local
    return eligible.cluster


def _policy_kind(kind: FrontendKind) -> TrafficPolicyKind:
    """Return the policy of a frontend."""
    return TrafficPolicyKind.INTERNAL if kind is FrontendKind.CLUSTER_IP else TrafficPolicyKind.EXTERNAL


def _lacks_local_endpoints(context: _Context, kind: FrontendKind, eligible: Eligible) -> bool:
    """Return whether a frontend with policy Local has no local endpoints although other nodes have some (DEV-12)."""
    local = context.internal_local if kind is FrontendKind.CLUSTER_IP else context.external_local
    return local and eligible.has_any and not eligible.local


def _virtual_server(
    context: _Context, protocol: Protocol, address: Address, port: int, real_servers: tuple[RealServer, ...]
) -> VirtualServer:
    return VirtualServer(
        VirtualServerKey(protocol, address, port),
        context.scheduler,
        context.scheduler_flags,
        context.service.affinity_timeout_seconds,
        real_servers,
    )


def _vip(
    context: _Context,
    kind: FrontendKind,
    virtual_server: VirtualServer,
    set_bases: Sequence[str],
    *,
    bind: bool,
    more: Sequence[SetEntry] = (),
) -> Frontend:
    """Return a frontend on a VIP: an entry in each set, and one for the address if it is bound (ADR-08)."""
    key = virtual_server.key
    family = context.family
    entries = [SetEntry(sets.set_name(b, family), key.port, key.protocol, key.address) for b in set_bases]
    if bind:
        entries.append(SetEntry(sets.set_name(sets.IPVS_IPS, family), address=key.address))
    return Frontend(kind, virtual_server, (*entries, *more), bind)


def _cluster_ip(context: _Context, port: ServicePort, real_servers: tuple[RealServer, ...]) -> Frontend:
    server = _virtual_server(context, port.protocol, context.cluster_ip, port.port, real_servers)
    return _vip(context, FrontendKind.CLUSTER_IP, server, (sets.CLUSTER_IP,), bind=True)


def _external_ip(
    context: _Context, port: ServicePort, address: Address, real_servers: tuple[RealServer, ...]
) -> Frontend:
    server = _virtual_server(context, port.protocol, address, port.port, real_servers)
    base = sets.EXTERNAL_IP_LOCAL if context.keeps_clients(address) else sets.EXTERNAL_IP  # SET-03, SET-04
    return _vip(context, FrontendKind.EXTERNAL_IP, server, (base,), bind=context.binds(address))


def _load_balancer_ip(
    context: _Context, port: ServicePort, address: Address, real_servers: tuple[RealServer, ...]
) -> Frontend:
    server = _virtual_server(context, port.protocol, address, port.port, real_servers)
    bases = [sets.LOAD_BALANCER]
    if context.keeps_clients(address):
        bases.append(sets.LOAD_BALANCER_LOCAL)
    more: list[SetEntry] = []
    if context.source_ranges is not None:  # LB-01 to LB-03
        bases.append(sets.LOAD_BALANCER_FW)
        name = context.set_name(sets.LOAD_BALANCER_SOURCE_CIDR)
        more += [
            SetEntry(name, port.port, port.protocol, address, r.address, r.prefix_length) for r in context.source_ranges
        ]
        if any(a in r for a in context.node.internal_addresses for r in context.source_ranges):
            name = context.set_name(sets.LOAD_BALANCER_SOURCE_IP)
            more.append(SetEntry(name, port.port, port.protocol, address, address))
    return _vip(context, FrontendKind.LOAD_BALANCER_IP, server, bases, bind=context.binds(address), more=more)


def _node_port(
    context: _Context, port: ServicePort, address: Address, real_servers: tuple[RealServer, ...]
) -> Frontend:
    """Return a node port on one node address; all addresses share bitmap entries (SET-10 to SET-15).

    An entry records the address for the next start of the agent, in case the node has lost the address by then.
    """
    server = _virtual_server(context, port.protocol, address, port.node_port, real_servers)
    every, local = sets.NODE_PORT_SETS[port.protocol]
    names = [context.set_name(every)] + ([context.set_name(local)] if context.external_local else [])
    if port.protocol is Protocol.SCTP:
        entries = tuple(SetEntry(n, port.node_port, port.protocol, address) for n in names)
    else:
        entries = tuple(SetEntry(n, port.node_port) for n in names)
    note = SetEntry(context.set_name(sets.NODE_PORT_IPS), address=address)
    return Frontend(FrontendKind.NODE_PORT, server, (*entries, note), bind=False)


def _united(first: Frontend, second: Frontend) -> Frontend:
    """Merge two frontends of a Service with the same address and port: one virtual server with the entries of both.

    The kind that has precedence among Services also has precedence here; of two equal kinds, the first one.
    """
    entries = dict.fromkeys((*first.entries, *second.entries))
    chosen = min(first, second, key=lambda f: f.kind)
    return Frontend(chosen.kind, chosen.virtual_server, tuple(entries), first.bind or second.bind)
