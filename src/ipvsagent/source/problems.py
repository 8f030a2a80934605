"""Collect the problems of one object; checks that several decoders share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.objects import Kind, ObjectKey, Problem

MOST_PROBLEMS = 20
"""Most problems reported for one object: a slice of a thousand bad endpoints must not hide other problems."""

_PROTOCOLS = {"TCP": Protocol.TCP, "UDP": Protocol.UDP, "SCTP": Protocol.SCTP}


class Problems:
    """The problems found in one object."""

    __slots__ = ("_found", "_key", "_kind", "_left_out")

    def __init__(self, kind: Kind, key: ObjectKey) -> None:
        self._kind = kind
        self._key = key
        self._found: list[Problem] | None = None  # nearly every object has none
        self._left_out = 0

    def add(self, field: str, reason: str) -> None:
        """Note that a field is wrong, and the consequence."""
        if self._found is None:
            self._found = []
        if len(self._found) == MOST_PROBLEMS:
            self._left_out += 1
        else:
            self._found.append(Problem(self._kind.value, str(self._key), field, reason))

    def found(self) -> tuple[Problem, ...]:
        """Return the problems found so far; beyond `MOST_PROBLEMS` they are only counted."""
        if not self._left_out:
            return tuple(self._found or ())
        rest = Problem(self._kind.value, str(self._key), "", f"{self._left_out} more problems are not shown")
        return (*(self._found or ()), rest)


def check_protocol(text: str | None, field: str, problems: Problems) -> Protocol | None:
    """Return a protocol by its name; TCP if none is set (EP-05); None, with a problem, if it is unknown."""
    protocol = _PROTOCOLS.get(text or "TCP")
    if protocol is None:
        problems.add(field, f"`{text}` is none of TCP, UDP, SCTP; this port is ignored")
    return protocol


def check_addresses(
    texts: Iterable[str] | None, field: str, problems: Problems, *, allow_link_local: bool = False
) -> tuple[Address, ...]:
    """Return unicast addresses in order, without duplicates; ignore others with a problem, blank ones silently."""
    if not texts:
        return ()
    found: dict[Address, None] = {}
    for index, text in enumerate(texts):
        stripped = text.strip()
        if stripped:
            address = check_address(stripped, f"{field}[{index}]", problems, allow_link_local=allow_link_local)
            if address is not None:
                found[address] = None
    return tuple(found)


def check_address(text: str, field: str, problems: Problems, *, allow_link_local: bool = False) -> Address | None:
    """Return a unicast address, or None with a problem."""
    try:
        address = Address.parse(text)
    except ValueError as error:
        problems.add(field, f"{error}; it is ignored")
        return None
    ordinary = address[0] in ORDINARY_FIRST_BYTES[address.family]
    what = "" if ordinary else _special(address, allow_link_local)
    if what:
        problems.add(field, f"{text} is {what} address; it is ignored")
        return None
    return address


ORDINARY_FIRST_BYTES = {
    Family.IPV4: frozenset(range(1, 224)) - {127, 169},
    Family.IPV6: frozenset(range(1, 0xFE)),
}
"""First bytes of addresses that are certainly unicast; `check_address` decides about all others."""


def check_networks(texts: Iterable[str] | None, field: str, problems: Problems) -> tuple[Network, ...]:
    """Return CIDRs in order, trimmed and masked, without duplicates; ignore others with a problem."""
    if not texts:
        return ()
    found: dict[Network, None] = {}
    for index, text in enumerate(texts):
        network = check_network(text, f"{field}[{index}]", "it is ignored", problems)
        if network is not None:
            found[network] = None
    return tuple(found)


def check_network(text: str, field: str, consequence: str, problems: Problems) -> Network | None:
    """Return a CIDR, trimmed and masked, or None with a problem."""
    stripped = text.strip()
    try:
        if "/" in stripped:
            return Network.parse(stripped)
        reason = f"{stripped!r} is not a CIDR"
    except ValueError as error:
        reason = str(error)
    problems.add(field, f"{reason}; {consequence}")
    return None


def check_time(text: str | None, field: str, problems: Problems) -> str:
    """Return a time as RFC 3339 in UTC with whole seconds, so that text order is time order; empty if none is set."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(text)
        if len(text) == 20 and text[7] == "-" and text[10] == "T" and text[13] == ":" and text[19] == "Z":
            return text  # as the API server writes it, without a week number or another offset
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        problems.add(field, f"{text!r} is not a time such as 2026-01-31T12:00:00Z; it is ignored")
        return ""
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}Z"


def _special(address: Address, allow_link_local: bool) -> str:
    if address.is_unspecified:
        return "the unspecified"
    if address.is_loopback:
        return "a loopback"
    if address.is_multicast or address == b"\xff\xff\xff\xff":
        return "a multicast or broadcast"
    if address.is_link_local and not allow_link_local:
        return "a link-local"
    return ""
