"""Connections of `urllib3` with the parameters of `source.client.access`: TLS, HTTP and SOCKS proxies."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ipvsagent.source.client import socks
from ipvsagent.source.client.access import Connection
from ipvsagent.source.client.secret import Secret
from ipvsagent.source.client.tls import client_context


def open_pool(
    connection: Connection, *, options: Sequence[tuple[int, int, int]], most_connections: int
) -> urllib3.PoolManager:
    """Return a connection pool; this does not connect yet.

    Raises:
        SourceError: the authorities or the client certificate are not valid.
    """
    settings: dict[str, Any] = {"socket_options": list(options), "maxsize": most_connections}
    if connection.url.startswith("https://"):
        settings["ssl_context"] = client_context(connection)
        if connection.server_name:
            settings["server_hostname"] = connection.server_name
        if not connection.verify:  # the configuration requests it
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if connection.proxy is None:
        return urllib3.PoolManager(**settings)
    if urlsplit(connection.proxy.reveal()).scheme.startswith("socks5"):
        return _through_socks(connection.proxy, settings)
    return _through_http(connection, connection.proxy, settings)


def _through_http(connection: Connection, proxy: Secret, settings: dict[str, Any]) -> urllib3.PoolManager:
    parts = urlsplit(proxy.reveal())
    headers = {}
    if parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=words)
    if parts.scheme == "https":
        settings["proxy_ssl_context"] = client_context(connection)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(address, proxy_headers=headers, **settings)


def _through_socks(proxy: Secret, settings: dict[str, Any]) -> urllib3.PoolManager:
    """Return a pool whose connections go through the SOCKS proxy."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect_by_socks(self, proxy)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect_by_socks(self, proxy)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    pool = urllib3.PoolManager(**settings)
    pool.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return pool


def _connect_by_socks(connection: HTTPConnection, proxy: Secret) -> socket.socket:
    seconds = connection.timeout if isinstance(connection.timeout, int | float) else None
    try:
        made = socks.connect(proxy, connection.host.strip("[]"), connection.port, seconds)
        for option in connection.socket_options or ():
            made.setsockopt(*option)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "the SOCKS proxy does not answer") from error
    except OSError as error:
        raise NewConnectionError(connection, "the SOCKS proxy did not connect") from error
    return made
