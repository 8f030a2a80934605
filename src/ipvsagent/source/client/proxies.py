"""The proxy for the API server: `proxy-url` of the kubeconfig, or the environment as Go reads it.

Python's own rules differ: they follow `ALL_PROXY`, send loopback addresses through the proxy, and know neither CIDRs
nor ports in `NO_PROXY`.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from ipvsagent.errors import SourceError
from ipvsagent.source.client.secret import Secret

_DEFAULT_PORTS = {"http": 80, "https": 443}
_CONFIGURED_SCHEMES = ("http", "https", "socks5")
_SCHEMES = (*_CONFIGURED_SCHEMES, "socks5h")


def configured_proxy(url: Secret) -> Secret:
    """Check the `proxy-url` of a kubeconfig.

    Raises:
        SourceError: it is not the URL of a proxy.
    """
    parts = _split(url.reveal())
    if parts is None or parts.scheme not in _CONFIGURED_SCHEMES or not parts.hostname:
        raise SourceError("`proxy-url` is not a URL with a host and the scheme http, https or socks5")
    return url


def environment_proxy(server: str, variable: Callable[[str], str]) -> Secret | None:
    """Return the environment's proxy for a server; None to connect directly.

    Args:
        variable: returns the value of an environment variable; empty if it is not set.

    Raises:
        SourceError: the variable is not the URL of a proxy.
    """
    target = urlsplit(server)
    name = "HTTPS_PROXY" if target.scheme == "https" else "HTTP_PROXY"
    text = variable(name) or variable(name.lower())
    no_proxy = variable("NO_PROXY") or variable("no_proxy")
    port = target.port or _DEFAULT_PORTS[target.scheme]
    if not text or _is_exempt((target.hostname or "").rstrip("."), port, no_proxy):
        return None
    if "://" not in text:
        text = f"http://{text}"
    parts = _split(text)
    if parts is None or parts.scheme not in _SCHEMES or not parts.hostname:
        raise SourceError(f"${name} is not the URL of a proxy (scheme http, https, socks5 or socks5h)")
    return Secret(text)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether a host is reached without a proxy; loopback always is."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(p.strip().lower(), host, port) for p in no_proxy.split(",") if p.strip())


def _matches(pattern: str, host: str, port: int) -> bool:
    """Return whether one part of `NO_PROXY` matches a host: `*`, CIDR, or address, name or suffix, maybe with port."""
    if pattern == "*":
        return True
    address = _address(host)
    if "/" in pattern:
        with contextlib.suppress(ValueError):
            network = ipaddress.ip_network(pattern, strict=False)
            return address is not None and address in network
    name, only_port = _host_and_port(pattern)
    if not name or (only_port and only_port != str(port)):
        return False
    wanted = _address(name)
    if wanted is not None or address is not None:
        return wanted == address
    name = name.removeprefix("*") if name.startswith("*.") else name
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _host_and_port(pattern: str) -> tuple[str, str]:
    if pattern.startswith("["):
        host, _, port = pattern[1:].partition("]")
        return host, port.removeprefix(":")
    if pattern.count(":") == 1:
        host, _, port = pattern.partition(":")
        return host, port
    return pattern, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
