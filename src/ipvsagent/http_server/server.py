"""A bounded HTTP server: one thread, any number of listening sockets, a fixed number of clients.

Clients cannot block it or make it grow: every wait has a deadline, the length of a request head is limited, and when
the limit of connections is reached, a new connection closes the oldest. So idle connections do not lock out a client
that sends its request immediately.

The endpoints are a mapping that other threads replace as a whole; the server opens and closes only the sockets that
differ. A socket that cannot be opened is retried every five seconds (HC-06, HC-12, HC-26).
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from http import HTTPStatus

from ipvsagent.http_server.connection import Connection, Limits
from ipvsagent.http_server.http1 import Request, Response, plain_error
from ipvsagent.http_server.listeners import Endpoint, Listeners
from ipvsagent.log import Logger

RETRY_SECONDS = 5.0
_ACCEPTED_AT_ONCE = 32
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_SHORTAGE_PAUSE_SECONDS = 0.1


class HttpServer:
    """Serves endpoints in a separate thread.

    Args:
        name: the thread's name.
        report: called with an endpoint whose sockets cannot be opened, and the reason, whenever the reason changes.
        retry_seconds: time until a socket that could not be opened is retried.
    """

    def __init__(
        self,
        name: str,
        log: Logger,
        *,
        limits: Limits | None = None,
        report: Callable[[Hashable, str], None] = lambda _key, _reason: None,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._limits = limits or Limits()
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._listeners = Listeners(self._selector, log, report=report, retry_seconds=retry_seconds, clock=clock)
        self._connections: dict[Connection, Hashable] = {}  # with the endpoint's key; oldest first
        self._wanted: deque[Mapping[Hashable, Endpoint]] = deque(maxlen=1)  # its methods are atomic
        self._stopping = False
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    # -- called by other threads -------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the sockets of the current endpoints and start the thread; `failures` has those that failed."""
        self._take_wanted()
        self._thread.start()

    def stop(self) -> None:
        """Close all sockets and end the thread."""
        self._stopping = True
        if self._thread.is_alive():
            self._wake()
            self._thread.join()
        self._close()

    def serve(self, wanted: Mapping[Hashable, Endpoint]) -> None:
        """Replace the endpoints, without waiting.

        Args:
            wanted: must not be changed later.
        """
        self._wanted.append(wanted)
        self._wake()

    @property
    def listening(self) -> Mapping[Hashable, tuple[tuple[str, int], ...]]:
        """Return the addresses and ports of the sockets that are open now, by endpoint."""
        return self._listeners.names

    @property
    def failures(self) -> Mapping[Hashable, str]:
        """Return why sockets could not be opened, by endpoint."""
        return self._listeners.failures

    @property
    def connections(self) -> int:
        """Return number of open connections."""
        return len(self._connections)

    # -- the server's thread -----------------------------------------------------------------------------------

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_writer, b"!")

    def _work(self) -> None:
        while not self._stopping:
            self._take_wanted()
            self._listeners.retry()
            for key, _ in self._selector.select(self._wait_seconds()):
                if key.data is None:
                    os.read(self._wake_reader, 4096)
                elif isinstance(key.data, Connection):
                    self._step(key.data)
                else:
                    self._accept(key.data, key.fileobj)
            self._close_overdue()

    def _take_wanted(self) -> None:
        if self._wanted:
            self._listeners.replace(self._wanted.popleft())

    def _wait_seconds(self) -> float | None:
        times = [c.deadline for c in self._connections]
        retry = self._listeners.next_retry
        if retry is not None:
            times.append(retry)
        return max(0.0, min(times) - self._clock()) if times else None

    def _close_overdue(self) -> None:
        now = self._clock()
        for connection in [c for c in self._connections if c.deadline <= now]:
            self._drop(connection)

    def _accept(self, key: Hashable, listener: object) -> None:
        if not isinstance(listener, socket.socket) or listener.fileno() < 0:
            return  # closed since it was found ready
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._not_accepted(error)
                return
            self._make_room(key)
            sock.setblocking(False)
            connection = Connection(sock, lambda request: self._answer(key, request), self._limits, self._clock)
            self._connections[connection] = key
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _not_accepted(self, error: OSError) -> None:
        """If descriptors or memory ran out, close a connection, or pause: the listener stays ready."""
        if error.errno not in _SHORTAGES:
            return  # the client has disconnected
        oldest = next(iter(self._connections), None)
        if oldest is not None:
            self._evict(oldest)
        else:
            self._log.warning("connection not accepted", error=error.strerror)
            time.sleep(_SHORTAGE_PAUSE_SECONDS)

    def _make_room(self, key: Hashable) -> None:
        own = [c for c, k in self._connections.items() if k == key]
        if len(own) >= self._limits.connections:
            self._evict(own[0])
        elif len(self._connections) >= self._limits.all_connections:
            self._evict(next(iter(self._connections)))

    def _evict(self, connection: Connection) -> None:
        """Close a connection; first answer a request that was received, if that needs no waiting."""
        connection.step()
        self._drop(connection)

    def _step(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # dropped since it was found ready
        before = connection.interest
        if not connection.step():
            self._drop(connection)
        elif connection.interest != before:
            self._selector.modify(connection.socket, connection.interest, connection)

    def _answer(self, key: Hashable, request: Request) -> Response:
        handler = self._listeners.handler(key)
        if handler is None:  # the endpoint was removed, but a connection to it is still open
            return plain_error(HTTPStatus.NOT_FOUND)
        try:
            return handler(request)
        except Exception as error:  # noqa: BLE001 - one failed handler must not end the server
            self._log.error("request not answered", path=request.path, error=repr(error))
            return plain_error(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection]
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _close(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)
        self._listeners.replace({})
        if self._wake_reader >= 0:
            self._selector.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._wake_reader = -1
