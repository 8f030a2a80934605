"""What could not be written, why, and when to retry it; logs the first failure and the recovery."""

from __future__ import annotations

from collections.abc import Callable

from ipvsagent.errors import AgentError
from ipvsagent.log import Logger
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.writing.comparison import Item
from ipvsagent.reconciler.writing.retry import RetrySchedule

Failing = Item | Task
"""An item that is written separately, or a node-wide task."""


class Failures:
    """Everything that failed, each with its last error (DEV-07).

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, log: Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._errors: dict[Failing, AgentError] = {}
        self._texts: dict[Failing, str] = {}
        self._every_text: tuple[str, ...] | None = ()  # None: one of them changed
        self._retries: RetrySchedule[Failing] = RetrySchedule()

    def __len__(self) -> int:
        return len(self._errors)

    def __contains__(self, item: object) -> bool:
        return item in self._errors

    def failed(self, item: Failing, error: AgentError) -> None:
        """Note a failure; log it only if the error is new."""
        if str(self._errors.get(item)) != str(error):
            self._log.warning("not written, will be retried", item=str(item), error=error)
            self._texts[item] = f"{item}: {error}"
            self._every_text = None
        self._errors[item] = error
        self._retries.failed(item, self._clock())

    def succeeded(self, item: Failing) -> None:
        """Note that an item was written."""
        if self._errors.pop(item, None) is not None:
            self._log.info("written after a failure", item=str(item))
            del self._texts[item]
            self._every_text = None
            self._retries.succeeded([item])

    def take_due(self) -> list[Failing]:
        """Return what to retry now."""
        return self._retries.take_due(self._clock())

    def next_time(self) -> float | None:
        """Return when the next retry is due; None if nothing fails."""
        return self._retries.next_time()

    def a_stage_fails(self) -> bool:
        """Return whether a task fails that the node needs to serve its Services (HC-02)."""
        return bool(self._errors) and any(task.is_stage and task in self._errors for task in Task)

    def texts(self) -> tuple[str, ...]:
        """Return each failing item with its error; the same value until one of them changes."""
        if self._every_text is None:
            self._every_text = tuple(self._texts.values())
        return self._every_text
