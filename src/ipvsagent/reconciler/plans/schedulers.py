"""Schedulers that single Services ask for: their modules are loaded before the first virtual server has them.

The kernel would load a module itself when a virtual server asks for its scheduler. It does so under a lock that the end
of a network namespace needs, too, and modprobe can wait for just that: both hang for good. So no operation may name a
scheduler whose module has not been loaded before (DEV-15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ipvsagent.errors import KernelError, NotFound, NotPermitted, ToolMissing
from ipvsagent.kernel.api import Modules
from ipvsagent.log import Logger

SECONDS_BETWEEN_TRIES = 60.0
"""How long a scheduler that could not be loaded counts as missing: looking for it starts a program."""

_LASTING = (NotFound, NotPermitted, ToolMissing)
"""Errors that only an administrator ends; others, such as a lack of memory, may pass by themselves."""


class Schedulers:
    """Loads schedulers and remembers those that are missing.

    Args:
        clock: monotonic seconds.
        failed: called with an error that may pass; `try_again` is to be called later.

    Attributes:
        missing: schedulers that virtual servers must not have.
    """

    def __init__(
        self, modules: Modules, log: Logger, clock: Callable[[], float], failed: Callable[[KernelError], None]
    ) -> None:
        self._modules = modules
        self._log = log
        self._clock = clock
        self._failed = failed
        self._not_before: dict[str, float] = {}  # when to try those of `missing` again
        self._passing: set[str] = set()  # those of `missing` whose error may pass
        self.missing: frozenset[str] = frozenset()

    @property
    def due(self) -> bool:
        """Whether it is time to look for a missing one again."""
        now = self._clock()
        return any(now >= moment for moment in self._not_before.values())

    def load(self, names: Iterable[str]) -> None:
        """Load what Services ask for.

        What was loaded once is looked at again: a module that nobody uses can be unloaded by anybody. What was missing
        is looked for again after `SECONDS_BETWEEN_TRIES`: somebody may have installed it.
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
        """Load what could not be loaded for a reason that may have passed.

        Args:
            names: what Services still ask for; all else needs no more tries.

        Raises:
            KernelError: it has not; what was loaded before that counts.
        """
        self._passing.intersection_update(names)
        for name in sorted(self._passing):
            self._load(name)

    def forget(self) -> None:
        """Forget which are missing; what is needed is loaded, or found missing, when it is planned."""
        self.missing = frozenset()
        self._not_before.clear()
        self._passing.clear()

    def _load(self, name: str) -> None:
        """Load one, or note that it is missing.

        Raises:
            KernelError: it is missing for a reason that may pass.
        """
        try:
            self._modules.load(f"ip_vs_{name}")
        except KernelError as error:
            if name not in self.missing:
                self._log.warning("scheduler that a Service asks for is unavailable", scheduler=name, error=error)
            self.missing |= {name}
            self._not_before[name] = self._clock() + SECONDS_BETWEEN_TRIES
            if not isinstance(error, _LASTING):
                self._passing.add(name)
                raise
        else:
            self.missing -= {name}
            self._not_before.pop(name, None)
        self._passing.discard(name)
