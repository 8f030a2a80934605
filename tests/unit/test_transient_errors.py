"""Repeating what could not be done just now."""

from __future__ import annotations

import pytest

from ipvsagent.errors import DumpInterrupted, KernelError, NotPermitted
from ipvsagent.model.state import Link
from ipvsagent.transient_errors import DELAYS_SECONDS, retry_transient
from support.fake_node import FakeNode, new_kernel


def failing(errors: list[KernelError]) -> str:
    """Fail with the errors in order, then succeed."""
    if errors:
        raise errors.pop(0)
    return "done"


def test_an_interrupted_listing_is_repeated() -> None:
    """DEV-49: a dump that the kernel marks as interrupted is repeated."""
    errors: list[KernelError] = [DumpInterrupted("list"), DumpInterrupted("list")]
    waits: list[float] = []
    assert retry_transient(lambda: failing(errors), sleep=waits.append) == "done"
    assert waits == list(DELAYS_SECONDS[:2])


def test_patience_ends() -> None:
    """The last error comes through."""
    errors: list[KernelError] = [DumpInterrupted("list") for _ in range(50)]
    waits: list[float] = []
    with pytest.raises(DumpInterrupted):
        retry_transient(lambda: failing(errors), sleep=waits.append)
    assert waits == list(DELAYS_SECONDS)


def test_other_errors_come_through_at_once() -> None:
    """What will not change is not repeated."""
    errors: list[KernelError] = [NotPermitted("list")]
    with pytest.raises(NotPermitted):
        retry_transient(lambda: failing(errors), sleep=lambda _: pytest.fail("waited"))


def test_a_node_whose_interfaces_change_while_they_are_listed_is_prepared_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new node's network plugin makes interfaces while the agent starts."""
    kernel = new_kernel()
    errors: list[KernelError] = [DumpInterrupted("list interfaces")]
    listed = kernel.addresses.list_links

    def changing() -> list[Link]:
        failing(errors)
        return listed()

    monkeypatch.setattr(kernel.addresses, "list_links", changing)
    node = FakeNode(kernel)
    assert errors == []
    node.hear_all()
    assert "kube-ipvs0" in {link.name for link in listed()}
