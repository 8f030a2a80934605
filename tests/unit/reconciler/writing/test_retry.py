"""When failed items are tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.reconciler.writing.retry import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, RetrySchedule


class _Naive:
    """The same by looking at every item each time."""

    def __init__(self) -> None:
        self.due: dict[str, tuple[int, float]] = {}

    def failed(self, item: str, now: float) -> None:
        failures = self.due.get(item, (0, 0.0))[0] + 1
        self.due[item] = failures, now + min(FIRST_DELAY_SECONDS * 2 ** (failures - 1), LONGEST_DELAY_SECONDS)

    def take_due(self, now: float) -> set[str]:
        return {item for item, (_, due) in self.due.items() if due <= now}


STEPS = st.lists(
    st.tuples(st.sampled_from(["failed", "succeeded", "wait", "take"]), st.sampled_from("abc"), st.floats(0, 40)),
    max_size=60,
)


@given(STEPS)
def test_what_is_due_depends_on_each_items_own_failures(steps: list[tuple[str, str, float]]) -> None:
    """DEV-07: whatever the others do; asking changes nothing, and nothing is due twice or forgotten."""
    schedule: RetrySchedule[str] = RetrySchedule()
    naive, now = _Naive(), 0.0
    for what, item, seconds in steps:
        match what:
            case "failed":
                schedule.failed(item, now)
                naive.failed(item, now)
            case "succeeded":
                schedule.succeeded([item])
                naive.due.pop(item, None)
            case "wait":
                now += seconds
            case _:
                due = schedule.take_due(now)
                assert len(due) == len(set(due))
                assert set(due) == naive.take_due(now)
        assert schedule.next_time() == min((due for _, due in naive.due.values()), default=None)
        assert len(schedule) == len(naive.due)


def test_an_item_that_fails_and_succeeds_for_ever_takes_no_more_room() -> None:
    """An agent runs for months."""
    schedule: RetrySchedule[str] = RetrySchedule()
    for now in range(1000):
        schedule.failed("a", now)
        schedule.succeeded(["a"])
    assert len(schedule._queue) < 100  # noqa: SLF001 - memory is what it is about
