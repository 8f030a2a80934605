"""The door in: messages to the owner thread, and its progress with them.

Other threads request work from the owner thread only through messages in this mailbox.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.events import Changed, Deleted, Event, Stop
from ipvsagent.model.status import Progress


class Reconfigure(Struct, frozen=True):
    """New settings, already validated."""

    settings: Settings


class ConfigurationRefused(Struct, frozen=True):
    """A new configuration that is not valid, and why."""

    reason: str


Message = Event | Reconfigure | ConfigurationRefused
"""The messages that the owner thread accepts."""


class Mailbox:
    """The queue of messages, and the owner thread's progress with it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queue: queue.SimpleQueue[tuple[float, Message]] = queue.SimpleQueue()
        self._progress = ProgressMarks(clock)
        self._arrivals: list[float] = []
        self._pass_ended = -math.inf

    # -- for any thread ----------------------------------------------------------------------------------------

    def put(self, message: Message) -> None:
        """Send a message to the owner thread."""
        self._progress.queued()
        self._queue.put((self._clock(), message))

    def progress(self) -> Progress:
        """Return the owner thread's progress, even while it is stuck."""
        return self._progress.read()

    def is_empty(self) -> bool:
        """Return whether the owner thread has taken every message."""
        return self._queue.empty()

    # -- for the owner thread ----------------------------------------------------------------------------------

    def gather(self, timeout: float | None, *, least_period: float) -> list[Message]:
        """Wait for messages; collect all that arrive within the minimum time between two passes (SYN-06).

        Args:
            timeout: seconds to wait for the first one; None waits forever.
            least_period: minimum seconds between the end of a pass and the next one.

        Returns:
            All messages, up to `Stop`; none if none arrived in time.
        """
        try:
            messages = [self._take(self._queue.get(timeout=timeout))]
        except queue.Empty:
            return []
        not_before = self._pass_ended + least_period
        while True:
            wait = not_before - self._clock()
            try:
                messages.append(self._take(self._queue.get(block=wait > 0, timeout=max(wait, 0))))
            except queue.Empty:
                return messages
            if isinstance(messages[-1], Stop):
                return messages

    def take_arrivals(self) -> list[float]:
        """Return the arrival times of the changed and deleted objects gathered since the last call."""
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def begin_pass(self) -> None:
        """Note that a pass with the gathered messages begins."""
        self._progress.begin()

    def end_pass(self, *, through: bool) -> None:
        """Note that the pass has ended.

        Args:
            through: whether the pass completed all node-wide work.
        """
        self._progress.end(through=through)
        self._pass_ended = self._clock()

    def _take(self, item: tuple[float, Message]) -> Message:
        at, message = item
        if isinstance(message, Changed | Deleted):
            self._arrivals.append(at)
        return message


class ProgressMarks:
    """Since when work is outstanding, and when the last complete pass ended; any thread may read them at any time.

    Three marks, each one attribute that is replaced as a whole: the oldest message in the queue, the oldest work of a
    pass that runs or was not completed, and the end of the last complete pass. A mark that is set while a pass begins
    may be counted for that pass; the next pass sets its own at once, so only a moment is lost.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queued_since: float | None = None
        self._working_since: float | None = None
        self._completed_at = clock()

    def queued(self) -> None:
        """Note that a message was put into the queue; called by any thread."""
        if self._queued_since is None:
            self._queued_since = self._clock()

    def begin(self) -> None:
        """Note that a pass begins; the queued messages are its work."""
        queued, self._queued_since = self._queued_since, None
        if self._working_since is None:
            self._working_since = self._clock() if queued is None else queued

    def end(self, *, through: bool) -> None:
        """Note that a pass ends.

        Args:
            through: whether it completed every stage; if not, its work stays outstanding.
        """
        if through:
            self._completed_at = self._clock()
            self._working_since = None

    def read(self) -> Progress:
        """Return the current end of the last complete pass and the time of the oldest outstanding work."""
        marks = [t for t in (self._working_since, self._queued_since) if t is not None]
        return Progress(self._completed_at, min(marks, default=None))
