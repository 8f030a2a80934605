"""Which settings are configured, which are in force, and why they differ.

They differ while a new configuration cannot be used, where a scheduler is replaced by its fallback, and for fields that
the process reads at its start only.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ipvsagent.config.types import Settings, waiting_for_restart
from ipvsagent.errors import NodeUnusable
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.events import Event
from ipvsagent.model.objects import NodeNotice
from ipvsagent.reconciler.prepare import load_ipvs, needed_from_node, with_usable_scheduler


class Reconfigure(Struct, frozen=True):
    """New settings, already validated."""

    settings: Settings


class ConfigurationRefused(Struct, frozen=True):
    """A new configuration that cannot be used, and why."""

    reason: str


Message = Event | Reconfigure | ConfigurationRefused
"""What the owner thread is told."""


class Configuration:
    """The settings of a running agent.

    Args:
        announce: told of what an operator should see as an event.

    Attributes:
        in_force: what is planned and written with.
        refusal: why the newest configuration is not in force; empty if it is.
    """

    def __init__(
        self, drivers: Drivers, settings: Settings, log: Logger, *, announce: Callable[[NodeNotice], None]
    ) -> None:
        self._drivers = drivers
        self._announce = announce
        self._log = log
        self._at_start = settings
        self._configured = settings
        self.in_force = settings
        self.refusal = ""

    @property
    def waiting_for_restart(self) -> tuple[str, ...]:
        """The fields whose configured values are not in force yet."""
        return waiting_for_restart(self._at_start, self._configured)

    def start(self) -> Settings:
        """Settle on the settings that this kernel can serve (DEV-35).

        Raises:
            NodeUnusable: it has no IPVS, or neither the scheduler nor its fallback.
        """
        load_ipvs(self._drivers.modules)
        with needed_from_node():
            self.in_force = with_usable_scheduler(self._drivers, self._configured, self._log)
        self._tell_of_fallback(self._configured, self.in_force)
        return self.in_force

    def change(self, configured: Settings) -> bool:
        """Take new settings; answer whether others are in force now. Those that cannot be used are refused.

        Raises:
            KernelError: whether they can be used cannot be told now; nothing was taken.
        """
        self.refusal = ""
        if configured == self._configured:
            return False
        try:
            usable = with_usable_scheduler(self._drivers, configured, self._log)
        except NodeUnusable as error:
            self.refuse("; ".join(str(error).splitlines()))
            return False
        before, self._configured = self._configured, configured
        if configured.scheduler != before.scheduler or usable.scheduler != self.in_force.scheduler:
            self._tell_of_fallback(configured, usable)
        if self.waiting_for_restart:
            fields = ", ".join(self.waiting_for_restart)
            self._log.warning("fields of the new configuration wait for a restart", fields=fields)
        changed = usable != self.in_force
        self.in_force = usable
        return changed

    def refuse(self, reason: str) -> None:
        """Note that a new configuration cannot be used; the old one stays in force."""
        self.refusal = reason
        words = f"the new configuration is refused, the old one stays in force: {reason}"
        self._announce(NodeNotice("ConfigurationRefused", words, action="Reload"))
        self._log.error("new configuration refused; the old one stays in force", reason=reason)

    def _tell_of_fallback(self, configured: Settings, usable: Settings) -> None:
        if usable.scheduler != configured.scheduler:
            words = f"scheduler `{configured.scheduler}` is not known to this kernel; `{usable.scheduler}` is used"
            self._announce(NodeNotice("SchedulerFallback", words))
