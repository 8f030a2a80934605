"""Node-wide work as one table: name, action, and what follows from it.

A failed task is reported under its name and retried separately.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ipvsagent.planner.desired import Touched

if TYPE_CHECKING:
    from ipvsagent.reconciler.actions import Actions


def _nothing(_actions: Actions) -> Touched:
    return Touched()


class _Row(NamedTuple):
    """One task.

    Args:
        label: its name in logs, status and metrics.
        action: runs the task.
        follow_up: what must be compared and written once the task is done.
        is_stage: whether the node does not serve its Services correctly while the task fails (HC-02).
    """

    label: str
    action: Callable[[Actions], None]
    follow_up: Callable[[Actions], Touched] = _nothing
    is_stage: bool = True


class Task(Enum):
    """The tasks.

    Attributes:
        label: as in `_Row`.
        is_stage: as in `_Row`.
    """

    READ_KERNEL = _Row("read the kernel", lambda a: a.read_kernel(), follow_up=lambda a: a.everything())
    CHECK_FAMILIES = _Row("serve the primary address family", lambda a: a.check_families())
    READ_ADDRESSES = _Row("read node addresses", lambda a: a.read_addresses())
    WRITE_RULES = _Row("write rules", lambda a: a.write_rules())
    CHECK_RULES = _Row("check rules", lambda a: a.check_rules())
    CREATE_SETS = _Row("create ipsets", lambda a: a.create_sets())
    CREATE_DUMMY = _Row(
        "create the dummy interface", lambda a: a.create_dummy(), follow_up=lambda a: a.unbound_addresses()
    )
    VERIFY = _Row("verify the kernel", lambda a: a.verify())
    WRITE_SYSCTLS = _Row("write kernel settings", lambda a: a.write_sysctls(), is_stage=False)
    CHECK_SYSCTLS = _Row("check kernel settings", lambda a: a.check_sysctls(), is_stage=False)
    CLEAN_FLOWS = _Row("delete stale flows", lambda a: a.clean_flows(), is_stage=False)
    RECONFIGURE = _Row("apply the configuration", lambda a: a.reconfigure(), is_stage=False)
    LOAD_SCHEDULERS = _Row("load schedulers", lambda a: a.load_schedulers(), is_stage=False)

    # Members are compared by identity, so this hash is enough; Enum's own is a Python function and slower.
    __hash__ = object.__hash__

    def __init__(
        self,
        label: str,
        action: Callable[[Actions], None],
        follow_up: Callable[[Actions], Touched],
        is_stage: bool,
    ) -> None:
        self.label = label
        self.is_stage = is_stage
        self._action = action
        self._follow_up = follow_up

    def __str__(self) -> str:
        return self.label

    def run(self, actions: Actions) -> None:
        """Run the task.

        Raises:
            KernelError, NodeUnusable: it failed.
        """
        self._action(actions)

    def follow_up(self, actions: Actions) -> Touched:
        """Return what must be compared and written once the task is done."""
        return self._follow_up(actions)
