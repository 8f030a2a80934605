"""What could not be written, why, and when it is tried again; reported when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable

from ipvsagent.errors import AgentError, KernelError, NodeUnusable
from ipvsagent.log import Logger
from ipvsagent.reconciler.writing.retry import RetrySchedule
from ipvsagent.reconciler.writing.writer import Item

Failing = Item | str
"""An item that is written by itself, or the name of a task that concerns the whole node."""


class Failures:
    """Everything that is not as it should be, each with its last error (DEV-07).

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, log: Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._errors: dict[Failing, AgentError] = {}
        self._tasks: set[str] = set()  # those of them that are names
        self._texts: dict[Failing, str] = {}
        self._every_text: tuple[str, ...] | None = ()  # None: to be made anew
        self._retries: RetrySchedule[Failing] = RetrySchedule()

    def __len__(self) -> int:
        return len(self._errors)

    def __contains__(self, item: object) -> bool:
        return item in self._errors

    def attempt(self, name: str, task: Callable[[], object]) -> bool:
        """Do something that concerns the whole node; answer whether it worked. A failure is retried."""
        try:
            task()
        except (KernelError, NodeUnusable) as error:
            self.failed(name, error)
            return False
        self.well(name)
        return True

    def failed(self, item: Failing, error: AgentError) -> None:
        """Note a failure; one that says nothing new is not logged again."""
        if str(self._errors.get(item)) != str(error):
            self._log.warning("not written, will be retried", item=item, error=error)
            self._texts[item] = f"{item}: {error}"
            self._every_text = None
        self._errors[item] = error
        if isinstance(item, str):
            self._tasks.add(item)
        self._retries.failed(item, self._clock())

    def well(self, item: Failing) -> None:
        """Note that an item is as it should be."""
        if self._errors.pop(item, None) is not None:
            self._log.info("written after a failure", item=item)
            del self._texts[item]
            if isinstance(item, str):
                self._tasks.discard(item)
            self._every_text = None
            self._retries.succeeded([item])

    def take_due(self) -> list[Failing]:
        """What is to be tried again now."""
        return self._retries.take_due(self._clock())

    def next_time(self) -> float | None:
        """When something is to be tried again."""
        return self._retries.next_time()

    def tasks(self) -> set[str]:
        """The node-wide tasks among what fails."""
        return self._tasks.copy()

    def texts(self) -> tuple[str, ...]:
        """Each failing item with its error; the same value until one of them changes."""
        if self._every_text is None:
            self._every_text = tuple(self._texts.values())
        return self._every_text
