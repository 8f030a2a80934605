"""Keeping Python's garbage collector off the hot path of bulk work.

Values are flat and frozen, so bulk work leaves no cycles, and the collector would walk all of them again and again.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Make no look for cycles inside the block, in any thread."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def spared_by_collections() -> Iterator[None]:
    """As `without_collections`; and what lives after the block is never looked through again."""
    with without_collections():
        try:
            yield
        finally:
            gc.freeze()
