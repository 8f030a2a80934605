"""MTUs of network interfaces, read with an ioctl, which needs no privilege and follows the network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable

_SIOCGIFMTU = 0x8921  # include/uapi/linux/sockios.h
_REQUEST = struct.Struct("=16si20x")  # struct ifreq with ifr_mtu


def read_mtu(names: Iterable[str]) -> dict[str, int]:
    """Return MTUs in bytes by interface name, in the calling thread's network namespace; skip missing interfaces."""
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for name in names:
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFMTU, _REQUEST.pack(name.encode(), 0))
            except OSError:
                continue
            found[name] = _REQUEST.unpack(answer)[1]
    return found
