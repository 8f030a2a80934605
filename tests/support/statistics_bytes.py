"""Messages and files as the kernel writes them when it is asked for its counts."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from ipvsagent.kernel.netlink.sockets import attribute
from ipvsagent.model.state import RealServer, VirtualServerKey
from ipvsagent.model.statistics import Counts


def virtual_server_message(
    key: VirtualServerKey, counts: Counts, *, scheduler: str = "rr", trailer: bytes = b""
) -> bytes:
    """One message of a listing of virtual servers, in the order of ``ip_vs_genl_fill_service``.

    Args:
        trailer: attributes that another kernel might put behind the known ones.
    """
    family, netmask = (2, 0xFFFFFFFF) if len(key.address) == 4 else (10, 128)
    service = b"".join(
        (
            attribute(1, struct.pack("=H", family)),
            attribute(2, struct.pack("=H", key.protocol)),
            attribute(3, key.address.ljust(16, b"\0")),
            attribute(4, struct.pack("!H", key.port)),
            attribute(6, scheduler.encode() + b"\0"),
            attribute(7, struct.pack("=II", 2, 0xFFFFFFFF)),
            attribute(8, struct.pack("=I", 0)),
            attribute(9, struct.pack("=I", netmask)),
            _statistics(counts),
            trailer,
        )
    )
    return struct.pack("=BBH", 1, 1, 0) + attribute(1, service)


def real_server_message(server: RealServer, counts: Counts, *, active: int, inactive: int) -> bytes:
    """One message of a listing of real servers, in the order of ``ip_vs_genl_fill_dest``."""
    numbers = ((3, 0), (4, server.weight), (5, 0), (6, 0), (7, active), (8, inactive), (9, 0))
    dest = (
        attribute(1, server.address.ljust(16, b"\0"))
        + attribute(2, struct.pack("!H", server.port))
        + b"".join(attribute(kind, struct.pack("=I", number)) for kind, number in numbers)
        + attribute(11, struct.pack("=H", 2 if len(server.address) == 4 else 10))
        + _statistics(counts)
    )
    return struct.pack("=BBH", 5, 1, 0) + attribute(2, dest)


def connections_file(servers: Iterable[tuple[str, Sequence[tuple[int, int]]]]) -> bytes:
    """``/proc/net/ip_vs``.

    Args:
        servers: the words before the scheduler, such as ``TCP  0A60000A:0050``, and connections of each real server.
    """
    lines = [
        "IP Virtual Server version 1.2.1 (size=4096)",
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn",
    ]
    for name, reals in servers:
        lines.append(f"{name} rr  ")
        lines += [f"  -> 0AF4000B:1F90      Masq    1      {a:<10} {i:<10}" for a, i in reals]
    return ("\n".join(lines) + "\n").encode()


def _statistics(counts: Counts) -> bytes:
    """32 bits first, then 64 bits, as the kernel has them."""
    numbers = (*counts, 1, 2, 3, 4, 5)
    old = b"".join(
        attribute(
            kind, struct.pack("=Q" if kind in (4, 5) else "=I", number & (2**64 - 1 if kind in (4, 5) else 2**32 - 1))
        )
        for kind, number in enumerate(numbers, 1)
    )
    new = b"".join(attribute(kind, struct.pack("=Q", number)) for kind, number in enumerate(numbers, 1))
    return attribute(10, old) + attribute(12, new)
