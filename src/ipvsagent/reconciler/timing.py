"""Measure the time from a change to the kernel, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from ipvsagent.instrumentation.counters import Counters
from ipvsagent.model.events import Changed, Deleted, Listed
from ipvsagent.model.objects import EndpointSlice, Kind, ObjectKey, kind_of

_COUNTED = (Kind.SERVICE, Kind.ENDPOINT_SLICE)


class Timing:
    """Measures the changes since the last pass.

    Args:
        clock: monotonic seconds.
        wall_clock: Unix time in seconds.
    """

    def __init__(self, counters: Counters, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._wall_clock = wall_clock
        self._process_began = wall_clock()
        self._triggers: list[float] = []
        self._due = True  # the next pass counts
        counters.queued_at = self._process_began  # MET-02: at the start of the loop

    def heard(self, event: object, dirty: Container[ObjectKey]) -> None:
        """Count an event that the next pass handles.

        Args:
            dirty: Services to plan because of this event or earlier ones.
        """
        self._due = True
        self._counters.queued_at = self._wall_clock()
        if isinstance(event, Changed | Deleted):
            kind = event.kind if isinstance(event, Deleted) else kind_of(event.object)
            if kind in _COUNTED:
                self._counters.note_change(kind)
        elif isinstance(event, Listed) and event.kind in _COUNTED:  # each object counts, as in kube-proxy (MET-05)
            self._counters.note_change(event.kind, len(event.objects) + len(event.rejected))
        if (
            isinstance(event, Changed)
            and isinstance(event.object, EndpointSlice)
            and event.triggered_at > self._process_began
            and event.object.service in dirty
        ):
            self._triggers.append(event.triggered_at)

    def pass_done(self, began: float, *, take_arrivals: Callable[[], Iterable[float]], nothing_fails: bool) -> None:
        """Count a pass that events requested; one that only searched for drift does not count (MET-01, MET-03, MET-10).

        Args:
            began: monotonic seconds.
            take_arrivals: returns the arrival times of the written changes, and forgets them.
            nothing_fails: whether no work is left.
        """
        if not self._due:
            return
        self._due = False
        counters, now, wall = self._counters, self._clock(), self._wall_clock()
        counters.passes.observe(now - began)
        counters.pending.clear()
        for at in take_arrivals():
            counters.change_to_kernel.observe(now - at)
        for at in self._triggers:
            counters.programming.observe(max(0.0, wall - at))
        self._triggers.clear()
        if nothing_fails:
            counters.synchronised_at = wall
