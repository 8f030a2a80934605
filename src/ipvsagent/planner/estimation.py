"""Whether the kernel's rate estimator runs.

It walks every virtual and real server every two seconds, whether or not anybody looks at its figures: on a large node
that takes more of the kernel's time than all changes of Services do.
"""

from __future__ import annotations

from ipvsagent.config.values import ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW


def plan_estimation(mode: str, *, runs: bool, virtual_servers: int) -> bool:
    """Whether the estimator is to run all the time.

    Args:
        mode: one of `ESTIMATION_MODES`.
        runs: whether it does.
        virtual_servers: how many this node has.
    """
    if mode != "auto":
        return mode == "on"
    return virtual_servers <= ESTIMATION_OFF_ABOVE if runs else virtual_servers < ESTIMATION_ON_BELOW
