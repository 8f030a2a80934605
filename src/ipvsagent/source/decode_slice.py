"""Check EndpointSlices (EP-01 to EP-12)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from socket import inet_pton
from sys import intern

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Endpoint, EndpointPort, EndpointSlice, ObjectKey
from ipvsagent.source import api_types
from ipvsagent.source.annotations import weight_of
from ipvsagent.source.problems import ORDINARY_FIRST_BYTES, Problems, check_address, check_protocol

SERVICE_LABEL = "kubernetes.io/service-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"

_FAMILIES = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}
_NO_CONDITIONS = api_types.Conditions()
_first_byte = itemgetter(0)


def slice_from_wire(found: api_types.EndpointSlice, key: ObjectKey, problems: Problems) -> EndpointSlice | None:
    """Return a slice; None without problems if it is not used (EP-01, EP-02)."""
    labels = found.metadata.labels or {}
    owner = labels.get(SERVICE_LABEL)
    if not owner or HEADLESS_LABEL in labels or found.address_type == "FQDN":
        return None
    family = _FAMILIES.get(found.address_type or "")
    if family is None:
        problems.add("addressType", f"`{found.address_type}` is none of IPv4, IPv6, FQDN; the slice is not used")
        return None
    return EndpointSlice(
        key=key,
        service=ObjectKey(key.namespace, owner),
        family=family,
        ports=_ports(found, problems),
        endpoints=_endpoints(found, family, problems),
        generation=found.metadata.generation or 0,
        weight=weight_of(found.metadata.annotations, problems),
    )


def trigger_time(found: api_types.EndpointSlice) -> float:
    """Return the time of the event that changed the slice, from its annotation (MET-10); Unix time, 0 if unknown."""
    text = found.metadata.annotations and found.metadata.annotations.last_change_trigger_time
    if not isinstance(text, str):
        return 0.0
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return 0.0


def _ports(found: api_types.EndpointSlice, problems: Problems) -> tuple[EndpointPort, ...]:
    """Return the ports with a name and a number; skip others (EP-05)."""
    ports = []
    for index, port in enumerate(found.ports or ()):
        if port.name is None or not port.port:
            continue
        field = f"ports[{index}]"
        if not 1 <= port.port <= 65535:
            problems.add(f"{field}.port", f"{port.port} is outside 1-65535; this port is ignored")
            continue
        protocol = check_protocol(port.protocol, f"{field}.protocol", problems)
        if protocol is not None:
            ports.append(EndpointPort(intern(port.name), protocol, port.port))
    return tuple(ports)


def _endpoints(found: api_types.EndpointSlice, family: Family, problems: Problems) -> tuple[Endpoint, ...]:
    usable = found.endpoints or ()
    number = int(family)
    try:  # the fast path for a hundred thousand endpoints; doubtful ones are checked separately
        packed = [inet_pton(number, e.addresses[0]) for e in usable]  # type: ignore[index]  # None is caught below
    except (OSError, ValueError, TypeError, IndexError):
        return _doubtful_endpoints(found, family, problems)
    if not ORDINARY_FIRST_BYTES[family].issuperset(map(_first_byte, packed)):
        return _doubtful_endpoints(found, family, problems)
    return _resolved(zip(map(Address, packed), usable, strict=True))


def _doubtful_endpoints(found: api_types.EndpointSlice, family: Family, problems: Problems) -> tuple[Endpoint, ...]:
    usable = []
    for index, endpoint in enumerate(found.endpoints or ()):
        if endpoint.addresses:  # EP-07
            address = _address(endpoint.addresses[0], f"endpoints[{index}].addresses[0]", family, problems)
            if address is not None:
                usable.append((address, endpoint))
    return _resolved(usable)


def _address(text: str, field: str, family: Family, problems: Problems) -> Address | None:
    address = check_address(text, field, problems)
    if address is not None and address.family is not family:
        problems.add(field, f"{text} is not an {family.label} address as the slice's addressType says; it is ignored")
        return None
    return address


def _resolved(endpoints: Iterable[tuple[Address, api_types.Endpoint]]) -> tuple[Endpoint, ...]:
    """Resolve nulls as the API means them (EP-08 to EP-10)."""
    # One expression for the whole slice: a call for each endpoint would double the cost.
    made = [
        Endpoint(
            address,
            (conditions := found.conditions or _NO_CONDITIONS).ready is not False,
            conditions.serving is not False,
            conditions.terminating is True,
            intern(found.node_name or ""),
            _names(hints.for_zones) if (hints := found.hints) and hints.for_zones else (),
            _names(hints.for_nodes) if hints and hints.for_nodes else (),
        )
        for address, found in endpoints
    ]
    return tuple(made)


def _names(hints: list[api_types.Hint]) -> tuple[str, ...]:
    if len(hints) == 1 and hints[0].name:
        return _one_name(hints[0].name)
    return tuple(intern(h.name) for h in hints if h.name)


@lru_cache(maxsize=4096)
def _one_name(name: str) -> tuple[str]:
    """Return a tuple of one name, shared by all endpoints: there are few zones and many endpoints."""
    return (intern(name),)
