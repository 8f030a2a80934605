"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.server import ApiServer
from ipvsagent.transient_errors import DELAYS_SECONDS
from support.api_cluster import running_server


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts: faults of these tests last for a number of operations, not for a time."""
    monkeypatch.setattr("ipvsagent.transient_errors.DELAYS_SECONDS", (0.0,) * len(DELAYS_SECONDS))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server with two Services."""
    with running_server() as running:
        yield running
