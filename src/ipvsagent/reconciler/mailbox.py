"""What other threads tell the owner thread."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable

from ipvsagent.model.events import Stop
from ipvsagent.model.status import Progress
from ipvsagent.reconciler.configuration import Message
from ipvsagent.reconciler.progress import ProgressMarks
from ipvsagent.reconciler.timing import Timing


class Mailbox:
    """The queue, and how far the owner thread has come with it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, timing: Timing, clock: Callable[[], float]) -> None:
        self._timing = timing
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[float, Message]] = queue.SimpleQueue()
        self._progress = ProgressMarks(clock)
        self._pass_ended = -math.inf

    # -- for any thread ----------------------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Hand a value over."""
        self._progress.queued()
        self._queue.put((self._clock(), message))

    def progress(self) -> Progress:
        """How far the owner thread has come, also while it is stuck."""
        return self._progress.read()

    # -- for the owner thread ----------------------------------------------------------------------------------

    def gather(self, timeout: float | None, *, least_period: float) -> list[Message]:
        """Wait for messages; those that come within the least time between two passes go together (SYN-06).

        Args:
            timeout: seconds to wait for the first one; None waits without end.
            least_period: seconds between the end of a pass and the next one.

        Returns:
            Nothing if none came in time; else all of them, up to `Stop`.
        """
        try:
            messages = [self._arrived(self._queue.get(timeout=timeout))]
        except queue.Empty:
            return []
        not_before = self._pass_ended + least_period
        while True:
            wait = not_before - self._clock()
            try:
                messages.append(self._arrived(self._queue.get(block=wait > 0, timeout=max(wait, 0))))
            except queue.Empty:
                return messages
            if isinstance(messages[-1], Stop):
                return messages

    def begin_pass(self) -> None:
        """A pass begins with what was gathered."""
        self._progress.begin()

    def end_pass(self, *, through: bool) -> None:
        """It ends.

        Args:
            through: whether all was done that concerns the node.
        """
        self._progress.end(through=through)
        self._pass_ended = self._clock()

    def _arrived(self, item: tuple[float, Message]) -> Message:
        at, message = item
        self._timing.arrived(message, at)
        return message
