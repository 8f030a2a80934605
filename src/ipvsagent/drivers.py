"""Open the real drivers and monitors of this node, for the iptables variant that it uses."""

from __future__ import annotations

import os
from pathlib import Path

from ipvsagent.config.types import Settings
from ipvsagent.errors import NotSupported
from ipvsagent.kernel.api import Drivers, Monitor, Rules
from ipvsagent.kernel.iptables.legacy import LegacyRules
from ipvsagent.kernel.iptables.nft import NftRules
from ipvsagent.kernel.iptables.programs import find_program
from ipvsagent.kernel.iptables.variant import detect_variant
from ipvsagent.kernel.modules import ModuleDriver
from ipvsagent.kernel.netlink.addresses import AddressDriver, RtnetlinkMonitor
from ipvsagent.kernel.netlink.conntrack import ConntrackDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.ipvs import IpvsDriver
from ipvsagent.kernel.netlink.nftables_monitor import NftablesMonitor
from ipvsagent.kernel.sysctls import NETWORK_SETTINGS, SysctlDriver
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.events import Event
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.requirements import load_ipvs, needed_from_node, require_net_admin
from ipvsagent.transient_errors import retry_transient


def open_drivers(settings: Settings, log: Logger) -> Drivers:
    """Open every driver in this thread's network namespace.

    Raises:
        NodeUnusable: the process lacks a capability, iptables is not installed, or the kernel lacks IPVS.
    """
    require_net_admin()
    modules = ModuleDriver()
    load_ipvs(modules)
    with needed_from_node():
        rules = _open_rules(settings, log)
        ipvs, addresses, ip_sets, conntrack = IpvsDriver(), AddressDriver(), IpSetDriver(), ConntrackDriver()

    def close() -> None:
        for driver in (ipvs, addresses, ip_sets, conntrack):
            driver.close()

    return Drivers(
        ipvs=ipvs,
        addresses=addresses,
        ip_sets=ip_sets,
        rules=rules,
        sysctls=SysctlDriver(network=_mounted(NETWORK_SETTINGS)),
        modules=modules,
        conntrack=conntrack,
        close=close,
    )


def _mounted(variable: str) -> Path | None:
    """Return the folder in an environment variable; None if it is not set or empty."""
    value = os.environ.get(variable, "")
    return Path(value) if value else None


def _open_rules(settings: Settings, log: Logger) -> dict[Family, Rules]:
    variant = settings.iptables_variant if settings.iptables_variant != "auto" else detect_variant()
    find_program(Family.IPV4, variant)  # the programs of IPv6 come in the same package
    driver = LegacyRules if variant == "legacy" else NftRules
    log.info("iptables variant chosen", variant=variant)
    return {family: driver(family) for family in Family}


def open_monitors(settings: Settings, drivers: Drivers) -> list[Monitor[Event]]:
    """Open every source of notifications; the kernel reports no changes of legacy rules."""
    monitors: list[Monitor[Event]] = [retry_transient(lambda: RtnetlinkMonitor(DUMMY_INTERFACE))]
    if any(rules.variant == "nft" for rules in drivers.rules.values()):
        chains = [key for rule_set in plan_rule_sets(settings, None, drivers.rules) for key in rule_set.chain_keys]
        monitors.append(retry_transient(lambda: NftablesMonitor(chains)))
    return monitors


def ipvs_if_any() -> IpvsDriver | None:
    """Open IPVS; None if this kernel does not have it now."""
    try:
        return IpvsDriver()
    except NotSupported:
        return None


def installed_rules() -> list[Rules]:
    """Return the drivers of every variant; listing rules with them changes and loads nothing."""
    drivers: list[Rules] = []
    for family in Family:
        drivers += [LegacyRules(family), NftRules(family)]
    return drivers
