"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.server import ApiServer
from support.api_cluster import running_server


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server with two Services."""
    with running_server() as running:
        yield running
