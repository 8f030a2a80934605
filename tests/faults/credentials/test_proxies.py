"""Access through a proxy, by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from apiserver.certificates import Authority
from apiserver.proxy import Proxy
from apiserver.server import ApiServer
from faults.credentials.client import Client, reason, trusting, write


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_of_the_kubeconfig(server: ApiServer, authority: Authority, tmp_path: Path, scheme: str) -> None:
    """It is used for loopback addresses, too, and whatever `NO_PROXY` says; names are resolved by the proxy."""
    with Proxy(server.port) as proxy:
        for user, host in (("", "api.example"), ("ada:p%40w@", "127.0.0.1")):
            url = f"{scheme}://{user}127.0.0.1:{proxy.port}"
            cluster = trusting(server, authority) | {"server": f"https://{host}:6443", "proxy-url": url}
            client = Client(server, write(tmp_path / "k", cluster), environment={"NO_PROXY": "*"})
            assert client.ask() == 200
            client.close()
    credentials = {"http": base64.b64encode(b"ada:p@w").decode(), "socks5": "ada:p@w"}[scheme]
    assert proxy.asked == ["api.example:6443", f"127.0.0.1:6443 {credentials}"]


def test_a_proxy_of_the_environment(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """`HTTPS_PROXY` is for https; its scheme may be left out."""
    cluster = trusting(server, authority) | {"server": "https://api.example:6443"}
    with Proxy(server.port) as proxy:
        for environment in (
            {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"},
            {"https_proxy": f"127.0.0.1:{proxy.port}", "HTTP_PROXY": "http://192.0.2.1"},
        ):
            client = Client(server, write(tmp_path / "k", cluster), environment=environment)
            assert client.ask() == 200
            client.close()
    assert proxy.asked == ["api.example:6443", "api.example:6443"]


def test_loopback_servers_and_all_proxy(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Loopback is reached directly, and `ALL_PROXY` means nothing."""
    nowhere = "http://127.0.0.1:1"
    environment = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), nowhere)
    assert Client(server, write(tmp_path / "k", trusting(server, authority)), environment=environment).ask() == 200


def test_a_proxy_that_refuses(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """The message has its status, not its text."""
    with Proxy(server.port, refuse_with="407 marker-of-the-proxy") as proxy:
        cluster = trusting(server, authority, **{"proxy-url": f"http://ada:secret@127.0.0.1:{proxy.port}"})
        text = reason(server, write(tmp_path / "k", cluster))
    assert text == f"API server {server.url}: the proxy did not connect: it answers 407"


@pytest.mark.parametrize("url", ["ftp://p", "socks4://p", "p:80", "http://", "http://p:x", "//p"])
def test_proxy_urls_that_cannot_be_used(server: ApiServer, authority: Authority, tmp_path: Path, url: str) -> None:
    """An error at start that does not show the URL."""
    cluster = trusting(server, authority, **{"proxy-url": url})
    text = reason(server, write(tmp_path / "k", cluster))
    assert "cluster `c`: `proxy-url` is not a URL with a host and the scheme http, https or socks5" in text
