"""Encoding and decoding IPVS messages (include/uapi/linux/ip_vs.h), for thousands at a time.

Checked byte for byte against pyroute2's encoder, which is a hundred times slower. Ports are in host byte order outside
and in network byte order inside; everything else is in host byte order, an IPv6 netmask is a prefix length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from pyroute2.netlink.generic import ipvs as constants

from ipvsagent.kernel.netlink.sockets import Alike, attributes
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveRealServer,
    RemoveVirtualServer,
    SingleIpvsOperation,
)
from ipvsagent.model.state import (
    FLAG_HASHED,
    FLAG_PERSISTENT,
    IpvsTimeouts,
    ObservedRealServer,
    ObservedVirtualServer,
    RealServer,
    VirtualServer,
    VirtualServerKey,
)


def _numbers(message: type, prefix: str) -> dict[str, int]:
    """Attribute numbers by name, without the prefix, from pyroute2's definition."""
    return {name.removeprefix(prefix): i for i, (name, *_) in enumerate(message.nla_map)}  # type: ignore[attr-defined]


_TOP = _numbers(constants.ipvsmsg, "IPVS_CMD_ATTR_")
_SVC = _numbers(constants.ipvsmsg.service, "IPVS_SVC_ATTR_")
_DST = _numbers(constants.ipvsmsg.dest, "IPVS_DEST_ATTR_")

_GENL = struct.Struct("=BBH")  # command, version, reserved
_KEY = struct.Struct("=HHHxx HHHxx HH16s HH2sxx".replace(" ", ""))
_KEY_HEAD = struct.Struct("=HHHxx HHHxx HH".replace(" ", ""))
_SETTINGS = struct.Struct("=HHII HHI HHI".replace(" ", ""))
_REAL_KEY = struct.Struct("=HH16s HH2sxx".replace(" ", ""))
_REAL_REST = struct.Struct("=HHI HHi HHI HHI HHHxx".replace(" ", ""))
_NEST = struct.Struct("=HH")
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_PORT = struct.Struct("!H")

_ALL_BITS = 0xFFFFFFFF


def _header(command: int) -> bytes:
    return _GENL.pack(command, constants.GENL_VERSION, 0)


_NEW_SERVICE = _header(constants.IPVS_CMD_NEW_SERVICE)
_SET_SERVICE = _header(constants.IPVS_CMD_SET_SERVICE)
_DEL_SERVICE = _header(constants.IPVS_CMD_DEL_SERVICE)
_NEW_DEST = _header(constants.IPVS_CMD_NEW_DEST)
_SET_DEST = _header(constants.IPVS_CMD_SET_DEST)
_DEL_DEST = _header(constants.IPVS_CMD_DEL_DEST)

LIST_SERVICES = _header(constants.IPVS_CMD_GET_SERVICE)
GET_TIMEOUTS = _header(constants.IPVS_CMD_GET_CONFIG)
FLUSH = _header(constants.IPVS_CMD_FLUSH)


def encode(operation: SingleIpvsOperation) -> bytes:
    """Return the payload of an operation's message: generic netlink header and attributes."""
    match operation:
        case AddVirtualServer(server):
            return _NEW_SERVICE + _virtual_server(server)
        case ChangeVirtualServer(server):
            return _SET_SERVICE + _virtual_server(server)
        case RemoveVirtualServer(key):
            return _DEL_SERVICE + nested_key(key)
        case AddRealServer(key, server):
            return _NEW_DEST + nested_key(key) + _real_server(server)
        case ChangeRealServer(key, server):
            return _SET_DEST + nested_key(key) + _real_server(server)
        case RemoveRealServer(key, address, port):
            return _DEL_DEST + nested_key(key) + _real_server_key(address, port)


def encode_real_servers(key: VirtualServerKey, servers: Sequence[RealServer]) -> Iterator[Alike]:
    """Encode the messages that add real servers, in runs that differ only in the address; usually there is one run.

    Args:
        servers: at least one, all of the virtual server's family.
    """
    before = _NEW_DEST + nested_key(key) + _REAL_HEAD + _ADDRESS_HEAD
    port, weight = servers[0].port, servers[0].weight
    if not [s for s in servers if s.port != port or s.weight != weight]:
        yield before, [s.address for s in servers], _after_address(len(key.address), port, weight)
        return
    for (port, weight), run in groupby(servers, key=lambda s: (s.port, s.weight)):
        yield before, [s.address for s in run], _after_address(len(key.address), port, weight)


@lru_cache(maxsize=4096)
def _after_address(address_length: int, port: int, weight: int) -> bytes:
    """Return the bytes after the address of a new real server; cached, since a cluster has few different ones."""
    family = Family.IPV4 if address_length == 4 else Family.IPV6
    return (
        bytes(16 - address_length) + _NEST.pack(6, _PORT_NUMBER) + _PORT.pack(port) + bytes(2) + _rest(family, weight)
    )


def nested_key(key: VirtualServerKey) -> bytes:
    """Return the service attribute with the key only."""
    return _NESTED_KEY_HEAD + _key(key)


_NESTED_KEY_HEAD = _NEST.pack(_KEY.size + 4, _TOP["SERVICE"])


def get_virtual_server(key: VirtualServerKey) -> bytes:
    """Return the request for one virtual server."""
    return _header(constants.IPVS_CMD_GET_SERVICE) + nested_key(key)


def list_real_servers(key: VirtualServerKey) -> bytes:
    """Return the request that lists one virtual server's real servers."""
    return _header(constants.IPVS_CMD_GET_DEST) + nested_key(key)


def set_timeouts(timeouts: IpvsTimeouts) -> bytes:
    """Return the request that sets the timeouts that are not 0."""
    values = {
        "TIMEOUT_TCP": timeouts.tcp_seconds,
        "TIMEOUT_TCP_FIN": timeouts.tcp_fin_seconds,
        "TIMEOUT_UDP": timeouts.udp_seconds,
    }
    parts = [_NEST.pack(8, _TOP[name]) + _U32.pack(value) for name, value in values.items() if value]
    return _header(constants.IPVS_CMD_SET_CONFIG) + b"".join(parts)


def decode_timeouts(payload: bytes) -> IpvsTimeouts:
    """Read the answer to `GET_TIMEOUTS`."""
    found = attributes(payload, _GENL.size)
    numbers = (_TOP["TIMEOUT_TCP"], _TOP["TIMEOUT_TCP_FIN"], _TOP["TIMEOUT_UDP"])
    return IpvsTimeouts(*(_U32.unpack(found[n])[0] for n in numbers))


def decode_virtual_server(payload: bytes) -> ObservedVirtualServer | None:
    """Read one virtual server of a listing, without its real servers; None for one by firewall mark."""
    found = attributes(attributes(payload, _GENL.size)[_TOP["SERVICE"]])
    if _SVC["ADDR"] not in found:
        return None
    key = VirtualServerKey(
        Protocol(_U16.unpack(found[_SVC["PROTOCOL"]])[0]),
        _address(found[_SVC["ADDR"]], _U16.unpack(found[_SVC["AF"]])[0]),
        _PORT.unpack(found[_SVC["PORT"]])[0],
    )
    flags = _U32.unpack_from(found[_SVC["FLAGS"]])[0]
    timeout = _U32.unpack(found[_SVC["TIMEOUT"]])[0]
    return ObservedVirtualServer(
        key,
        found[_SVC["SCHED_NAME"]].rstrip(b"\0").decode(),
        flags & ~(FLAG_HASHED | FLAG_PERSISTENT),
        timeout if flags & FLAG_PERSISTENT else 0,  # without the flag the kernel keeps a meaningless timeout
    )


def decode_real_server(payload: bytes, family: Family) -> ObservedRealServer:
    """Read one real server of a listing.

    Args:
        family: the virtual server's; a tunnel may lead to a real server of the other one.
    """
    found = attributes(attributes(payload, _GENL.size)[_TOP["DEST"]])
    if _DST["ADDR_FAMILY"] in found:
        family = Family(_U16.unpack(found[_DST["ADDR_FAMILY"]])[0])
    return ObservedRealServer(
        _address(found[_DST["ADDR"]], family),
        _PORT.unpack(found[_DST["PORT"]])[0],
        _I32.unpack(found[_DST["WEIGHT"]])[0],
        _U32.unpack(found[_DST["FWD_METHOD"]])[0],
        _U32.unpack(found[_DST["U_THRESH"]])[0],
        _U32.unpack(found[_DST["L_THRESH"]])[0],
        _U32.unpack(found[_DST["ACTIVE_CONNS"]])[0],
        _U32.unpack(found[_DST["INACT_CONNS"]])[0],
    )


def _address(data: bytes, family: int) -> Address:
    return Address(data[:4] if family == Family.IPV4 else data[:16])


def _family(address: Address) -> int:
    return Family.IPV4 if len(address) == 4 else Family.IPV6


def _key(key: VirtualServerKey) -> bytes:
    address = key.address
    head, padding = _key_head(len(address), key.protocol)
    return head + address + padding + _PORT.pack(key.port) + _TWO_BYTES


_TWO_BYTES = bytes(2)


@lru_cache(maxsize=64)
def _key_head(address_length: int, protocol: Protocol) -> tuple[bytes, bytes]:
    """Return the bytes before a key's address, and those between address and port; most keys of a node share them."""
    family = Family.IPV4 if address_length == 4 else Family.IPV6
    head = _KEY_HEAD.pack(*(6, _SVC["AF"], family), *(6, _SVC["PROTOCOL"], protocol), *(20, _SVC["ADDR"]))
    return head, bytes(16 - address_length) + _NEST.pack(6, _SVC["PORT"])


def _virtual_server(server: VirtualServer) -> bytes:
    key = server.key
    head, settings = _settings(len(key.address), server.settings)
    return head + _key(key) + settings


@lru_cache(maxsize=64)
def _settings(address_length: int, settings: tuple[str, int, int]) -> tuple[bytes, bytes]:
    """Return the bytes before and after a virtual server's key; cached, since a node has few different ones."""
    name, flags, timeout = settings
    scheduler = name.encode() + b"\0"
    body = (
        _NEST.pack(len(scheduler) + 4, _SVC["SCHED_NAME"])
        + scheduler
        + bytes(-len(scheduler) % 4)
        + _SETTINGS.pack(
            *(12, _SVC["FLAGS"], flags | (FLAG_PERSISTENT if timeout else 0), _ALL_BITS),
            *(8, _SVC["TIMEOUT"], timeout),
            *(8, _SVC["NETMASK"], _ALL_BITS if address_length == 4 else 128),
        )
    )
    return _NEST.pack(_KEY.size + len(body) + 4, _TOP["SERVICE"]), body


def _real_server_key(address: Address, port: int) -> bytes:
    packed = _REAL_KEY.pack(*(20, _DST["ADDR"], address), *(6, _DST["PORT"], _PORT.pack(port)))
    return _NEST.pack(len(packed) + 4, _TOP["DEST"]) + packed


_REAL_HEAD = _NEST.pack(4 + _REAL_KEY.size + _REAL_REST.size, _TOP["DEST"])
_ADDR, _PORT_NUMBER = _DST["ADDR"], _DST["PORT"]
_ADDRESS_HEAD = _NEST.pack(20, _ADDR)
_FWD, _WEIGHT, _UPPER, _LOWER = _DST["FWD_METHOD"], _DST["WEIGHT"], _DST["U_THRESH"], _DST["L_THRESH"]
_FAMILY = _DST["ADDR_FAMILY"]


def _real_server(server: RealServer) -> bytes:
    """Encode all attributes of a real server: masquerading, the weight, thresholds 0 (VS-06)."""
    address = server.address
    key = _REAL_KEY.pack(20, _ADDR, address, 6, _PORT_NUMBER, _PORT.pack(server.port))
    return _REAL_HEAD + key + _rest(Family(_family(address)), server.weight)


def _rest(family: Family, weight: int) -> bytes:
    return _REAL_REST.pack(8, _FWD, 0, 8, _WEIGHT, weight, 8, _UPPER, 0, 8, _LOWER, 0, 6, _FAMILY, family)
