"""Sizes of interfaces, by the old ioctl interface, which needs no privilege and follows the network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable

_SIOCGIFMTU = 0x8921  # include/uapi/linux/sockios.h
_REQUEST = struct.Struct("=16si20x")  # struct ifreq with ifr_mtu


def read_mtu(names: Iterable[str]) -> dict[str, int]:
    """MTU in bytes by name, of the calling thread's network namespace; interfaces that have gone are left out."""
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for name in names:
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFMTU, _REQUEST.pack(name.encode(), 0))
            except OSError:
                continue
            found[name] = _REQUEST.unpack(answer)[1]
    return found
