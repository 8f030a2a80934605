"""One suite a driver, run on the fake and on the real kernel.

On a machine of its own it runs on the fake and, as root, on the real kernel, all but IPVS and dummy interfaces. In a
guest (`make test-kernel`) it runs on the real kernel alone; there one family of the rules will do, since starting
programs is what takes time under emulation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from contract.firewall import Firewall
from contract.hosts import FakeHost, Host, RealHost, namespaces_work
from guests import NATIVE_MARK, NFT_MARK
from ipvsagent.model.address import Family

_EVERY_FIREWALL = [f"{variant}-{family.label}" for variant in ("fake", "legacy", "nft") for family in Family]


def _places() -> dict[str, list[Any]]:
    """Where the tests that ask for a fixture run."""
    if "IN_GUEST" in os.environ:
        firewalls = [
            pytest.param("legacy-IPv4", marks=NATIVE_MARK),
            pytest.param("nft-IPv4", marks=[NFT_MARK, NATIVE_MARK]),
        ]
        return {"host": ["real"], "ipvs_host": ["real"], "firewall": firewalls}
    if namespaces_work():
        return {"host": ["fake", "real"], "ipvs_host": ["fake"], "firewall": _EVERY_FIREWALL}
    return {"host": ["fake"], "ipvs_host": ["fake"], "firewall": [f for f in _EVERY_FIREWALL if f.startswith("fake")]}


_PLACES = _places()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each host that has what it needs."""
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
