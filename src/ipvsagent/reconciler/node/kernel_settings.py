"""Kernel settings and IPVS timeouts: written at the start and with each new configuration, then kept.

A setting that is correct is not written. A limit that cannot be set is reported, and the agent continues.
"""

from __future__ import annotations

import contextlib
import os

from ipvsagent.config.types import Settings, Timeouts
from ipvsagent.errors import KernelError, NotFound
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.state import IpvsTimeouts
from ipvsagent.planner.sysctls import IPV6_FORWARDING, Sysctl, plan_sysctls, plan_timeouts

_KEEPALIVE = ("time", "intvl", "probes")  # net/ipv4/tcp_keepalive_*


def write_sysctls(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Set kernel settings and IPVS timeouts to their values (SYS-01 to SYS-14)."""
    for wanted in _sysctls(drivers, settings):
        try:
            _write_sysctl(drivers, wanted, log)
        except KernelError as error:
            if wanted.required:
                raise
            log.warning("kernel setting not written", key=wanted.key, value=wanted.value, error=error)
    _warn_of_ipv6(drivers, settings, log)
    try:
        write_timeouts(drivers, settings.timeouts, log)
    except KernelError as error:
        log.warning("IPVS timeouts not set", error=error)


def restore_sysctls(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Restore the kernel settings that the data plane requires; limits stay as an administrator set them."""
    for wanted in _sysctls(drivers, settings):
        if wanted.required:
            _write_sysctl(drivers, wanted, log)


def write_timeouts(drivers: Drivers, wanted: Timeouts, log: Logger) -> None:
    """Set the IPVS timeouts that are wrong (SYS-08).

    Raises:
        KernelError: they could not be read or set.
    """
    first, interval, probes = (int(drivers.sysctls.read(f"net/ipv4/tcp_keepalive_{n}")) for n in _KEEPALIVE)
    present = drivers.ipvs.timeouts()
    request = plan_timeouts(wanted, present, keepalive_seconds=first + interval * probes)
    if request == IpvsTimeouts():
        return
    drivers.ipvs.set_timeouts(request)
    after = drivers.ipvs.timeouts()
    log.info("IPVS timeouts set", tcp=after.tcp_seconds, tcp_fin=after.tcp_fin_seconds, udp=after.udp_seconds)


def _sysctls(drivers: Drivers, settings: Settings) -> tuple[Sysctl, ...]:
    release = drivers.sysctls.read("kernel/osrelease")
    cpus = os.cpu_count() or 1
    return plan_sysctls(settings, kernel_release=release, cpus=cpus, serves_ipv6=_has_ipv6(drivers))


def _has_ipv6(drivers: Drivers) -> bool:
    """Whether the kernel has IPv6, and it is not switched off (SYN-01)."""
    if Family.IPV6 not in drivers.rules:
        return False
    try:
        return drivers.sysctls.read("net/ipv6/conf/all/disable_ipv6") != "1"
    except NotFound:
        return False


def _warn_of_ipv6(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Warn if this node serves IPv6 but does not forward it (DEV-31)."""
    if settings.ipv6_forwarding or not _has_ipv6(drivers):
        return
    with contextlib.suppress(KernelError):  # a hint, not worth a failure
        if drivers.sysctls.read(IPV6_FORWARDING) == "0":
            log.warning("IPv6 is not forwarded to other nodes; `ipv6Forwarding: true` sets it", key=IPV6_FORWARDING)


def _write_sysctl(drivers: Drivers, wanted: Sysctl, log: Logger) -> None:
    present = drivers.sysctls.read(wanted.key)
    if not wanted.is_met_by(present):
        drivers.sysctls.write(wanted.key, str(wanted.value))
        log.info("kernel setting written", key=wanted.key, before=present, after=wanted.value)
