"""The settings of the owner thread: the configured ones, those in force, and why they differ.

They differ if a new configuration was refused, if a scheduler was replaced by its fallback, and in fields that the
process reads only at its start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ipvsagent.config.types import Settings, waiting_for_restart
from ipvsagent.errors import NodeUnusable, NotFound
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.objects import NodeNotice
from ipvsagent.reconciler.state import State
from ipvsagent.requirements import load_ipvs, needed_from_node


class Configuration:
    """The settings of a running agent; the one writer of `State.settings`, which holds those in force.

    Args:
        state: holds the settings that the process was started with.
        report: called with what becomes a Kubernetes event.

    Attributes:
        refusal: why the newest configuration is not in force; empty if it is.
    """

    def __init__(self, state: State, drivers: Drivers, log: Logger, *, report: Callable[[NodeNotice], None]) -> None:
        self._state = state
        self._drivers = drivers
        self._report = report
        self._log = log
        self._at_start = self._configured = self._newest = state.settings
        self.refusal = ""

    @property
    def waiting_for_restart(self) -> tuple[str, ...]:
        """Return the fields whose configured values are not in force yet."""
        return waiting_for_restart(self._at_start, self._configured)

    def start(self) -> None:
        """Apply the settings as far as this kernel supports them (DEV-35).

        Raises:
            NodeUnusable: the kernel has no IPVS, or neither the scheduler nor its fallback.
        """
        load_ipvs(self._drivers.modules)
        with needed_from_node():
            self._state.settings = with_usable_scheduler(self._drivers, self._configured, self._log)
        self._report_fallback(self._configured, self._state.settings)

    def take(self, settings: Settings) -> None:
        """Store new settings; `apply` puts them in force."""
        self._newest = settings

    def apply(self) -> bool:
        """Put the newest settings in force, or refuse them if the kernel does not support them.

        Returns:
            Whether the settings in force have changed.

        Raises:
            KernelError: the kernel's support could not be checked; nothing has changed.
        """
        self.refusal = ""
        configured = self._newest
        if configured == self._configured:
            return False
        try:
            usable = with_usable_scheduler(self._drivers, configured, self._log)
        except NodeUnusable as error:
            self.refuse("; ".join(str(error).splitlines()))
            return False
        before, self._configured = self._configured, configured
        if configured.scheduler != before.scheduler or usable.scheduler != self._state.settings.scheduler:
            self._report_fallback(configured, usable)
        if self.waiting_for_restart:
            fields = ", ".join(self.waiting_for_restart)
            self._log.warning("fields of the new configuration need a restart", fields=fields)
        changed = usable != self._state.settings
        self._state.settings = usable
        return changed

    def refuse(self, reason: str) -> None:
        """Report that a new configuration is refused; the old one stays in force."""
        self.refusal = reason
        words = f"the new configuration is refused, the old one stays in force: {reason}"
        self._report(NodeNotice("ConfigurationRefused", words, action="Reload"))
        self._log.error("new configuration refused; the old one stays in force", reason=reason)

    def _report_fallback(self, configured: Settings, usable: Settings) -> None:
        if usable.scheduler != configured.scheduler:
            words = f"scheduler `{configured.scheduler}` is not known to this kernel; `{usable.scheduler}` is used"
            self._report(NodeNotice("SchedulerFallback", words))


def with_usable_scheduler(drivers: Drivers, settings: Settings, log: Logger) -> Settings:
    """Load the scheduler's module; if it is missing, use the configured fallback (DEV-35).

    Raises:
        NodeUnusable: this kernel lacks the scheduler, and the fallback is missing or not configured.
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
        # Each scheduler interprets the flags differently.
        return replace(settings, scheduler=fallback, scheduler_flags=None)
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
            f"set `ipvs.scheduler` to an available scheduler: {available}",
        ) from error
