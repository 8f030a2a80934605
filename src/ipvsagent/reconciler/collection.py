"""Keeping Python's garbage collector off the hot path of bulk work."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Make no look for cycles inside the block; what lives after it is never looked through again.

    Values are flat and frozen, so bulk work leaves no cycles, and the collector would walk all of them again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
