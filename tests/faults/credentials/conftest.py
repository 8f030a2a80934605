"""A server with TLS, and who issues its certificates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apiserver.certificates import Authority, Pair
from apiserver.server import ApiServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues the certificates of server and clients."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Pair:
    """The server's certificate."""
    return authority.issue("server", "IP:127.0.0.1,IP:::1,DNS:localhost,DNS:api.example")


@pytest.fixture
def server(authority: Authority, certificate: Pair) -> Iterator[ApiServer]:
    """A TLS server that asks clients for certificates and accepts everybody."""
    with ApiServer(certificate.both, client_authority=authority.certificate) as running:
        yield running
