"""Checks of single values: addresses, networks, ports, protocols, times. Each turns text into a model value.

A value that cannot be used comes out as None (or 0, or empty) together with a finding that names field, value and
what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from ipvsagent.model.address import Address, Network, Protocol
from ipvsagent.source.decode_result import Findings

_PROTOCOLS = {p.name: p for p in Protocol}
_LONGEST_QUOTE = 64


def quote(value: object) -> str:
    """A value for a message: in backticks, control characters escaped, long ones cut."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return f"`{_short(value)}`"
    text = str(value).encode("unicode_escape").decode("ascii")
    return f"`{text[:_LONGEST_QUOTE]}…`" if len(text) > _LONGEST_QUOTE else f"`{text}`"


def service_address(text: str, field: str, findings: Findings, what: str) -> Address | None:
    """Read an address that a Service or an endpoint may have.

    Refused are those that are never routed to a Service: loopback, link-local, multicast, unspecified and
    IPv4-mapped ones. An address such as 127.0.0.1, bound or translated, would take the node's own traffic.

    Args:
        what: what is left out if it is refused, such as ``external IP``.
    """
    try:
        address = Address.parse(text)
    except ValueError:
        findings.add(field, f"{quote(text)} is not an IP address; this {what} is ignored")
        return None
    reason = _never_served(address)
    if reason:
        findings.add(field, f"{quote(text)} is {reason}; this {what} is ignored")
        return None
    return address


def _never_served(address: Address) -> str:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_mapped_ipv4:
        return "an IPv4-mapped IPv6 address"
    return "the broadcast address" if address == b"\xff\xff\xff\xff" else ""


def service_addresses(
    texts: Iterable[str | None] | None, field: str, findings: Findings, what: str
) -> tuple[Address, ...]:
    """Read a list of addresses as `service_address` does; blanks are skipped, doubles kept once."""
    found: dict[Address, None] = {}
    for index, text in enumerate(texts or ()):
        if text is None or not text.strip():
            continue
        address = service_address(text, f"{field}[{index}]", findings, what)
        if address is not None:
            found[address] = None
    return tuple(found)


def networks(texts: Iterable[str | None] | None, field: str, findings: Findings, what: str) -> tuple[Network, ...]:
    """Read a list of CIDRs: trimmed, masked, unparsable ones skipped, doubles kept once (SVC-10)."""
    found: dict[Network, None] = {}
    for index, text in enumerate(texts or ()):
        if text is None or not text.strip():
            continue
        try:
            found[_network(text.strip())] = None
        except ValueError:
            findings.add(f"{field}[{index}]", f"{quote(text)} is not a CIDR; this {what} is ignored")
    return tuple(found)


def _network(text: str) -> Network:
    if "/" not in text:
        raise ValueError(text)
    return Network.parse(text)


def port_number(value: int | None, field: str, findings: Findings, what: str) -> int:
    """Check a port that must be there; 0 if it cannot be used."""
    if value is None:
        findings.add(field, f"is missing; this {what} is ignored")
        return 0
    return optional_port_number(value, field, findings, what) if value else _outside(value, field, findings, what)


def optional_port_number(value: int | None, field: str, findings: Findings, what: str) -> int:
    """Check a port that may be absent (None or 0); 0 if it is, or cannot be used."""
    if not value:
        return 0
    return value if 1 <= value <= 65535 else _outside(value, field, findings, what)


def _outside(value: int, field: str, findings: Findings, what: str) -> int:
    findings.add(field, f"{_short(value)} is outside 1-65535; this {what} is ignored")
    return 0


def _short(value: int) -> str:
    # Python refuses to print numbers of more than 4300 digits; a port of that length needs no exact report.
    return str(value) if abs(value) < 10**18 else "a number of more than 18 digits"


def protocol(text: str | None, field: str, findings: Findings, what: str) -> Protocol | None:
    """Read a protocol; a missing one is TCP, an unknown one None (SVC-05, EP-05)."""
    if not text:
        return Protocol.TCP
    found = _PROTOCOLS.get(text)
    if found is None:
        findings.add(field, f"{quote(text)} is not one of TCP, UDP, SCTP; this {what} is ignored")
    return found


def timestamp(text: str | None, field: str, findings: Findings) -> str:
    """Read an RFC 3339 time and write it in UTC with whole seconds, so that text order is time order."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        findings.add(field, f"{quote(text)} is not a time such as `2026-01-31T12:00:00Z`; it is ignored")
        return ""
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}Z"
