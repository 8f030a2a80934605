"""Making a node ready before the first Service: modules, kernel settings, dummy interface, sets, rules.

What is right already is left untouched, so a restart writes nothing. A required part that cannot be had ends the
start with one sentence and a remedy (`NodeUnusable`); a limit that cannot be set is reported and goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from ipvsagent.config.types import Settings, Timeouts
from ipvsagent.errors import AlreadyExists, Busy, KernelError, NodeUnusable, NotFound, NotPermitted, ToolMissing
from ipvsagent.kernel.api import Drivers, IpSets, Modules
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.ops import AddEntry
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DUMMY_INTERFACE, IpvsTimeouts, ObservedSet, SetSpec
from ipvsagent.planner.sets import set_specs
from ipvsagent.planner.sysctls import IPV6_FORWARDING, Sysctl, plan_sysctls, plan_timeouts
from ipvsagent.reconciler.patience import patiently

_KEEPALIVE = ("time", "intvl", "probes")  # net/ipv4/tcp_keepalive_*
_TEMPORARY_SET = "KUBE-IPVSAGENT-TEMP"


def prepare_node(drivers: Drivers, settings: Settings, rules: Sequence[RuleSet], log: Logger) -> None:
    """Do all of it, in the order of design.md section 2.

    Raises:
        NodeUnusable: the node lacks something that nothing can be done without.
    """
    with needed_from_node():
        load_modules(drivers, log)
        write_sysctls(drivers, settings, log)
        patiently(lambda: ensure_dummy(drivers))
        for rule_set in rules:
            patiently(partial(ensure_sets, drivers, rule_set))
            patiently(partial(ensure_rules, drivers, rule_set))


@contextlib.contextmanager
def needed_from_node() -> Iterator[None]:
    """Turn the kernel's refusal of something indispensable into one sentence with a remedy.

    Raises:
        NodeUnusable: in the place of any `KernelError`.
    """
    try:
        yield
    except NotPermitted as error:
        raise NodeUnusable(
            f"not permitted: {error}",
            "run as root, or with the capabilities NET_ADMIN and NET_RAW, and SYS_MODULE where modules are not loaded"
            " yet",
        ) from error
    except ToolMissing as error:
        raise NodeUnusable(str(error), "install the package `iptables`") from error
    except KernelError as error:
        raise NodeUnusable(f"the node could not be prepared: {error}", "see `dmesg` for the kernel's view") from error


def load_ipvs(modules: Modules) -> None:
    """Load IPVS.

    Raises:
        NodeUnusable: it cannot be had.
    """
    with needed_from_node():
        try:
            modules.load("ip_vs")
        except NotFound as error:
            raise NodeUnusable(
                "this kernel has no module `ip_vs`, without which nothing can be balanced",
                "install the full kernel package of the distribution (its modules hold `ip_vs`)",
            ) from error


def load_modules(drivers: Drivers, log: Logger) -> None:
    """Load IPVS and connection tracking."""
    load_ipvs(drivers.modules)
    try:
        drivers.modules.load("nf_conntrack")
    except KernelError as error:
        log.warning("module not loaded", module="nf_conntrack", error=error)


def with_usable_scheduler(drivers: Drivers, settings: Settings, log: Logger) -> Settings:
    """Load the scheduler's module; without it go on with the fallback if one is configured (DEV-35).

    Raises:
        NodeUnusable: this kernel has neither, or lacks the one and no fallback is configured.
        KernelError: the modules cannot be loaded now.
    """
    try:
        check_scheduler(drivers, settings.scheduler)
    except NodeUnusable:
        fallback = settings.scheduler_fallback
        if not fallback:
            raise
        check_scheduler(drivers, fallback)
        available = ",".join(drivers.modules.available_schedulers())
        log.warning(
            "scheduler is not known to this kernel; the fallback is used",
            scheduler=settings.scheduler,
            fallback=fallback,
            available=available,
        )
        # Flags mean something else to each scheduler.
        return dataclasses.replace(settings, scheduler=fallback, scheduler_flags=None)
    return settings


def check_scheduler(drivers: Drivers, scheduler: str) -> None:
    """Load a scheduler's module.

    Raises:
        NodeUnusable: this kernel has no such scheduler.
    """
    try:
        drivers.modules.load(f"ip_vs_{scheduler}")
    except NotFound as error:
        available = ", ".join(drivers.modules.available_schedulers()) or "none"
        raise NodeUnusable(
            f"scheduler `{scheduler}` is not known to this kernel",
            f"set `ipvs.scheduler` to one of those available: {available}",
        ) from error


def write_sysctls(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Bring kernel settings and IPVS timeouts to their values (SYS-01 to SYS-14)."""
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
    """Bring back the kernel settings without which the data plane is wrong; limits are left to whoever tuned them."""
    for wanted in _sysctls(drivers, settings):
        if wanted.required:
            _write_sysctl(drivers, wanted, log)


def _sysctls(drivers: Drivers, settings: Settings) -> tuple[Sysctl, ...]:
    release = drivers.sysctls.read("kernel/osrelease")
    serves_ipv6 = Family.IPV6 in drivers.rules
    return plan_sysctls(settings, kernel_release=release, cpus=os.cpu_count() or 1, serves_ipv6=serves_ipv6)


def _warn_of_ipv6(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Say that this node forwards no IPv6 although it serves it (DEV-31)."""
    if Family.IPV6 not in drivers.rules or settings.ipv6_forwarding:
        return
    with contextlib.suppress(KernelError):  # a hint, not worth a failure
        if drivers.sysctls.read(IPV6_FORWARDING) == "0":
            log.warning("IPv6 is not forwarded to other nodes; `ipv6Forwarding: true` sets it", key=IPV6_FORWARDING)


def write_timeouts(drivers: Drivers, wanted: Timeouts, log: Logger) -> None:
    """Set the IPVS timeouts that are not as they should be (SYS-08).

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


def _write_sysctl(drivers: Drivers, wanted: Sysctl, log: Logger) -> None:
    present = drivers.sysctls.read(wanted.key)
    if not wanted.is_met_by(present):
        drivers.sysctls.write(wanted.key, str(wanted.value))
        log.info("kernel setting written", key=wanted.key, before=present, after=wanted.value)


def ensure_dummy(drivers: Drivers) -> bool:
    """Create the dummy interface if it is missing; answer whether it was.

    Raises:
        NodeUnusable: the name belongs to an interface of another kind.
    """
    present = next((link for link in drivers.addresses.list_links() if link.name == DUMMY_INTERFACE), None)
    if present is None:
        try:
            drivers.addresses.add_dummy(DUMMY_INTERFACE)
        except AlreadyExists:
            return False
        return True
    if present.kind != "dummy":
        raise NodeUnusable(
            f"interface `{DUMMY_INTERFACE}` exists, but is of kind {present.kind or 'hardware'}, not dummy",
            f"remove it: `ip link delete {DUMMY_INTERFACE}`",
        )
    return False


def ensure_sets(drivers: Drivers, rules: RuleSet) -> None:
    """Create missing sets of a family and replace those of the wrong type, family or size (SET-34, DEV-25)."""
    present = {s.name: s for s in drivers.ip_sets.list_sets()}
    if _TEMPORARY_SET in present:  # of a replacement that did not come to its end
        drivers.ip_sets.destroy(_TEMPORARY_SET)
    for spec in set_specs(rules.family):
        observed = present.get(spec.name)
        if observed is None:
            drivers.ip_sets.create(spec)
        elif not _serves(observed, spec):
            _replace_set(drivers, observed, spec, rules)


def _serves(observed: ObservedSet, spec: SetSpec) -> bool:
    same_kind = observed.type == spec.type and observed.family is spec.family
    return same_kind and observed.max_elements >= spec.max_elements


def _replace_set(drivers: Drivers, observed: ObservedSet, spec: SetSpec, rules: RuleSet) -> None:
    """Put a right set in the place of a wrong one: by swapping where the kernel can."""
    if observed.type == spec.type and observed.family is spec.family:
        _swap_in(drivers.ip_sets, spec)
        return
    drivers.rules[rules.family].remove(rules)  # they are written anew right after
    try:
        drivers.ip_sets.destroy(spec.name)
    except Busy as error:
        raise NodeUnusable(
            f"ipset `{spec.name}` is of type {observed.type} and in use by a foreign rule",
            f"remove the rule that matches `{spec.name}`",
        ) from error
    drivers.ip_sets.create(spec)


def _swap_in(ip_sets: IpSets, spec: SetSpec) -> None:
    """Replace a set by one of the right size with the same entries, without a moment in between.

    Raises:
        KernelError: the new one could not be made or filled; the old one stays.
    """
    with contextlib.suppress(NotFound):
        ip_sets.destroy(_TEMPORARY_SET)
    ip_sets.create(SetSpec(_TEMPORARY_SET, spec.type, spec.family, spec.max_elements))
    results = ip_sets.apply([AddEntry(replace(e, set_name=_TEMPORARY_SET)) for e in ip_sets.list_entries(spec)])
    for error in results:
        if error is not None:
            raise error
    ip_sets.swap(_TEMPORARY_SET, spec.name)
    ip_sets.destroy(_TEMPORARY_SET)


def grow_set(drivers: Drivers, name: str) -> int:
    """Replace a full set by one of twice the size, with the same entries; answer the new size (DEV-24).

    Raises:
        KernelError: it could not be replaced; the old one stays.
    """
    observed = next(s for s in drivers.ip_sets.list_sets() if s.name == name)
    spec = next(s for family in Family for s in set_specs(family) if s.name == name)
    grown = replace(spec, max_elements=2 * observed.max_elements)
    _swap_in(drivers.ip_sets, grown)
    return grown.max_elements


def ensure_rules(drivers: Drivers, rules: RuleSet) -> bool:
    """Write the constant rules of a family if the kernel's differ; answer whether they did."""
    driver = drivers.rules[rules.family]
    if driver.matches(rules):
        return False
    driver.replace(rules)
    return True
