"""The kernel's counts, and the names of the Service ports that they belong to."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Protocol
from ipvsagent.model.state import IpvsTimeouts, ObservedSet, RealServerKey, VirtualServerKey

Counts = tuple[int, ...]
"""Connections, packets in, packets out, bytes in, bytes out: since the virtual or real server was created."""


class ServicePortName(NamedTuple):
    """One port of a Service, as in metrics; all its virtual servers (addresses, node ports) are counted together."""

    namespace: str
    service: str
    port: str  # its name, or its number if it has no name
    protocol: Protocol


class RealServerStatistics(NamedTuple):
    """One real server's counts, and its current connections."""

    counts: Counts
    active: int
    inactive: int


class KernelStatistics(Struct, frozen=True):
    """One reading of the kernel's counts.

    Args:
        counts: by virtual server, also for virtual servers that are not ours.
        connections: active and inactive connections by virtual server.
        real_servers: by virtual server; empty unless requested.
        real_servers_left_out: number of virtual servers whose real servers were not read, because there are too many.
        totals: of the whole node; unlike the other counts they are current even if estimation is off.
        sets: headers of all ipsets.
        timeouts: the IPVS connection timeouts in force.
        connection_table_size: number of buckets of the IPVS connection table.
        virtual_servers: number of IPv4 virtual servers.
        estimation: whether the kernel updates its counts (`net.ipv4.vs.run_estimation`).
    """

    counts: dict[VirtualServerKey, Counts]
    connections: dict[VirtualServerKey, tuple[int, int]]
    real_servers: dict[VirtualServerKey, dict[RealServerKey, RealServerStatistics]]
    totals: Counts = ()
    sets: tuple[ObservedSet, ...] = ()
    connection_table_size: int = 0
    timeouts: IpvsTimeouts = IpvsTimeouts()
    virtual_servers: int = 0
    estimation: bool = True
    real_servers_left_out: int = 0
