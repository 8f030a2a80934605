"""Schedulers that single Services request: their modules are loaded before a virtual server uses them.

The kernel would load the module itself when a virtual server names a scheduler. But it holds a lock meanwhile that is
also needed to remove a network namespace, and modprobe may wait for that removal: both hang forever. Therefore no
operation may name a scheduler whose module has not been loaded (DEV-15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ipvsagent.errors import KernelError, NotFound, NotPermitted, ToolMissing
from ipvsagent.kernel.api import Modules
from ipvsagent.log import Logger

SECONDS_BETWEEN_TRIES = 60.0
"""How long a scheduler that could not be loaded counts as missing: checking again starts a program."""

_LASTING = (NotFound, NotPermitted, ToolMissing)
"""Errors that only an administrator can resolve; others, such as a lack of memory, may be temporary."""


class Schedulers:
    """Loads schedulers and remembers those that are missing.

    Args:
        clock: monotonic seconds.
        failed: called with a temporary error; `try_again` must be called later.

    Attributes:
        missing: schedulers that virtual servers must not use.
    """

    def __init__(
        self, modules: Modules, log: Logger, clock: Callable[[], float], failed: Callable[[KernelError], None]
    ) -> None:
        self._modules = modules
        self._log = log
        self._clock = clock
        self._failed = failed
        self._not_before: dict[str, float] = {}  # when to retry the schedulers in `missing`
        self._passing: set[str] = set()  # schedulers in `missing` whose error may be temporary
        self.missing: frozenset[str] = frozenset()

    @property
    def due(self) -> bool:
        """Return whether it is time to check for a missing scheduler again."""
        now = self._clock()
        return any(now >= moment for moment in self._not_before.values())

    def load(self, names: Iterable[str]) -> None:
        """Load the schedulers that Services request.

        A module that was loaded before is checked again, because unused modules can be unloaded. A missing module is
        checked again after `SECONDS_BETWEEN_TRIES`, because it may have been installed.
        """
        now = self._clock()
        for name in sorted(set(names)):
            if now < self._not_before.get(name, now):
                continue
            try:
                self._load(name)
            except KernelError as error:
                self._failed(error)

    def try_again(self, names: Iterable[str]) -> None:
        """Retry schedulers that could not be loaded for a temporary reason.

        Args:
            names: what Services still request; other schedulers are not retried any more.

        Raises:
            KernelError: one still cannot be loaded; those loaded before it are used.
        """
        self._passing.intersection_update(names)
        for name in sorted(self._passing):
            self._load(name)

    def forget(self) -> None:
        """Forget the missing schedulers; they are checked again when a plan needs them."""
        self.missing = frozenset()
        self._not_before.clear()
        self._passing.clear()

    def _load(self, name: str) -> None:
        """Load one scheduler, or note that it is missing.

        Raises:
            KernelError: it is missing for a reason that may be temporary.
        """
        try:
            self._modules.load(f"ip_vs_{name}")
        except KernelError as error:
            if name not in self.missing:
                self._log.warning("scheduler requested by a Service is unavailable", scheduler=name, error=error)
            self.missing |= {name}
            self._not_before[name] = self._clock() + SECONDS_BETWEEN_TRIES
            if not isinstance(error, _LASTING):
                self._passing.add(name)
                raise
        else:
            self.missing -= {name}
            self._not_before.pop(name, None)
        self._passing.discard(name)
