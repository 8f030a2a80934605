"""Facts about the node that planning needs, in addition to settings and objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ipvsagent.config.values import NodePortAddresses
from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import EndpointSlice, Node, ObjectKey, Service


class NodeFacts(Struct, frozen=True):
    """Facts about this node that Services depend on.

    Args:
        name: node name, for locality (EP-09).
        zone: zone label, empty if there is none (EP-22).
        families: address families that this node can serve (SYN-01).
        addresses: all addresses of this node as in ADR-06, including those that NodePorts do not use.
        node_port_addresses: addresses on which NodePorts answer, sorted (NP rules).
        internal_addresses: this node's IP of each family, as `node_ips` chooses it (SYN-03, LB-03).
        health_check_addresses: addresses on which health check node ports listen, sorted; an unspecified one means
            all addresses of its family (HC-11).
        other_node_addresses: addresses of the cluster's other nodes, which are never bound here.
        api_server_addresses: addresses of the API server; binding them here would cut this node off from it.
        missing_schedulers: schedulers that a Service requested and this node's kernel lacks (DEV-15).
        infrastructure_addresses: cluster IPs of the API server and the cluster DNS, which no other Service may claim.
    """

    name: str
    zone: str = ""
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    addresses: frozenset[Address] = frozenset()
    node_port_addresses: tuple[Address, ...] = ()
    health_check_addresses: tuple[Address, ...] = ()
    internal_addresses: tuple[Address, ...] = ()
    other_node_addresses: frozenset[Address] = frozenset()
    api_server_addresses: frozenset[Address] = frozenset()
    infrastructure_addresses: frozenset[Address] = frozenset()
    missing_schedulers: frozenset[str] = frozenset()


KUBERNETES_API = ObjectKey("default", "kubernetes")
"""The Service whose endpoints are the API servers."""

_DNS_PORT = 53


def is_cluster_dns(service: Service) -> bool:
    """Return whether a Service is the cluster DNS: a Service with the DNS port in the system namespace."""
    return service.key.namespace == "kube-system" and any(p.port == _DNS_PORT for p in service.ports)


def is_infrastructure(service: Service) -> bool:
    """Return whether all pods depend on this Service: the API server or the cluster DNS."""
    return service.key == KUBERNETES_API or is_cluster_dns(service)


def api_server_addresses(slices: Iterable[EndpointSlice]) -> frozenset[Address]:
    """Return the addresses of the API servers, from the slices of `KUBERNETES_API`."""
    return frozenset(e.address for piece in slices if piece.service == KUBERNETES_API for e in piece.endpoints)


def node_ips(reported: Iterable[Address], bind_address: Address | None) -> tuple[Address, ...]:
    """Return this node's IP of each family (SYN-03).

    Args:
        reported: the Node object's addresses, InternalIPs before ExternalIPs; the first of each family counts.
        bind_address: a specific `bindAddress`, which replaces the one of its family.
    """
    first: dict[Family, Address] = {}
    for address in (*(() if bind_address is None else (bind_address,)), *reported):
        if not address.is_loopback:
            first.setdefault(address.family, address)
    return tuple(first.values())


def primary_family(node_ips: Sequence[Address]) -> Family:
    """Return the primary family: that of `bindAddress`, else of the node's first IP, else IPv4 (SYN-02).

    Args:
        node_ips: as returned by the function of that name.
    """
    return node_ips[0].family if node_ips else Family.IPV4


_LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"


def takes_traffic(node: Node | None) -> bool:
    """Return whether load balancers may send new traffic to this node (HC-03)."""
    return node is not None and not node.deleting and _LEAVING_TAINT not in node.taint_keys


def health_check_addresses(
    setting: NodePortAddresses,
    addresses: Iterable[Address],
    *,
    internal_addresses: Iterable[Address],
    families: Iterable[Family],
) -> tuple[Address, ...]:
    """Choose the addresses on which health check node ports listen (HC-11).

    A family without restriction gets its unspecified address. A restricted family gets the addresses on which
    NodePorts answer, and loopback addresses that the setting covers; never VIPs, for the reason of DEV-10. While no
    IP of this node is known, ``primary`` means no address (DEV-60).

    Args:
        addresses: of all interfaces but the dummy interface.
        internal_addresses: as in `choose_node_port_addresses`.
    """
    present = list(addresses)
    usable = usable_node_addresses(present)
    internal = [a for a in internal_addresses if not a.is_loopback]
    chosen: list[Address] = []
    for family in families:
        networks = [n for n in setting.networks if n.family is family]
        if setting.primary:
            restricted = not internal or any(a.family is family for a in internal)
        else:
            restricted = bool(networks) and all(n.prefix_length for n in networks)
        if not restricted:
            chosen.append(Address(bytes(family.bits // 8)))
            continue
        own = choose_node_port_addresses(setting, usable, internal_addresses=internal)
        chosen += [a for a in own if a.family is family]
        chosen += [a for a in present if a.is_loopback and any(a in n for n in networks)]
    return tuple(sorted(dict.fromkeys(chosen), key=lambda a: a.sort_key))


def infrastructure_addresses(services: Iterable[Service]) -> frozenset[Address]:
    """Return the cluster IPs of the Services that all pods depend on."""
    return frozenset(a for s in services if is_infrastructure(s) for a in s.cluster_ips)


def usable_node_addresses(addresses: Iterable[Address]) -> frozenset[Address]:
    """Leave out addresses that are never node addresses: loopback and IPv6 link-local (ADR-06)."""
    return frozenset(a for a in addresses if not a.is_loopback and not a.is_link_local_ipv6)


def choose_node_port_addresses(
    setting: NodePortAddresses, addresses: Iterable[Address], *, internal_addresses: Iterable[Address]
) -> tuple[Address, ...]:
    """Choose the node addresses on which NodePorts answer.

    A family without a CIDR in the list, or with a /0, uses all its addresses (NP-01 to NP-03); CIDR mode
    leaves out the same addresses as NP-01 does (DEV-10). While no IP of this node is known, ``primary`` means no
    address: a restriction that cannot be applied yet must not open all addresses (DEV-60).

    Args:
        addresses: node addresses as returned by `usable_node_addresses`.
        internal_addresses: this node's IP of each family, which ``primary`` selects (NP-05).

    Returns:
        Sorted, IPv4 first.
    """
    chosen: list[Address] = []
    internal = [a for a in internal_addresses if not a.is_loopback]
    if setting.primary and not internal:
        return ()
    for family in Family:
        present = [a for a in addresses if a.family is family]
        networks = [n for n in setting.networks if n.family is family]
        if setting.primary:
            first = next((a for a in internal if a.family is family), None)
            present = [a for a in present if first in (None, a)]
        elif networks and all(n.prefix_length for n in networks):
            present = [a for a in present if any(a in n for n in networks)]
        chosen += present
    return tuple(sorted(chosen, key=lambda a: a.sort_key))
