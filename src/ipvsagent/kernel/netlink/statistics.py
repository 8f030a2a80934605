"""Read the kernel's counters in bulk over separate sockets, so that no thread waits for the owner thread's sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ipvsagent.errors import DumpInterrupted, KernelError
from ipvsagent.kernel.netlink.codecs import ipvs as ipvs_codec
from ipvsagent.kernel.netlink.codecs import statistics as codec
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.ipvs import IpvsDriver
from ipvsagent.model.state import RealServerKey, VirtualServerKey
from ipvsagent.model.statistics import KernelStatistics, RealServerStatistics

_NET = Path("/proc/thread-self/net")
_RUN_ESTIMATION = Path("/proc/sys/net/ipv4/vs/run_estimation")  # since Linux 5.15; without it, estimation runs
_ATTEMPTS = 3

REAL_SERVERS_AT_MOST = 10_000
"""The limit for reading counts of real servers: each adds seven samples, and a part of a listing."""


class StatisticsReader:
    """Reads what the kernel counts.

    The sockets are those of the creating thread's network namespace; the files are those of the reading thread's.
    Both are the same in an agent.

    Args:
        real_servers: whether to read the counts of every real server, which takes one listing for each virtual server.

    Raises:
        NotSupported: the kernel has no IPVS, or its module is not loaded.
    """

    def __init__(self, *, real_servers: bool = False) -> None:
        self._ipvs = IpvsDriver()
        self._ip_sets = IpSetDriver()
        self._real_servers = real_servers
        self._keys: codec.Keys = {}
        self._lines: codec.Lines = {}

    def close(self) -> None:
        """Close the sockets."""
        self._ipvs.close()
        self._ip_sets.close()

    def read(self) -> KernelStatistics:
        """Read everything once.

        Raises:
            KernelError: something could not be listed.
        """
        counts, self._keys = codec.decode_counts(self._list(), self._keys)
        if len(self._lines) > 2 * len(counts) + 1024:
            self._lines.clear()  # most of them belong to removed virtual servers
        size, servers = self._ipvs.table_info()
        real_servers, left_out = real_servers_of(counts if self._real_servers else (), self._of_real_servers)
        return KernelStatistics(
            counts=counts,
            connections=codec.decode_connections((_NET / "ip_vs").read_bytes(), self._lines),
            real_servers=real_servers,
            real_servers_left_out=left_out,
            totals=codec.decode_totals((_NET / "ip_vs_stats_percpu").read_text(encoding="ascii")),
            sets=tuple(self._ip_sets.list_sets()),
            connection_table_size=size,
            virtual_servers=servers,
            timeouts=self._ipvs.timeouts(),
            estimation=_estimation_runs(),
        )

    def _list(self) -> list[bytes]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._ipvs.dump(ipvs_codec.LIST_SERVICES)
            except DumpInterrupted:
                continue
        return self._ipvs.dump(ipvs_codec.LIST_SERVICES)

    def _of_real_servers(self, key: VirtualServerKey) -> dict[RealServerKey, RealServerStatistics]:
        try:
            payloads = self._ipvs.dump(ipvs_codec.list_real_servers(key))
        except KernelError:
            return {}  # it is changing; the next reading will include it
        return dict(codec.decode_real_server(p, key.address.family) for p in payloads)


def real_servers_of(
    keys: Iterable[VirtualServerKey],
    read: Callable[[VirtualServerKey], dict[RealServerKey, RealServerStatistics]],
    at_most: int = REAL_SERVERS_AT_MOST,
) -> tuple[dict[VirtualServerKey, dict[RealServerKey, RealServerStatistics]], int]:
    """Read the real servers of virtual servers up to a limit; each reading chooses the same virtual servers.

    Returns:
        What was read, and how many virtual servers were left out.
    """
    found: dict[VirtualServerKey, dict[RealServerKey, RealServerStatistics]] = {}
    left_out, room = 0, at_most
    for key in sorted(keys):
        if room > 0:
            found[key] = read(key)
            room -= len(found[key])
        else:
            left_out += 1
    return found, left_out


def _estimation_runs() -> bool:
    try:
        return _RUN_ESTIMATION.read_text(encoding="ascii").strip() != "0"
    except OSError:
        return True
