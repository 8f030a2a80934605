"""What a node must have before the agent starts: a capability, IPVS, a working iptables.

If something is missing, the start fails with one sentence and a remedy (`NodeUnusable`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ipvsagent.errors import KernelError, NodeUnusable, NotFound, NotPermitted, NotSupported, ToolMissing
from ipvsagent.kernel.api import Modules

_CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h


def require_net_admin() -> None:
    """Report a missing capability immediately, instead of letting every operation fail.

    Raises:
        NodeUnusable: the process lacks the capability NET_ADMIN.
    """
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    if not effective >> _CAP_NET_ADMIN & 1:
        raise NodeUnusable(
            "this process may not change the node's network", "run as root, or with capability NET_ADMIN"
        )


@contextlib.contextmanager
def needed_from_node() -> Iterator[None]:
    """Convert the failure of a required operation to one sentence with a remedy.

    Raises:
        NodeUnusable: instead of any `KernelError`.
    """
    try:
        yield
    except NotPermitted as error:
        raise NodeUnusable(
            f"not permitted: {error}",
            "run as root, or with the capabilities NET_ADMIN and NET_RAW, and SYS_MODULE if modules are not loaded yet",
        ) from error
    except ToolMissing as error:
        raise NodeUnusable(str(error), "install the package `iptables`") from error
    except NotSupported as error:
        raise NodeUnusable(
            f"the node could not be prepared: {error}",
            "load the named module, or install the full kernel package of the distribution",
        ) from error
    except KernelError as error:
        raise NodeUnusable(
            f"the node could not be prepared: {error}", "run `ipvsagent doctor` on this node; it looks for causes"
        ) from error


def load_ipvs(modules: Modules) -> None:
    """Load IPVS.

    Raises:
        NodeUnusable: this kernel has no IPVS.
    """
    with needed_from_node():
        try:
            modules.load("ip_vs")
        except NotFound as error:
            raise NodeUnusable(
                "this kernel has no module `ip_vs`, which the agent needs",
                "install the full kernel package of the distribution (which contains `ip_vs`)",
            ) from error
