"""A Node as the API writes it, made into a `model.objects.Node`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ipvsagent.model.address import Address
from ipvsagent.model.objects import Node
from ipvsagent.source.decode_checks import networks, quote
from ipvsagent.source.decode_result import Findings
from ipvsagent.source.decode_wire import NO_LABELS, WireMetadata, WireNode, WireNodeAddress

_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


def decode_node(wire: WireNode, metadata: WireMetadata, findings: Findings) -> Node:
    """Make a Node; every part but the name may be missing."""
    spec = wire.spec
    pod_cidrs: Sequence[str | None] = (spec.pod_cidrs or (spec.pod_cidr,)) if spec else ()
    return Node(
        name=findings.key.name,
        addresses=_addresses((wire.status and wire.status.addresses) or (), findings),
        zone=sys.intern((metadata.labels or NO_LABELS).zone or ""),
        pod_networks=networks(pod_cidrs, "spec.podCIDRs", findings, "pod CIDR"),
        deleting=metadata.deletion_timestamp is not None,
        taint_keys=tuple(sys.intern(t.key) for t in (spec and spec.taints) or () if t and t.key),
    )


def _addresses(wires: Sequence[WireNodeAddress | None], findings: Findings) -> tuple[Address, ...]:
    """InternalIPs in order, then ExternalIPs (SYN-03); host names are not addresses."""
    found: dict[str, list[Address]] = {kind: [] for kind in _ADDRESS_TYPES}
    for index, wire in enumerate(wires):
        if wire is None or wire.type not in _ADDRESS_TYPES or not wire.address:
            continue
        try:
            found[wire.type].append(Address.parse(wire.address))
        except ValueError:
            findings.add(
                f"status.addresses[{index}].address",
                f"{quote(wire.address)} is not an IP address; this node address is ignored",
            )
    return tuple(dict.fromkeys(address for kind in _ADDRESS_TYPES for address in found[kind]))
