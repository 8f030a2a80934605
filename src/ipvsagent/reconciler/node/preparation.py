"""Prepare a node before its first Service: modules, kernel settings, dummy interface, ipsets, rules.

What is already correct is not written, so a restart writes nothing. If a required part is unavailable, the start fails
with one sentence and a remedy (`NodeUnusable`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ipvsagent.config.types import Settings
from ipvsagent.errors import AlreadyExists, KernelError, NodeUnusable
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.reconciler.node.kernel_settings import write_sysctls
from ipvsagent.reconciler.node.sets import ensure_sets
from ipvsagent.requirements import load_ipvs, needed_from_node
from ipvsagent.transient_errors import retry_transient


def prepare_node(drivers: Drivers, settings: Settings, rules: Sequence[RuleSet], log: Logger) -> None:
    """Prepare the node: modules, settings, dummy interface, then the ipsets and rules of each family.

    Raises:
        NodeUnusable: the node lacks something that the agent cannot work without.
    """
    with needed_from_node():
        load_modules(drivers, log)
        write_sysctls(drivers, settings, log)
        retry_transient(lambda: ensure_dummy(drivers))
        for rule_set in rules:
            retry_transient(partial(ensure_sets, drivers, rule_set))
            retry_transient(partial(ensure_rules, drivers, rule_set))


def load_modules(drivers: Drivers, log: Logger) -> None:
    """Load IPVS and connection tracking."""
    load_ipvs(drivers.modules)
    try:
        drivers.modules.load("nf_conntrack")
    except KernelError as error:
        log.warning("module not loaded", module="nf_conntrack", error=error)


def ensure_dummy(drivers: Drivers) -> bool:
    """Create the dummy interface if it is missing; return whether it was.

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


def ensure_rules(drivers: Drivers, rules: RuleSet) -> bool:
    """Write the constant rules of a family if the kernel's differ; return whether they did."""
    driver = drivers.rules[rules.family]
    if driver.matches(rules):
        return False
    driver.replace(rules)
    return True
