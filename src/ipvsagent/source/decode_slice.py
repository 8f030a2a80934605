"""An EndpointSlice as the API writes it, made into a `model.objects.EndpointSlice` (EP-01 to EP-10).

Slices are the bulk of a cluster's objects, so what repeats is kept once: names of nodes and zones are interned, and
equal tuples of ports and hints are the same object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache

from msgspec import UNSET

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Endpoint, EndpointPort, EndpointSlice, ObjectKey
from ipvsagent.source.decode_checks import optional_port_number, protocol, quote, service_address
from ipvsagent.source.decode_result import Findings, Rejection
from ipvsagent.source.decode_wire import (
    NO_LABELS,
    WireConditions,
    WireEndpoint,
    WireHint,
    WireMetadata,
    WireSlice,
    WireSlicePort,
)

_FAMILIES = {family.label: family for family in Family}
_NO_CONDITIONS = WireConditions()


def decode_slice(wire: WireSlice, metadata: WireMetadata, findings: Findings) -> EndpointSlice | None:
    """Make an EndpointSlice; None if it belongs to no Service that is served.

    Left out are headless ones, those without the owner's label (EP-01) and those of host names (EP-02).

    Raises:
        Rejection: the address type is missing or unknown.
    """
    labels = metadata.labels or NO_LABELS
    if labels.headless is not UNSET or not labels.service_name or wire.address_type == "FQDN":
        return None
    family = _FAMILIES.get(wire.address_type or "")
    if family is None:
        found = (
            f"{quote(wire.address_type)} is not one of" if wire.address_type else "is missing; it must be one of"
        )
        raise Rejection("addressType", f"{found} IPv4, IPv6, FQDN; this EndpointSlice is not used as it stands")
    return EndpointSlice(
        key=findings.key,
        service=ObjectKey(findings.key.namespace, sys.intern(labels.service_name)),
        family=family,
        ports=_ports(wire.ports or (), findings),
        endpoints=_endpoints(wire.endpoints or (), family, findings),
        generation=metadata.generation or 0,
    )


def _ports(wires: Sequence[WireSlicePort | None], findings: Findings) -> tuple[EndpointPort, ...]:
    """Ports with a name (the empty one counts) and a number; a missing number does not mean all (EP-05)."""
    ports: dict[EndpointPort, None] = {}
    for index, wire in enumerate(wires):
        if wire is None or wire.port is None:
            continue
        field = f"ports[{index}]"
        if wire.name is None:
            findings.add(f"{field}.name", 'is missing; this port is ignored (write `name: ""` for an unnamed port)')
            continue
        transport = protocol(wire.protocol, f"{field}.protocol", findings, "port")
        number = optional_port_number(wire.port, f"{field}.port", findings, "port")
        if transport is not None and number:
            ports[EndpointPort(sys.intern(wire.name), transport, number)] = None
    return _shared_ports(tuple(ports))


@lru_cache(maxsize=4096)
def _shared_ports(ports: tuple[EndpointPort, ...]) -> tuple[EndpointPort, ...]:
    """The first of all equal tuples."""
    return ports


def _endpoints(wires: Sequence[WireEndpoint | None], family: Family, findings: Findings) -> tuple[Endpoint, ...]:
    endpoints = []
    for index, wire in enumerate(wires):
        if wire is None or not wire.addresses or not wire.addresses[0]:
            continue  # EP-07
        address = _address(wire.addresses[0], family, f"endpoints[{index}].addresses[0]", findings)
        if address is not None:
            endpoints.append(_endpoint(wire, address))
    return tuple(endpoints)


def _address(text: str, family: Family, field: str, findings: Findings) -> Address | None:
    address = service_address(text, field, findings, "endpoint")
    if address is not None and address.family is not family:
        findings.add(field, f"{quote(text)} is not an {family.label} address; this endpoint is ignored")
        return None
    return address


def _endpoint(wire: WireEndpoint, address: Address) -> Endpoint:
    """Null conditions mean ready, serving and not terminating (EP-08)."""
    conditions = wire.conditions or _NO_CONDITIONS
    hints = wire.hints
    return Endpoint(
        address=address,
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        node_name=sys.intern(wire.node_name or ""),
        zone_hints=_hints(hints.for_zones) if hints else (),
        node_hints=_hints(hints.for_nodes) if hints else (),
    )


def _hints(wires: Sequence[WireHint | None] | None) -> tuple[str, ...]:
    """Names in hints (EP-10)."""
    return _shared_names(tuple(w.name for w in wires or () if w and w.name))


@lru_cache(maxsize=4096)
def _shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first of all equal tuples."""
    return tuple(sys.intern(name) for name in names)
