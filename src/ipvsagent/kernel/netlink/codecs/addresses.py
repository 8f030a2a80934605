"""Encoding and decoding rtnetlink messages about links and addresses, on pyroute2's constants."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ipvsagent.kernel.netlink.sockets import attribute, attributes
from ipvsagent.model.address import Address, Family
from ipvsagent.model.state import Link


def _numbers(message: type, prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): i for i, (name, *_) in enumerate(message.nla_map)}  # type: ignore[attr-defined]


_IFA = _numbers(ifaddrmsg, "IFA_")
_IFLA = _numbers(ifinfmsg, "IFLA_")
_INFO_KIND = 1  # IFLA_INFO_KIND, inside IFLA_LINKINFO

_IFADDRMSG = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, link index
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_U32 = struct.Struct("=I")


_ADDRESS_4 = struct.Struct("=BBBBi HH4s HH4s".replace(" ", ""))
_HEAD_4 = (int(Family.IPV4), 32, 0, 0)
_LOCAL, _ADDRESS = _IFA["LOCAL"], _IFA["ADDRESS"]


class ListedAddress(NamedTuple):
    """An address on a link, by the link's index."""

    link_index: int
    address: Address
    prefix_length: int


LIST_LINKS = _IFINFOMSG.pack(0, 0, 0, 0, 0)
LIST_ADDRESSES = _IFADDRMSG.pack(0, 0, 0, 0, 0)


def encode_address(address: Address, link_index: int) -> bytes:
    """Encode an address with full prefix length and global scope, without duplicate address detection (ADR-02)."""
    if len(address) == 4:
        return _ADDRESS_4.pack(*_HEAD_4, link_index, 8, _LOCAL, address, 8, _ADDRESS, address)
    head = _IFADDRMSG.pack(Family.IPV6, 128, IFA_F_NODAD, 0, link_index)
    return head + attribute(_IFA["ADDRESS"], address) + attribute(_IFA["FLAGS"], _U32.pack(IFA_F_NODAD))


def encode_dummy(name: str) -> bytes:
    """Encode a new dummy interface."""
    info = attribute(_INFO_KIND, b"dummy")
    return LIST_LINKS + attribute(_IFLA["IFNAME"], name.encode() + b"\0") + attribute(_IFLA["LINKINFO"], info)


def encode_link(name: str) -> bytes:
    """Encode an existing interface by its name."""
    return LIST_LINKS + attribute(_IFLA["IFNAME"], name.encode() + b"\0")


def decode_link(payload: bytes) -> Link:
    """Read a link of a listing or notification."""
    index = _IFINFOMSG.unpack_from(payload)[2]
    found = attributes(payload, _IFINFOMSG.size)
    info = attributes(found.get(_IFLA["LINKINFO"], b""))
    return Link(index, _text(found.get(_IFLA["IFNAME"], b"")), _text(info.get(_INFO_KIND, b"")))


def decode_address(payload: bytes) -> ListedAddress | None:
    """Read an address of a listing or notification; None for families other than IP."""
    family, length, _, _, index = _IFADDRMSG.unpack_from(payload)
    found = attributes(payload, _IFADDRMSG.size)
    packed = found.get(_IFA["LOCAL"], found.get(_IFA["ADDRESS"]))  # on point-to-point links ADDRESS is the peer's
    if packed is None or family not in (Family.IPV4, Family.IPV6):
        return None
    return ListedAddress(index, Address(packed), length)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
