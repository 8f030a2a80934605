"""Which proxy leads to a server, by Go's rules."""

from __future__ import annotations

import pytest

from ipvsagent.errors import SourceError
from ipvsagent.source.client.proxies import environment_proxy

SERVERS = [
    # server, NO_PROXY, whether the proxy is used
    ("https://api.example", "", True),
    ("https://localhost:6443", "", False),
    ("https://127.0.0.53", "", False),
    ("https://[::1]:6443", "", False),
    ("https://api.example", "*", False),
    ("https://api.example", " Example ,", False),
    ("https://api.example", "example", False),
    ("https://api.example", ".example", False),
    ("https://api.example", "*.example", False),
    ("https://example", "*.example", True),
    ("https://example", ".example", True),
    ("https://badexample", "example", True),
    ("https://api.example", "api.example:443", False),
    ("https://api.example:6443", "api.example:443", True),
    ("https://10.96.0.1", "10.0.0.0/8", False),
    ("https://11.96.0.1", "10.0.0.0/8", True),
    ("https://10.96.0.1", "10.96.0.1", False),
    ("https://10.96.0.1:6443", "10.96.0.1:443", True),
    ("https://10.96.0.1", "96.0.1", True),
    ("https://[fd00::1]", "fd00::/8", False),
    ("https://[fd00::1]", "fd00:0::1", False),
    ("https://[fd00::1]:6443", "[fd00::1]:6443", False),
    ("https://[fd00::1]", "10.0.0.0/8", True),
    ("https://api.example", "/,:,[", True),
]


@pytest.mark.parametrize(("server", "no_proxy", "used"), SERVERS)
def test_servers_that_are_reached_without_the_proxy(server: str, no_proxy: str, used: bool) -> None:
    """Loopback addresses always; others by name, suffix, address, CIDR and port."""
    environment = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy}
    proxy = environment_proxy(server, lambda name: environment.get(name, ""))
    assert (proxy.reveal() if proxy else "") == ("http://proxy:3128" if used else "")


VARIABLES = [
    ("https://a.example", {"HTTPS_PROXY": "http://p"}, "http://p"),
    ("https://a.example", {"https_proxy": "http://p"}, "http://p"),
    ("https://a.example", {"HTTPS_PROXY": "http://p", "https_proxy": "http://q"}, "http://p"),
    ("https://a.example", {"HTTP_PROXY": "http://p", "ALL_PROXY": "http://q", "all_proxy": "http://q"}, ""),
    ("http://a.example", {"HTTP_PROXY": "http://p", "HTTPS_PROXY": "http://q"}, "http://p"),
    ("https://a.example", {"HTTPS_PROXY": "p:80"}, "http://p:80"),
    ("https://a.example", {"HTTPS_PROXY": "p"}, "http://p"),
    ("https://a.example", {"HTTPS_PROXY": "socks5h://p:1080"}, "socks5h://p:1080"),
    ("https://a.example", {"HTTPS_PROXY": "http://p", "no_proxy": "a.example"}, ""),
]


@pytest.mark.parametrize(("server", "environment", "expected"), VARIABLES)
def test_variables(server: str, environment: dict[str, str], expected: str) -> None:
    """By the server's scheme; upper case first; `ALL_PROXY` means nothing."""
    proxy = environment_proxy(server, lambda name: environment.get(name, ""))
    assert (proxy.reveal() if proxy else "") == expected


@pytest.mark.parametrize("text", ["ftp://p", "http://:80", "http://p:x", "socks4://p"])
def test_variables_that_name_no_proxy(text: str) -> None:
    """An error that names the variable and hides its value."""
    with pytest.raises(SourceError, match=r"^\$HTTPS_PROXY is not the URL of a proxy") as caught:
        environment_proxy("https://a.example", lambda name: text if name == "HTTPS_PROXY" else "")
    assert text not in str(caught.value)
