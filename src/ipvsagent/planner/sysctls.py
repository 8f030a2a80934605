"""The kernel settings that a node needs (SYS rules)."""

from __future__ import annotations

import re

from msgspec import Struct

from ipvsagent.config.types import Settings, Timeouts
from ipvsagent.model.state import IpvsTimeouts

MAX_CONNTRACK = 1048576  # CFG-41
IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"

_TABLE_SIZE = "nf_conntrack_max"
_HASH_SIZE = "nf_conntrack_buckets"  # the sysctl of /sys/module/nf_conntrack/parameters/hashsize
_SIZES = {_TABLE_SIZE, _HASH_SIZE}  # larger ones are left alone (DEV-90)


class Sysctl(Struct, frozen=True):
    """One file below /proc/sys.

    Args:
        key: such as ``net/ipv4/ip_forward``.
        required: whether the data plane needs it; the others are limits.
        at_least: whether a higher value is also correct.
    """

    key: str
    value: int
    required: bool = True
    at_least: bool = False

    def is_met_by(self, present: str) -> bool:
        """Return whether the current value needs no change (SYS-14)."""
        if self.at_least and present.isdigit():
            return int(present) >= self.value
        return present == str(self.value)


def plan_sysctls(
    settings: Settings, *, kernel_release: str, cpus: int, serves_ipv6: bool = False
) -> tuple[Sysctl, ...]:
    """Return the kernel settings in the order in which they are written (SYS-01 to SYS-12).

    Args:
        kernel_release: as in /proc/sys/kernel/osrelease, such as ``6.1.0-56-amd64``.
        cpus: number of CPUs of the node (CFG-41).
        serves_ipv6: whether this node serves IPv6 (DEV-31).
    """
    wanted = [Sysctl("net/ipv4/vs/conntrack", 1)]
    reuse_mode = _conn_reuse_mode(kernel_release)
    if reuse_mode is not None:
        wanted.append(Sysctl("net/ipv4/vs/conn_reuse_mode", reuse_mode))
    wanted += [
        Sysctl("net/ipv4/vs/expire_nodest_conn", 1),
        Sysctl("net/ipv4/vs/expire_quiescent_template", 1),
        Sysctl("net/ipv4/ip_forward", 1),
    ]
    if settings.ipv6_forwarding and serves_ipv6:
        wanted.append(Sysctl(IPV6_FORWARDING, 1))
    if settings.strict_arp:
        wanted += [Sysctl("net/ipv4/conf/all/arp_ignore", 1), Sysctl("net/ipv4/conf/all/arp_announce", 2)]
    return (*wanted, *_conntrack_limits(settings, cpus))


def plan_timeouts(wanted: Timeouts, present: IpvsTimeouts, *, keepalive_seconds: int) -> IpvsTimeouts:
    """Return the IPVS timeouts to set; 0 if a timeout is already correct (SYS-08).

    IPVS forgets a connection that is idle for longer than the timeout, and the connection breaks. The kernel's default
    of 15 minutes is shorter than the two hours until the first keepalive probe, so an idle connection with keepalive
    would break through a VIP, but not without one.

    Args:
        keepalive_seconds: time until the host gives up a silent peer, including probes.
    """
    tcp = wanted.tcp_seconds
    if not tcp and wanted.automatic:
        tcp = max(present.tcp_seconds, keepalive_seconds)
    pairs = (
        (tcp, present.tcp_seconds),
        (wanted.tcp_fin_seconds, present.tcp_fin_seconds),
        (wanted.udp_seconds, present.udp_seconds),
    )
    return IpvsTimeouts(*(seconds if seconds != held else 0 for seconds, held in pairs))


def _conn_reuse_mode(kernel_release: str) -> int | None:
    """Return the right value for a kernel: 0 before the fix in 5.9, 1 since; None if there is no such file (SYS-02)."""
    numbers = re.match(r"(\d+)\.(\d+)", kernel_release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if version < (4, 1):
        return None
    return 1 if version >= (5, 9) else 0


def _conntrack_limits(settings: Settings, cpus: int) -> list[Sysctl]:
    limits = settings.conntrack
    values: list[tuple[str, int]] = []
    if limits.max_per_core:
        scaled = limits.max_per_core * cpus
        most = MAX_CONNTRACK if scaled > MAX_CONNTRACK else max(scaled, limits.min)
        values += [(_TABLE_SIZE, most)]
        values += [(_HASH_SIZE, most // 4)]  # SYS-09
    values += [
        ("nf_conntrack_tcp_timeout_established", limits.tcp_established_seconds),
        ("nf_conntrack_tcp_timeout_close_wait", limits.tcp_close_wait_seconds),
        ("nf_conntrack_udp_timeout", limits.udp_seconds),
        ("nf_conntrack_udp_timeout_stream", limits.udp_stream_seconds),
        ("nf_conntrack_tcp_be_liberal", int(limits.tcp_be_liberal)),
    ]
    return [
        Sysctl(f"net/netfilter/{name}", value, required=False, at_least=name in _SIZES)
        for name, value in values
        if value
    ]
