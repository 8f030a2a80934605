"""What a running agent says of itself: one immutable value, published by the owner thread."""

from __future__ import annotations

from msgspec import Struct

from ipvsagent.model.objects import Problem


class Status(Struct, frozen=True):
    """A snapshot after a pass of the owner thread.

    Args:
        complete: whether all objects were listed once (SYN-04).
        synchronised: whether the kernel holds all of the desired state.
        services: number of Services with a plan.
        virtual_servers: number of virtual servers desired.
        failures: what could not be written, as text, with the error.
        configuration_refused: why the newest configuration is not in force; empty if it is.
        waiting_for_restart: fields whose configured values are not in force yet.
        problems: what is wrong with objects and their source, conflicts included.
    """

    complete: bool = False
    synchronised: bool = False
    services: int = 0
    virtual_servers: int = 0
    failures: tuple[str, ...] = ()
    configuration_refused: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
