"""Bulk work without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from ipvsagent.garbage_collection import without_garbage_collection, without_garbage_collection_then_freeze

Quiet = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector, switched on, and as it was afterwards."""
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    gc.unfreeze()
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize("quiet", [without_garbage_collection, without_garbage_collection_then_freeze])
def test_it_is_on_again_after_bulk_work_that_failed(quiet: Quiet) -> None:
    """Whatever happens inside the block."""
    with pytest.raises(ValueError, match="False"), quiet():
        raise ValueError(gc.isenabled())
    assert gc.isenabled()


def test_blocks_of_two_threads_may_overlap_in_any_order() -> None:
    """A list is decoded while another thread synchronises; in the end it is on."""
    first, second = without_garbage_collection(), without_garbage_collection_then_freeze()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_what_a_first_synchronisation_leaves_is_not_looked_through_again() -> None:
    """What a list leaves is: it may be replaced by the next one."""
    gc.unfreeze()
    with without_garbage_collection():
        pass
    assert not gc.get_freeze_count()
    with without_garbage_collection_then_freeze():
        pass
    assert gc.get_freeze_count()
