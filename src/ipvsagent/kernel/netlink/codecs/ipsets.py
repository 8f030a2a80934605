"""Encoding and decoding ipset messages (include/uapi/linux/netfilter/ipset/ip_set.h).

Attribute numbers are pyroute2's. Its encoder has no lists of entries (IPSET_ATTR_ADT), which make bulk work two hundred
times cheaper. Numbers inside messages are in network byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from pyroute2.netlink import NLA_F_NESTED, NLA_F_NET_BYTEORDER
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_IPSET
from pyroute2.netlink.nfnetlink import ipset as constants

from ipvsagent.kernel.netlink.sockets import attribute, attributes
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.state import ObservedSet, SetEntry, SetSpec, SetType

_PROTOCOL_VERSION = 6
_NFGEN = struct.Struct("=BBH")  # family, version, resource

# Attributes of a message (ipset_msg.nla_map), and of its data (cadt_data, adt_data).
_TOP = {name.removeprefix("IPSET_ATTR_"): i for i, (name, *_) in enumerate(constants.ipset_msg.nla_map)}
_DATA = {name.removeprefix("IPSET_ATTR_"): i for i, name, *_ in constants.ipset_msg.ipset_generic.adt_data.nla_map}
_CREATE = {name.removeprefix("IPSET_ATTR_"): i for i, name, *_ in constants.ipset_msg.cadt_data.nla_map}
_IPV4, _IPV6 = 1, 2  # IPSET_ATTR_IPADDR_IPV4, IPSET_ATTR_IPADDR_IPV6

ENTRIES_PER_MESSAGE = 512
"""A nested attribute holds 64 KiB; an IPv6 entry with two addresses takes 80 bytes."""


def message_type(command: int) -> int:
    """Return the netlink message type of an ipset command."""
    return int(NFNL_SUBSYS_IPSET) << 8 | command


def header(family: Family | None = None) -> bytes:
    """Return the beginning of every request."""
    return _NFGEN.pack(family or Family.IPV4, 0, 0) + attribute(_TOP["PROTOCOL"], bytes([_PROTOCOL_VERSION]))


def name_attribute(name: str) -> bytes:
    """Return the name of the set that a request is about."""
    return attribute(_TOP["SETNAME"], name.encode() + b"\0")


def encode_name(name: str) -> bytes:
    """Return a request about one set."""
    return header() + name_attribute(name)


def encode_swap(first: str, second: str) -> bytes:
    """Return the request that exchanges two sets; the second name is in the attribute for the type."""
    return encode_name(first) + attribute(_TOP["TYPENAME"], second.encode() + b"\0")


def encode_list(name: str = "", *, headers_only: bool = False) -> bytes:
    """Return the request that lists one set or all."""
    flags = constants.IPSET_FLAG_LIST_HEADER if headers_only else 0
    payload = header() + (name_attribute(name) if name else b"")
    return payload + (attribute(_TOP["FLAGS"] | NLA_F_NET_BYTEORDER, struct.pack("!I", flags)) if flags else b"")


def encode_create(spec: SetSpec, revision: int) -> bytes:
    """Return the request that creates a set (SET-01 to SET-18)."""
    family = 0 if spec.family is None else spec.family
    payload = (
        header()
        + name_attribute(spec.name)
        + attribute(_TOP["TYPENAME"], spec.type.value.encode() + b"\0")
        + attribute(_TOP["REVISION"], bytes([revision]))
        + attribute(_TOP["FAMILY"], bytes([family]))
    )
    if spec.type is SetType.BITMAP_PORT:
        data = _number(_CREATE["PORT"], 0, "!H") + _number(_CREATE["PORT_TO"], 65535, "!H")
    else:
        data = _number(_CREATE["HASHSIZE"], 1024, "!I") + _number(_CREATE["MAXELEM"], spec.max_elements, "!I")
    return payload + attribute(_TOP["DATA"] | NLA_F_NESTED, data)


def encode_type_query(spec: SetSpec) -> bytes:
    """Return the request for the revisions of a set type that the kernel supports."""
    family = 0 if spec.family is None else spec.family
    return (
        header()
        + attribute(_TOP["TYPENAME"], spec.type.value.encode() + b"\0")
        + attribute(_TOP["FAMILY"], bytes([family]))
    )


def decode_revision(payload: bytes) -> int:
    """Read the newest revision from the answer to `encode_type_query`; `ipset` uses the same one."""
    return attributes(payload, _NFGEN.size)[_TOP["REVISION"]][0]


def encode_entries(set_name: str, entries: Sequence[SetEntry]) -> bytes:
    """Encode up to `ENTRIES_PER_MESSAGE` entries of one set; their line numbers are their positions, counted from 1."""
    data = b"".join(_entries(entries))
    return (
        header()
        + name_attribute(set_name)
        + attribute(_TOP["LINENO"], struct.pack("=I", 0))  # without it the kernel refuses a list
        + attribute(_TOP["ADT"] | NLA_F_NESTED, data)
    )


def decode_line_number(payload: bytes) -> int:
    """Return the line number of the failed entry, from an error answer's copy of the request; 0 if there is none."""
    # errno, the request's header, nfgenmsg, then the request's own attributes, with the line number filled in.
    offset = 4 + 16 + _NFGEN.size
    found = attributes(payload, offset).get(_TOP["LINENO"])
    return int.from_bytes(found or b"", "big")  # in the byte order in which the entry gave it


def decode_set(payload: bytes) -> ObservedSet:
    """Return a set's header, from a listing."""
    top = attributes(payload, _NFGEN.size)
    data = attributes(top[_TOP["DATA"]]) if _TOP["DATA"] in top else {}
    family = top.get(_TOP["FAMILY"], b"\0")[0]
    kind = _text(top.get(_TOP["TYPENAME"], b""))
    if kind == SetType.BITMAP_PORT:
        size = _read(data, _CREATE["PORT_TO"]) - _read(data, _CREATE["PORT"]) + 1
    else:
        size = _read(data, _CREATE["MAXELEM"])
    return ObservedSet(
        _text(top[_TOP["SETNAME"]]),
        kind,
        Family(family) if family in (Family.IPV4, Family.IPV6) else None,
        size,
        _read(data, _CREATE["REFERENCES"]),
        _read(data, _CREATE["ELEMENTS"]),
    )


def decode_entries(payload: bytes, spec: SetSpec) -> list[SetEntry]:
    """Return the entries in one message of a listing."""
    top = attributes(payload, _NFGEN.size)
    adt = top.get(_TOP["ADT"], b"")
    found, offset = [], 0
    while offset + 4 <= len(adt):
        length = int.from_bytes(adt[offset : offset + 2], "little" if _LITTLE else "big")
        if length < 4:
            break
        found.append(_decode_entry(attributes(adt[offset + 4 : offset + length]), spec))
        offset += (length + 3) & ~3
    return found


_LITTLE = struct.pack("=H", 1)[0] == 1


def _decode_entry(data: dict[int, bytes], spec: SetSpec) -> SetEntry:
    port = _read(data, _DATA["PORT"])
    if spec.type is SetType.BITMAP_PORT:
        return SetEntry(spec.name, port)
    address = _address(data[_DATA["IP"]])
    if spec.type is SetType.HASH_IP:
        return SetEntry(spec.name, address=address)
    protocol = Protocol(data[_DATA["PROTO"]][0])
    if spec.type is SetType.HASH_IP_PORT:
        return SetEntry(spec.name, port, protocol, address)
    other = _address(data[_DATA["IP2"]])
    if spec.type is SetType.HASH_IP_PORT_IP:
        return SetEntry(spec.name, port, protocol, address, other)
    # The kernel leaves out the length of a single address (SET-33).
    length = data.get(_DATA["CIDR2"], bytes([other.family.bits]))[0]
    return SetEntry(spec.name, port, protocol, address, other, length)


def _entries(entries: Sequence[SetEntry]) -> list[bytes]:
    """Encode each entry; entries of one set have the same fields."""
    first = entries[0]
    if first.address is None or first.other_address is not None:
        return [_any_entry(e, line) for line, e in enumerate(entries, 1)]
    # hash:ip and hash:ip,port, by far the most frequent: only the address is encoded for each entry
    head = _entry_head(len(first.address), with_port=first.protocol is not None)
    if first.protocol is None:
        return [head + e.address + line for e, line in zip(entries, _LINES, strict=False)]  # type: ignore[operator]
    return [
        head + e.address + _port_and_protocol(e.port, e.protocol) + line  # type: ignore[operator]  # as the first one has
        for e, line in zip(entries, _LINES, strict=False)
    ]


def _entry_head(address_length: int, *, with_port: bool) -> bytes:
    inner = address_length + 8
    size = 4 + inner + (_PORT_PROTOCOL.size if with_port else 0) + len(_LINES[0])
    kind = _IPV4 if address_length == 4 else _IPV6
    return (
        _HEAD.pack(size, _TOP["DATA"] | NLA_F_NESTED)
        + _HEAD.pack(inner, _DATA["IP"] | NLA_F_NESTED)
        + _HEAD.pack(address_length + 4, kind | NLA_F_NET_BYTEORDER)
    )


@lru_cache(maxsize=4096)
def _port_and_protocol(port: int, protocol: Protocol | None) -> bytes:
    return _PORT_PROTOCOL.pack(_PORT_HEAD, port, _PROTO_HEAD, protocol)


def _any_entry(entry: SetEntry, line: int) -> bytes:
    parts = []
    if entry.address is not None:
        parts.append(_ip(_DATA["IP"], entry.address))
    if entry.address is None or entry.protocol is not None:
        parts.append(_number(_DATA["PORT"], entry.port, "!H"))
    if entry.protocol is not None:
        parts.append(attribute(_DATA["PROTO"], bytes([entry.protocol])))
    if entry.other_address is not None:
        parts.append(_ip(_DATA["IP2"], entry.other_address))
    if entry.other_prefix_length is not None:
        parts.append(attribute(_DATA["CIDR2"], bytes([entry.other_prefix_length])))
    parts.append(_number(_DATA["CADT_LINENO"], line, "!I"))
    return attribute(_TOP["DATA"] | NLA_F_NESTED, b"".join(parts))


def _number(number: int, value: int, form: str) -> bytes:
    return attribute(number | NLA_F_NET_BYTEORDER, struct.pack(form, value))


_PORT_PROTOCOL = struct.Struct("!4sH2x4sB3x")
_HEAD = struct.Struct("=HH")
_PORT_HEAD = _HEAD.pack(6, _DATA["PORT"] | NLA_F_NET_BYTEORDER)
_PROTO_HEAD = _HEAD.pack(5, _DATA["PROTO"])
_LINES = [_number(_DATA["CADT_LINENO"], line, "!I") for line in range(1, ENTRIES_PER_MESSAGE + 1)]


def _ip(number: int, address: Address) -> bytes:
    inner = attribute((_IPV4 if len(address) == 4 else _IPV6) | NLA_F_NET_BYTEORDER, address)
    return attribute(number | NLA_F_NESTED, inner)


def _read(data: dict[int, bytes], number: int) -> int:
    return int.from_bytes(data.get(number, b""), "big")


def _address(data: bytes) -> Address:
    inner = attributes(data)
    return Address(inner[_IPV4] if _IPV4 in inner else inner[_IPV6])


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode()
