"""What the kernel counts, and to which port of a Service it belongs."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Protocol
from ipvsagent.model.state import IpvsTimeouts, ObservedSet, RealServerKey, VirtualServerKey

Counts = tuple[int, ...]
"""Connections, packets in, packets out, bytes in, bytes out: since the kernel made the virtual or real server."""


class ServicePortName(NamedTuple):
    """One port of a Service, as metrics name it; all ways to it (addresses, node ports) count together."""

    namespace: str
    service: str
    port: str  # its name, or its number where it has none
    protocol: Protocol


class RealServerStatistics(NamedTuple):
    """One real server's counts, with the connections that it has now."""

    counts: Counts
    active: int
    inactive: int


class KernelStatistics(Struct, frozen=True):
    """One reading.

    Args:
        counts: by virtual server, those of others included.
        connections: active and inactive connections by virtual server.
        real_servers: by virtual server; empty unless asked for.
        real_servers_left_out: for how many virtual servers they were too many to be read.
        totals: of the whole node; unlike the others they are up to date when estimation is off.
        sets: headers of all ipsets.
        timeouts: the IPVS connection timeouts in force.
        connection_table_size: number of buckets of the IPVS connection table.
        virtual_servers: how many IPv4 ones there are.
        estimation: whether the kernel brings its counts up to date (`net.ipv4.vs.run_estimation`).
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
