"""One suite a driver, run on the fake and on the real kernel.

On the fake it always runs. In a guest all of it runs on the real kernel, too (`make test-kernel`); on another machine,
as root, all but IPVS and dummy interfaces does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # `lab` is a folder of the repository, not of the package

from contract.firewall import Firewall
from contract.hosts import FakeHost, Host, RealHost, namespaces_work
from ipvsagent.model.address import Family

_GUEST = os.environ.get("IN_GUEST", "")
_REAL = ["real"] if _GUEST or namespaces_work() else []
_VARIANTS = (["legacy"] if _GUEST == "uml" else ["legacy", "nft"]) if _REAL else []

_PLACES = {
    "host": ["fake", *_REAL],
    "ipvs_host": ["fake", *(["real"] if _GUEST else [])],
    "firewall": [f"{variant}-{family.label}" for variant in ("fake", *_VARIANTS) for family in Family],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test everywhere where what it asks for can be had."""
    for fixture, places in _PLACES.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, places, indirect=True)


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A kernel that need not have IPVS or dummy interfaces."""
    yield from _open(request.param)


@pytest.fixture
def ipvs_host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A kernel that has IPVS and dummy interfaces."""
    yield from _open(request.param)


@pytest.fixture
def firewall(request: pytest.FixtureRequest) -> Iterator[Firewall]:
    """One family's rules in one variant, and the sets that the suite's rules match."""
    variant, label = request.param.split("-")
    opened: Host = FakeHost() if variant == "fake" else RealHost(variant)
    yield Firewall(opened, next(f for f in Family if f.label == label))
    opened.close()


def _open(place: str) -> Iterator[Host]:
    opened: Host = FakeHost() if place == "fake" else RealHost()
    yield opened
    opened.close()
