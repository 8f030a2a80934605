"""Which external addresses a Service may claim on this node.

Everybody who may write Services can set external IPs and load balancer addresses (CVE-2020-8554). If the agent took an
address of another machine, this node could not reach that machine, or its traffic would go to the Service. Addresses
that no Service can have, such as loopback addresses, are refused when objects are decoded.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Address, Network
from ipvsagent.model.objects import Problem, Service
from ipvsagent.planner.facts import NodeFacts


class AddressPolicy(Struct, frozen=True):
    """What is allowed in one field of a Service (DEV-36).

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
            else:
                usable.append(address)
        return tuple(usable)

    def _objection(self, address: Address) -> str:
        """Return why an address may not be served, or an empty text."""
        node = self.node
        # A cluster IP remains a cluster IP if another interface of the node has it, as with a DNS cache on the node.
        if address in node.infrastructure_addresses:
            return "is the cluster IP of the API server or the cluster DNS"
        for network in self.settings.service_networks:
            if address in network:
                return f"lies in the Service CIDR {network}"
        if self.allowed and not any(address in network for network in self.allowed):
            return f"lies in none of the ranges allowed: {', '.join(map(str, self.allowed))}"
        if address in node.addresses:
            return ""
        if address in node.other_node_addresses:
            return "is an address of another node"
        if address in node.api_server_addresses:
            return "is an address of the API server"
        network_of_pods = self.settings.cluster_network(address.family)
        inside = network_of_pods is not None and address in network_of_pods
        return f"lies in the cluster CIDR {network_of_pods}" if inside else ""
