"""Check Nodes."""

from __future__ import annotations

from sys import intern

from ipvsagent.model.address import Address
from ipvsagent.model.objects import Node
from ipvsagent.source import api_types
from ipvsagent.source.problems import Problems, check_address, check_networks

ZONE_LABEL = "topology.kubernetes.io/zone"
_ADDRESS_TYPES = ("InternalIP", "ExternalIP")  # in this order (SYN-03)


def node_from_wire(found: api_types.Node, problems: Problems) -> Node:
    """Return a Node; every Node is used."""
    spec = found.spec or api_types.NodeSpec()
    networks = spec.podCIDRs or ([spec.podCIDR] if spec.podCIDR else [])
    return Node(
        name=found.metadata.name,
        addresses=_addresses(found.status, problems),
        zone=intern((found.metadata.labels or {}).get(ZONE_LABEL) or ""),
        pod_networks=check_networks(networks, "spec.podCIDRs", problems),
        deleting=found.metadata.deletion_timestamp is not None,
        taint_keys=tuple(t.key for t in spec.taints or ()),
    )


def _addresses(status: api_types.NodeStatus | None, problems: Problems) -> tuple[Address, ...]:
    listed = (status.addresses if status else None) or ()
    found: dict[Address, None] = {}
    for wanted in _ADDRESS_TYPES:
        for index, item in enumerate(listed):
            if item.type == wanted:
                field = f"status.addresses[{index}].address"
                address = check_address(item.address, field, problems, allow_link_local=True)
                if address is not None:
                    found[address] = None
    return tuple(found)
