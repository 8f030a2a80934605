"""Disable Python's garbage collector during bulk work.

Values are flat and frozen, so bulk work creates no cycles, but the collector would scan all of them again and again.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection inside the block, in all threads."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def without_garbage_collection_then_freeze() -> Iterator[None]:
    """As `without_garbage_collection`; objects that exist after the block are never scanned again."""
    with without_garbage_collection():
        try:
            yield
        finally:
            gc.freeze()
