"""Problems by origin, and that publishing them costs what changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.errors import KernelError
from ipvsagent.model.events import Changed, Listed
from ipvsagent.model.objects import Kind, Problem
from ipvsagent.planner.desired import Origin
from ipvsagent.reconciler.objects.problems import ProblemTable
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.writing.failures import Failures
from support.builders import endpoint_slice, service
from support.fake_node import Clock, FakeNode, SilentLogger

SHARED = "198.51.100.7"

problem = st.builds(Problem, st.just("Service"), st.sampled_from(["a", "b", "c"]), st.just(""), st.sampled_from("xy"))
change = st.tuples(st.sampled_from("pqrs"), st.lists(problem, max_size=4).map(tuple), st.booleans())


@given(st.lists(change, max_size=30), st.booleans())
def test_what_is_reported_is_what_all_origins_have_and_each_is_new_once(
    changes: list[tuple[str, tuple[Problem, ...], bool]], many_first: bool
) -> None:
    """Invariant: `every` returns the problems of all origins, sorted, each problem once."""
    reports = ProblemTable()
    origins: dict[str, tuple[Problem, ...]] = {}
    if many_first:
        origins["bulk"] = tuple(Problem("Service", f"s{i}", "", "x") for i in range(100))
        reports.replace("bulk", origins["bulk"])
    known: set[Problem] = set()
    for origin, problems, publish in changes:
        reports.replace(origin, problems)
        origins[origin] = problems
        if publish:
            now = {p for held in origins.values() for p in held}
            assert reports.every() == tuple(sorted(now))
            assert reports.take_new() == sorted(now - known)
            known = now


def test_the_same_problems_are_the_same_value() -> None:
    """The same report again, and a problem that disappears and returns at once, change nothing."""
    reports = ProblemTable()
    held = (Problem("Service", "shop/web", "", "is wrong"),)
    reports.replace("web", held)
    before, new = reports.every(), reports.take_new()
    reports.replace("web", held)
    reports.replace("web", ())
    reports.replace("web", held)
    assert (reports.every(), reports.take_new(), new) == (before, [], list(held))


def crowded(count: int) -> FakeNode:
    """A node on which all Services but one lose a conflict, and one more has no trouble."""
    node = FakeNode()
    rivals = [service(f"shop/s{i}", f"10.96.{i // 250}.{i % 250 + 1}", external_ips=[SHARED]) for i in range(count)]
    node.hear_all([*rivals, service("shop/web", "10.97.0.1")], [endpoint_slice("10.244.0.11")])
    return node


@pytest.mark.parametrize("count", [20, 400])
def test_a_pass_looks_at_the_problems_that_it_changed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost follows the change: with 20 conflicts as with 400."""
    node = crowded(count)
    assert len(node.status().problems) == count - 1
    asked: list[Origin] = []
    desired = node.reconciler.state.desired
    problems_of = desired.problems_of

    def remember(origin: Origin) -> tuple[Problem, ...]:
        asked.append(origin)
        return problems_of(origin)

    monkeypatch.setattr(desired, "problems_of", remember)
    before = node.status().problems
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    assert node.status().problems is before
    assert asked == []
    node.hear(Changed(service("shop/web", "10.97.0.1", external_ips=["127.0.0.1", "192.168.60.1"])))
    assert len(asked) <= 1
    node.hear(Changed(service("shop/s7", "10.96.0.8")))
    assert len(node.status().problems) == count - 2
    assert len(asked) <= 3


def test_the_texts_of_failures_are_made_when_one_changes() -> None:
    """The same error again is the same value; another one, or the end of it, is not."""
    failures = Failures(SilentLogger(), Clock())
    failures.failed(Task.WRITE_RULES, KernelError("write rules"))
    first = failures.texts()
    failures.failed(Task.WRITE_RULES, KernelError("write rules"))
    assert failures.texts() is first
    failures.failed(Task.WRITE_RULES, KernelError("write other rules"))
    assert failures.texts() != first
    failures.succeeded(Task.WRITE_RULES)
    assert failures.texts() == ()


def test_a_relist_reports_new_problems_and_forgets_solved_ones() -> None:
    """Each problem is logged once, however often all objects are listed."""
    node = FakeNode()
    node.hear_all([service()])
    wrong = Problem("Service", "shop/web", "spec.ports", "is wrong")
    for problems in ((wrong,), (wrong,), (), (wrong,)):
        node.hear(Listed(Kind.SERVICE, (service(),), problems={service().key: problems}))
        assert node.status().problems == problems
    assert sum("is wrong" in line for line in node.log.lines) == 2
