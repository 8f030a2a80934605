"""SOCKS 5 (RFC 1928, RFC 1929) as needed for `proxy-url: socks5://…`; the proxy resolves host names."""

from __future__ import annotations

import socket
from urllib.parse import unquote, urlsplit

from ipvsagent.source.client.secret import Secret

_DEFAULT_PORT = 1080
_NO_AUTHENTICATION, _PASSWORD = 0, 2


class SocksError(OSError):
    """The proxy did not connect; the text is the reason."""


def connect(proxy: Secret, host: str, port: int, timeout_seconds: float | None) -> socket.socket:
    """Connect to a host through a proxy.

    Raises:
        OSError: the connection failed.
    """
    parts = urlsplit(proxy.reveal())
    connection = socket.create_connection((parts.hostname or "", parts.port or _DEFAULT_PORT), timeout_seconds)
    try:
        _greet(connection, unquote(parts.username or "").encode(), unquote(parts.password or "").encode())
        _ask(connection, host, port)
    except BaseException:
        connection.close()
        raise
    return connection


def _greet(connection: socket.socket, user: bytes, password: bytes) -> None:
    methods = bytes([_NO_AUTHENTICATION, _PASSWORD] if user else [_NO_AUTHENTICATION])
    connection.sendall(bytes([5, len(methods)]) + methods)
    version, method = _receive(connection, 2)
    if version != 5 or method not in methods:
        raise SocksError("the SOCKS proxy accepts none of the authentication methods")
    if method == _PASSWORD:
        if len(user) > 255 or len(password) > 255:
            raise SocksError("the user or password of the SOCKS proxy is longer than 255 bytes")
        connection.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if _receive(connection, 2)[1] != 0:
            raise SocksError("the SOCKS proxy refuses the user and password")


def _ask(connection: socket.socket, host: str, port: int) -> None:
    name = host.encode("idna") if not host.isascii() else host.encode()
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 4)):
        try:
            address = bytes([kind]) + socket.inet_pton(family, host)
            break
        except OSError:
            continue
    else:
        if len(name) > 255:
            raise SocksError("the host name is longer than 255 bytes")
        address = bytes([3, len(name)]) + name
    connection.sendall(b"\x05\x01\x00" + address + port.to_bytes(2, "big"))
    _, reply, _, kind = _receive(connection, 4)
    if reply != 0:
        raise SocksError(f"the SOCKS proxy did not connect (reply {reply})")
    length = {1: 4, 4: 16}.get(kind) or _receive(connection, 1)[0]
    _receive(connection, length + 2)


def _receive(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        more = connection.recv(length - len(content))
        if not more:
            raise SocksError("the SOCKS proxy ended the connection")
        content += more
    return content
