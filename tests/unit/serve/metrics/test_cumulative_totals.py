"""Sums that only grow, from counts that begin again at 0."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.model.statistics import Counts
from ipvsagent.serve.metrics.cumulative_totals import Totals

NAMES = {"vip": "web", "node port": "web", "other": "dns"}
NOTHING = (0, 0, 0, 0, 0)


def _ones(number: int) -> Counts:
    return (number,) * 5


def _after(*readings: dict[str, Counts]) -> dict[str, Counts]:
    totals: Totals[str, str] = Totals()
    for reading in readings:
        totals.update(reading, NAMES, {})
    return dict(totals.items())


def test_all_virtual_servers_of_a_port_count_together() -> None:
    """One set of counts a port of a Service, and one from the start for what has no traffic."""
    assert _after({"vip": (1, 2, 3, 4, 5), "node port": (10, 20, 30, 40, 50)}) == {
        "web": (11, 22, 33, 44, 55),
        "dns": NOTHING,
    }


def test_a_reading_adds_what_came_since_the_last_one() -> None:
    """The kernel's counts are cumulative themselves."""
    assert _after({"vip": _ones(5)}, {"vip": _ones(5)}, {"vip": _ones(8)})["web"] == _ones(8)


def test_a_recreated_virtual_server_goes_on_where_the_old_one_ended() -> None:
    """VS-05: counts that fell began at 0 again, all of them, even those that are higher than before."""
    assert _after({"vip": (9, 9, 9, 9, 9)}, {"vip": (2, 9, 9, 9, 30)})["web"] == (11, 18, 18, 18, 39)


def test_a_recreated_virtual_server_with_higher_counts_is_recognised_by_its_mark() -> None:
    """VS-05: counts alone would not tell."""
    totals: Totals[str, str] = Totals()
    totals.update({"vip": _ones(5)}, NAMES, {})
    totals.update({"vip": _ones(7)}, NAMES, {"vip": 1})
    totals.update({"vip": _ones(8)}, NAMES, {"vip": 1})
    assert dict(totals.items())["web"] == _ones(13)


def test_a_virtual_server_that_is_away_keeps_its_sum() -> None:
    """VS-05: between removal and return there is nothing to add and nothing to forget."""
    assert _after({"vip": _ones(5)}, {}, {"vip": _ones(1)})["web"] == _ones(6)


def test_counts_that_pass_the_largest_number_wrap() -> None:
    """64 bits."""
    near = 2**64 - 2
    assert _after({"vip": (1, 1, 1, near, 1)}, {"vip": (1, 1, 1, 3, 2)})["web"] == (1, 1, 1, near + 5, 2)


def test_what_belongs_to_no_service_is_not_counted() -> None:
    """DEV-29: virtual servers of others."""
    assert "foreign" not in _after({"foreign": _ones(1)})
    assert _after({"foreign": _ones(1)})["web"] == NOTHING


def test_the_sum_of_a_deleted_service_is_removed() -> None:
    """Never more sums than ports of Services; a Service of the same name begins at 0."""
    totals: Totals[str, str] = Totals()
    totals.update({"vip": _ones(5), "other": _ones(1)}, NAMES, {})
    totals.update({"other": _ones(2)}, {"other": "dns"}, {})
    assert dict(totals.items()) == {"dns": _ones(2)}
    totals.update({"vip": _ones(3)}, {"vip": "web", "other": "dns"}, {})
    assert dict(totals.items())["web"] == _ones(3)


def test_a_renamed_service_begins_with_the_traffic_after_its_renaming() -> None:
    """What the virtual server counted before belongs to the old name."""
    totals: Totals[str, str] = Totals()
    totals.update({"vip": _ones(5)}, {"vip": "web"}, {})
    totals.update({"vip": _ones(6)}, {"vip": "shop"}, {})
    assert dict(totals.items()) == {"shop": _ones(1)}


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30))
def test_sums_equal_all_traffic_whatever_is_recreated(steps: list[tuple[int, bool]]) -> None:
    """Invariant: a name's counts never fall while it has a key."""
    totals: Totals[str, str] = Totals()
    now, mark, sent, before = 0, 0, 0, 0
    for more, recreated in steps:
        if recreated:
            now, mark = 0, mark + 1
        now += more
        sent += more
        totals.update({"vip": _ones(now)}, NAMES, {"vip": mark})
        found = dict(totals.items())["web"][0]
        assert found == sent >= before
        before = found
