"""Decide which external addresses a Service may claim on this node.

Every user who may write Services can set external IPs and load balancer addresses (CVE-2020-8554). If the agent bound
an address of another machine, this node could not reach that machine, or its traffic would go to the Service. Addresses
that no Service can have, such as loopback addresses, are refused when objects are decoded.

Addresses of nodes and API servers are facts. The cluster CIDR is a guess: in flat networks it also contains nodes and
internal load balancers. If node addresses show this, an address in it is served and reported (DEV-64).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Address, Network
from ipvsagent.model.objects import Problem, Service
from ipvsagent.planner.facts import NodeFacts


class AddressPolicy(Struct, frozen=True):
    """The addresses that are allowed in one field of a Service (DEV-36).

    Args:
        field: path of the field, for problems.
        allowed: ranges that its addresses must lie in; empty: any.
    """

    field: str
    allowed: tuple[Network, ...]
    node: NodeFacts
    settings: Settings

    def takeable(self, service: Service, addresses: Iterable[Address], problems: list[Problem]) -> tuple[Address, ...]:
        """Return the addresses that may be served; add a problem for each of the others."""
        usable = []
        for address in addresses:
            objection = self._objection(address)
            if objection:
                reason = f"{address} {objection}; it is not served here"
                problems.append(Problem("Service", str(service.key), self.field, reason, "AddressRefused"))
                continue
            usable.append(address)
            if doubt := self._doubt(address):
                reason = f"{address} {doubt}; it is served"
                problems.append(Problem("Service", str(service.key), self.field, reason, "DoubtfulAddress"))
        return tuple(usable)

    def _objection(self, address: Address) -> str:
        """Return why an address must not be served; empty if it may be."""
        node = self.node
        # This also holds if another interface of the node has the address, as with a DNS cache on the node.
        if address in node.infrastructure_addresses:
            return "is the cluster IP of the API server or the cluster DNS"
        for network in self.settings.service_networks:
            if address in network:
                return f"is in the Service CIDR {network}"
        if self.allowed and not any(address in network for network in self.allowed):
            return f"is in none of the allowed ranges: {', '.join(map(str, self.allowed))}"
        if address in node.addresses:
            return ""
        if address in node.other_node_addresses:
            return "is an address of another node"
        if address in node.api_server_addresses:
            return "is an address of the API server"
        around = self._pod_network_around(address)
        return f"is in the cluster CIDR {around}" if around and not self._holds_nodes(around) else ""

    def _doubt(self, address: Address) -> str:
        """Return why an address may be wrong, without certainty; empty if there is no doubt."""
        network = None if address in self.node.addresses else self._pod_network_around(address)
        if network is None:
            return ""
        return f"is in the cluster CIDR {network}, which also contains nodes; it may belong to a pod"

    def _pod_network_around(self, address: Address) -> Network | None:
        """Return the cluster CIDR that contains an address, unless the operator allows the address."""
        network = self.settings.cluster_network(address.family)
        return network if network is not None and not self.allowed and address in network else None

    def _holds_nodes(self, network: Network) -> bool:
        """Return whether a cluster CIDR also contains nodes, as in flat networks."""
        return any(a in network for a in (*self.node.internal_addresses, *self.node.other_node_addresses))
