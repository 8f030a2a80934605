"""Tests on this machine's own kernel, each in a network namespace of its own; root only.

What needs IPVS or a dummy interface is in `tests/kernel`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter_new_namespace() -> bool:
    status: int = _libc.unshare(_CLONE_NEWNET)
    return status == 0


def _return_to(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _namespaces_work() -> bool:
    if os.geteuid():
        return False
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if not _enter_new_namespace():
            return False
        _return_to(home)
    finally:
        os.close(home)
    return True


_CAN_RUN = _namespaces_work()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the tests of this folder out where they cannot run."""
    return None if _CAN_RUN or collection_path.name == "conftest.py" else True


@pytest.fixture
def network_namespace() -> Iterator[None]:
    """A fresh network namespace for this thread and the programs it starts."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert _enter_new_namespace()
        yield
        _return_to(home)
    finally:
        os.close(home)
