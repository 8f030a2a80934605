"""Since when work is outstanding and when the last complete pass ended; other threads may read it at any time.

Three marks, each one attribute that is replaced as a whole: the oldest event on the queue, the oldest work of a pass
that runs or did not get through, and the end of the last pass that did. A mark set while a pass begins may be taken
for that pass's own; the next pass begins its own at once, so no more than the moment between is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from ipvsagent.model.status import Progress


class ProgressMarks:
    """The marks.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queued_since: float | None = None
        self._working_since: float | None = None
        self._completed_at = clock()

    def queued(self) -> None:
        """Something was put on the queue; called by any thread."""
        if self._queued_since is None:
            self._queued_since = self._clock()

    def begin(self) -> None:
        """A pass begins; what was queued is its work."""
        queued, self._queued_since = self._queued_since, None
        if self._working_since is None:
            self._working_since = self._clock() if queued is None else queued

    def end(self, *, through: bool) -> None:
        """A pass ends.

        Args:
            through: whether it got through every stage; if not, its work stays outstanding.
        """
        if through:
            self._completed_at = self._clock()
            self._working_since = None

    def read(self) -> Progress:
        """Both, as they are now."""
        marks = [t for t in (self._working_since, self._queued_since) if t is not None]
        return Progress(self._completed_at, min(marks, default=None))
