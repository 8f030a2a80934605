"""Decide whether the kernel's rate estimator runs (DEV-45).

The estimator reads all virtual and real servers every two seconds, even if nobody uses its figures. On a large node
this takes more kernel time than all changes of Services.
"""

from __future__ import annotations

from ipvsagent.config.values import ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW


def plan_estimation(mode: str, *, runs: bool, virtual_servers: int) -> bool:
    """Return whether the estimator must run all the time.

    Args:
        mode: one of `ESTIMATION_MODES`.
        runs: whether it runs now.
        virtual_servers: the number of virtual servers on this node.
    """
    if mode != "auto":
        return mode == "on"
    return virtual_servers <= ESTIMATION_OFF_ABOVE if runs else virtual_servers < ESTIMATION_ON_BELOW
