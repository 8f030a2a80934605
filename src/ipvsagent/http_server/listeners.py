"""Listening sockets by endpoint: only differences are opened and closed.

An endpoint has all of its sockets or none (HC-12).
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable, Hashable, Mapping

from msgspec import Struct

from ipvsagent.http_server.http1 import Handler
from ipvsagent.log import Logger

_BACKLOG = 1024  # if a burst overflows it, clients retry after a second
_ANY_IPV4, _ANY_IPV6 = "0.0.0.0", "::"


class Listen(Struct, frozen=True):
    """An address and port to listen on.

    Args:
        address: an IP address as text; ``0.0.0.0`` or ``::`` for all addresses of its family.
        both_families: whether ``0.0.0.0`` and ``::`` stand for the addresses of both families, if the host has IPv6.
    """

    address: str
    port: int
    both_families: bool = False

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Endpoint(Struct, frozen=True):
    """The addresses to serve, and the handler for their requests.

    Args:
        name: for logs.
    """

    name: str
    listen: tuple[Listen, ...]
    handler: Handler


class Listeners:
    """Opens and closes the sockets of endpoints; only the server's thread uses it.

    Attributes:
        names: addresses and ports of the open sockets, by endpoint; replaced as a whole, so other threads may read it.
        failures: the reasons for endpoints without sockets; replaced as a whole as well.
        next_retry: when endpoints that failed are tried again, in the clock's seconds; None if there is none.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        log: Logger,
        *,
        report: Callable[[Hashable, str], None],
        retry_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._selector = selector
        self._log = log
        self._report = report
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._wanted: Mapping[Hashable, Endpoint] = {}
        self._open: dict[Hashable, dict[Listen, socket.socket]] = {}
        self.names: Mapping[Hashable, tuple[tuple[str, int], ...]] = {}
        self.failures: Mapping[Hashable, str] = {}
        self.next_retry: float | None = None

    def handler(self, key: Hashable) -> Handler | None:
        """Return the handler of an endpoint; None if the endpoint was removed."""
        endpoint = self._wanted.get(key)
        return endpoint.handler if endpoint else None

    def replace(self, wanted: Mapping[Hashable, Endpoint]) -> None:
        """Replace the endpoints: close the sockets that are no longer wanted, then open the new ones."""
        before, self._wanted = self._wanted, wanted
        for key, sockets in list(self._open.items()):
            kept = wanted[key].listen if key in wanted else ()
            for listen in [item for item in sockets if item not in kept]:
                self._close(sockets.pop(listen))
            if key not in wanted:
                del self._open[key]
        self.failures = {key: reason for key, reason in self.failures.items() if key in wanted}
        changed = [k for k, e in wanted.items() if k not in before or before[k].listen != e.listen]
        self._open_all(changed)

    def retry(self) -> None:
        """Retry the endpoints that failed, if it is time."""
        if self.next_retry is not None and self._clock() >= self.next_retry:
            self.next_retry = None
            self._open_all(list(self.failures))

    def _open_all(self, keys: list[Hashable]) -> None:
        failures = dict(self.failures)
        for key in keys:
            endpoint = self._wanted[key]
            reason = self._open_endpoint(key, endpoint)
            if reason and failures.get(key) != reason:
                self._log.warning("not listening, will be retried", endpoint=endpoint.name, reason=reason)
                self._report(key, reason)
            elif not reason and failures.pop(key, ""):
                self._log.info("listening after a failure", endpoint=endpoint.name)
            if reason:
                failures[key] = reason
        self.failures = failures
        self.names = {k: tuple(s.getsockname()[:2] for s in sockets.values()) for k, sockets in self._open.items()}
        if not failures:
            self.next_retry = None
        elif self.next_retry is None:
            self.next_retry = self._clock() + self._retry_seconds

    def _open_endpoint(self, key: Hashable, endpoint: Endpoint) -> str:
        """Open an endpoint's missing sockets. If one fails, close all of them and return the reason; else return ""."""
        sockets = self._open.setdefault(key, {})
        for listen in endpoint.listen:
            if listen in sockets:
                continue
            try:
                sock = open_listener(listen)
            except OSError as error:
                for opened in sockets.values():
                    self._close(opened)
                del self._open[key]
                return f"{listen}: {error.strerror or error}"
            sockets[listen] = sock
            self._selector.register(sock, selectors.EVENT_READ, key)
        return ""

    def _close(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        sock.close()


def open_listener(listen: Listen) -> socket.socket:
    """Open a non-blocking listening socket.

    Raises:
        OSError: the address or port is unavailable.
    """
    if listen.both_families and listen.address in (_ANY_IPV4, _ANY_IPV6):
        try:
            return _listen(_ANY_IPV6, listen.port, only_ipv6=False)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
    return _listen(listen.address, listen.port, only_ipv6=True)


def _listen(address: str, port: int, *, only_ipv6: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_ipv6))
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
