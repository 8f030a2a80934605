"""Packed IP addresses, networks and transport protocols.

An `Address` is the 4 or 16 bytes that the kernel uses, so that a node with 100,000 endpoints stores no text and the
codecs copy instead of converting. Text is used only for input and output (`Address.parse`, ``str``).
"""

from __future__ import annotations

import enum
import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from msgspec import Struct


class Family(enum.IntEnum):
    """Address family; the value is the kernel's (AF_INET, AF_INET6)."""

    IPV4 = 2
    IPV6 = 10

    @property
    def label(self) -> str:
        """Return ``IPv4`` or ``IPv6``, as in Kubernetes and our metrics."""
        return "IPv4" if self is Family.IPV4 else "IPv6"

    @property
    def bits(self) -> int:
        """Length of an address in bits: 32 or 128."""
        return 32 if self is Family.IPV4 else 128


class Protocol(enum.IntEnum):
    """Transport protocol; the value is the IP protocol number."""

    TCP = 6
    UDP = 17
    SCTP = 132

    @property
    def word(self) -> str:
        """``tcp``, ``udp`` or ``sctp``, as ipset and iptables write it (SET-30)."""
        return self.name.lower()


class Address(bytes):
    """One IPv4 or IPv6 address in network byte order.

    Invariant: the length is 4 or 16. Two addresses are equal only if their families are.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address as kube-proxy does, including spellings that older API servers stored.

        Leading zeros are ignored: ``010.0.0.1`` is 10.0.0.1, and ``fd00::00001`` is fd00::1. An IPv4-mapped
        IPv6 address such as ``::ffff:10.0.0.1`` is the IPv4 address.

        Raises:
            ValueError: not an address; zones (``%eth0``) and blanks are refused.
        """
        family = _AF_INET6 if ":" in text else _AF_INET
        try:
            packed = inet_pton(family, text)
        except (OSError, UnicodeError, ValueError):
            packed = _packed_without_leading_zeros(family, text)
        return cls(packed[12:] if packed.startswith(_MAPPED_PREFIX) else packed)

    @property
    def family(self) -> Family:
        """IPv4 for 4 bytes, IPv6 for 16."""
        return Family.IPV4 if len(self) == 4 else Family.IPV6

    def __str__(self) -> str:
        return inet_ntop(_AF_INET if len(self) == 4 else _AF_INET6, self)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def sort_key(self) -> tuple[int, bytes]:
        """Return a key that sorts IPv4 before IPv6, then numerically."""
        return len(self), self

    @property
    def is_loopback(self) -> bool:
        """127.0.0.0/8 or ::1."""
        return self[0] == 127 if len(self) == 4 else self == _LOOPBACK_6

    @property
    def is_link_local(self) -> bool:
        """169.254.0.0/16 or fe80::/10."""
        if len(self) == 4:
            return self[0] == 169 and self[1] == 254
        return self[0] == 0xFE and self[1] & 0xC0 == 0x80

    @property
    def is_link_local_ipv6(self) -> bool:
        """fe80::/10: each interface has one; it is not an address of the node (ADR-06)."""
        return len(self) == 16 and self.is_link_local

    @property
    def is_multicast(self) -> bool:
        """224.0.0.0/4 or ff00::/8."""
        return self[0] & 0xF0 == 0xE0 if len(self) == 4 else self[0] == 0xFF

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or ::."""
        return not any(self)


_AF_INET, _AF_INET6 = int(AF_INET), int(AF_INET6)  # plain numbers are converted twice as fast
_LOOPBACK_6 = bytes(15) + b"\x01"
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])")  # of each number, except its last digit


def _packed_without_leading_zeros(family: int, text: str) -> bytes:
    try:
        return inet_pton(family, _LEADING_ZEROS.sub("", text))
    except (OSError, UnicodeError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None


class Network(Struct, frozen=True, gc=False):
    """An address range in CIDR form.

    Invariant: the host bits of `address` are zero.
    """

    address: Address
    prefix_length: int

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read ``ADDRESS/LENGTH``; host bits are cleared (SVC-10), a missing length means one address.

        The length of an IPv4-mapped range counts from the first of 128 bits: ``::ffff:10.0.0.0/104`` is 10.0.0.0/8.

        Raises:
            ValueError: neither an address nor a CIDR.
        """
        head, slash, tail = text.partition("/")
        try:
            address = Address.parse(head)
            if slash and not (tail.isascii() and tail.isdigit()):
                raise ValueError
            bits_before = (128 if ":" in head else 32) - address.family.bits
            length = int(tail) - bits_before if slash else address.family.bits
            if not 0 <= length <= address.family.bits:
                raise ValueError
        except ValueError:
            raise ValueError(f"{text!r} is not a CIDR") from None
        return cls(_clear_host_bits(address, length), length)

    @property
    def family(self) -> Family:
        """Return the family of its addresses."""
        return self.address.family

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address) or len(address) != len(self.address):
            return False
        return _clear_host_bits(address, self.prefix_length) == self.address


def _clear_host_bits(address: Address, prefix_length: int) -> Address:
    host_bits = len(address) * 8 - prefix_length
    number = int.from_bytes(address, "big") >> host_bits << host_bits
    return Address(number.to_bytes(len(address), "big"))
