"""Prepare a node before its first Service: modules, kernel settings, dummy interface.

What is already correct is not written, so a restart writes nothing. If a required part is unavailable, the start fails
with one sentence and a remedy (`NodeUnusable`).
"""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.errors import AlreadyExists, KernelError, NodeUnusable
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.reconciler.node.kernel_settings import write_sysctls
from ipvsagent.requirements import load_ipvs, needed_from_node
from ipvsagent.transient_errors import retry_transient


def prepare_node(drivers: Drivers, settings: Settings, log: Logger) -> None:
    """Prepare what all families have in common: modules, settings, dummy interface.

    Raises:
        NodeUnusable: the node lacks something that the agent cannot work without.
    """
    with needed_from_node():
        load_modules(drivers, log)
        write_sysctls(drivers, settings, log)
        retry_transient(lambda: ensure_dummy(drivers))


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
