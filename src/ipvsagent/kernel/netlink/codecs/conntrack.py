"""Encoding and decoding ctnetlink messages (include/uapi/linux/netfilter/nfnetlink_conntrack.h).

Message numbers are pyroute2's. Numbers inside are in network byte order. The kernel puts the original direction first,
so the first attribute is enough to recognise a flow of another protocol.
"""

from __future__ import annotations

import struct

from pyroute2.netlink import NLA_F_NESTED
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink import nfctsocket as constants

from ipvsagent.kernel.netlink.sockets import attribute, attributes
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.flows import Flow

LIST = int(NFNL_SUBSYS_CTNETLINK) << 8 | constants.IPCTNL_MSG_CT_GET
DELETE = int(NFNL_SUBSYS_CTNETLINK) << 8 | constants.IPCTNL_MSG_CT_DELETE

_NFGEN = struct.Struct("=BBH")  # family, version, resource
_PORT = struct.Struct("!H")
_ID = struct.Struct("!I")
_ATTRIBUTE_LENGTH = struct.Struct("=H")

_TUPLE_ORIGINAL, _TUPLE_REPLY, _CT_ID, _CT_ZONE = 1, 2, 12, 18  # enum ctattr_type
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2  # enum ctattr_tuple
_IP_ATTRIBUTES = {Family.IPV4: (1, 2), Family.IPV6: (3, 4)}  # enum ctattr_ip: source, destination
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # enum ctattr_l4proto

_Tuple = tuple[Address, int, Address, int]
"""One direction: source, its port, destination, its port."""

_PROTOCOL_INFO, _FILTER = 4, 25  # enum ctattr_type
_INFO_TCP, _TCP_STATE = 1, 1  # enum ctattr_protoinfo, enum ctattr_protoinfo_tcp
_TCP_OVER = (b"\x07", b"\x08")  # enum tcp_conntrack: TIME_WAIT, CLOSE
_FILTER_REPLY = 2  # enum ctattr_filter
_FILTER_SOURCE, _FILTER_PROTOCOL = 1, 8  # CTA_FILTER_F_CTA_IP_SRC, CTA_FILTER_F_CTA_PROTO_NUM
_FLAGS = struct.Struct("=I")

_WANTED = {int(p): p for p in (Protocol.UDP, Protocol.SCTP)}


def encode_list(family: Family) -> bytes:
    """Return the request that lists all flows of a family."""
    return _NFGEN.pack(family, 0, 0)


def encode_list_answered(address: Address) -> bytes:
    """Return the request that lists the TCP flows whose replies come from an IPv4 address, or all TCP flows of IPv6.

    Kernels before 5.8 list all flows of the family. Later kernels invert the comparison of IPv6 addresses (measured up
    to 6.18): they leave out the requested ones. So IPv6 is not filtered by address.
    """
    source_kind, _ = _IP_ATTRIBUTES[address.family]
    reply = attribute(_TUPLE_IP | NLA_F_NESTED, attribute(source_kind, address)) + attribute(
        _TUPLE_PROTOCOL | NLA_F_NESTED, attribute(_NUMBER, bytes([Protocol.TCP]))
    )
    by_source = _FILTER_SOURCE if address.family is Family.IPV4 else 0
    flags = attribute(_FILTER_REPLY, _FLAGS.pack(by_source | _FILTER_PROTOCOL))
    return (
        _NFGEN.pack(address.family, 0, 0)
        + attribute(_TUPLE_REPLY | NLA_F_NESTED, reply)
        + attribute(_FILTER | NLA_F_NESTED, flags)
    )


def decode_connection(payload: bytes, family: Family) -> Flow | None:
    """Read one listed flow; None for other protocols than TCP, and for a flow in a zone."""
    top = attributes(payload, _NFGEN.size)
    state = attributes(attributes(top.get(_PROTOCOL_INFO, b"")).get(_INFO_TCP, b"")).get(_TCP_STATE)
    if state is None or any(top.get(_CT_ZONE, b"")):
        return None
    original, reply = _decode_tuple(top[_TUPLE_ORIGINAL], family), _decode_tuple(top[_TUPLE_REPLY], family)
    number = _ID.unpack(top[_CT_ID])[0] if _CT_ID in top else 0
    return Flow(Protocol.TCP, *original, *reply, over=state in _TCP_OVER, id=number)


def encode_delete(flow: Flow) -> bytes:
    """Return the request that deletes one flow, given by both directions and its number (CT-07).

    The kernel looks a flow up by one direction and compares the number, which is unique: a new flow with the same
    addresses and ports is not deleted.
    """
    original = (flow.source, flow.source_port, flow.destination, flow.destination_port)
    reply = (flow.reply_source, flow.reply_source_port, flow.reply_destination, flow.reply_destination_port)
    payload = (
        _NFGEN.pack(flow.family, 0, 0)
        + _encode_tuple(_TUPLE_ORIGINAL, flow.protocol, original)
        + _encode_tuple(_TUPLE_REPLY, flow.protocol, reply)
    )
    return payload + attribute(_CT_ID, _ID.pack(flow.id)) if flow.id else payload


def decode_flow(payload: bytes, family: Family) -> Flow | None:
    """Read one listed flow.

    Returns:
        None for other protocols than UDP and SCTP, and for a flow in a zone, which this node does not route itself.
    """
    (first_length,) = _ATTRIBUTE_LENGTH.unpack_from(payload, _NFGEN.size)
    first = attributes(payload[: _NFGEN.size + first_length], _NFGEN.size).get(_TUPLE_ORIGINAL, b"")
    protocol = _decode_protocol(first)
    if protocol is None:
        return None
    top = attributes(payload, _NFGEN.size)
    if any(top.get(_CT_ZONE, b"")):
        return None
    number = _ID.unpack(top[_CT_ID])[0] if _CT_ID in top else 0
    original, reply = _decode_tuple(first, family), _decode_tuple(top[_TUPLE_REPLY], family)
    return Flow(protocol, *original, *reply, id=number)


def _encode_tuple(kind: int, protocol: Protocol, ends: _Tuple) -> bytes:
    source, source_port, destination, destination_port = ends
    source_kind, destination_kind = _IP_ATTRIBUTES[source.family]
    addresses = attribute(source_kind, source) + attribute(destination_kind, destination)
    ports = (
        attribute(_NUMBER, bytes([protocol]))
        + attribute(_SOURCE_PORT, _PORT.pack(source_port))
        + attribute(_DESTINATION_PORT, _PORT.pack(destination_port))
    )
    nested = attribute(_TUPLE_IP | NLA_F_NESTED, addresses) + attribute(_TUPLE_PROTOCOL | NLA_F_NESTED, ports)
    return attribute(kind | NLA_F_NESTED, nested)


def _decode_protocol(encoded: bytes) -> Protocol | None:
    """Return the protocol of one direction; None for other protocols than UDP and SCTP."""
    number = attributes(attributes(encoded).get(_TUPLE_PROTOCOL, b"")).get(_NUMBER, b"\0")
    return _WANTED.get(number[0])


def _decode_tuple(encoded: bytes, family: Family) -> _Tuple:
    parts = attributes(encoded)
    addresses, ports = attributes(parts[_TUPLE_IP]), attributes(parts[_TUPLE_PROTOCOL])
    source_kind, destination_kind = _IP_ATTRIBUTES[family]
    return (
        Address(addresses[source_kind]),
        _PORT.unpack(ports[_SOURCE_PORT])[0],
        Address(addresses[destination_kind]),
        _PORT.unpack(ports[_DESTINATION_PORT])[0],
    )
