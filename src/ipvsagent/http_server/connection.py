"""One client's connection: a small state machine over a non-blocking socket.

    READING ──complete request──> WRITING ──kept──> READING
                                     └──not kept──> LINGERING ──> closed

Lingering: after the last response the server waits a moment for the client to close, because closing a socket with
unread bytes resets the connection, and the client may lose the response.

A connection needs memory for one request head and a view of one response. While a client does not read its response,
the server reads no further request from it.
"""

from __future__ import annotations

import enum
import re
import selectors
import socket
from collections.abc import Callable
from http import HTTPStatus

from msgspec import Struct

from ipvsagent.http_server.http1 import BadRequest, Request, Response, head_of, parse_request, plain_error

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_BYTES = 16 << 10
_LINGER_BYTES = 64 << 10


class Limits(Struct, frozen=True):
    """Limits for clients.

    Args:
        head_bytes: longest request head.
        request_seconds: time from the connection or the last response to the end of a request's head.
        response_seconds: time for the client to read a response.
        linger_seconds: time for the client to close after the last response.
        connections: open connections of one endpoint; one more closes the oldest.
        all_connections: open connections of all endpoints of one server.
    """

    head_bytes: int = 16 << 10
    request_seconds: float = 10.0
    response_seconds: float = 30.0
    linger_seconds: float = 1.0
    connections: int = 100
    all_connections: int = 400


class State(enum.Enum):
    """What a connection is waiting for."""

    READING = enum.auto()
    WRITING = enum.auto()
    LINGERING = enum.auto()


class Connection:
    """A connection. Its owner calls `step` when the socket is ready, and closes the socket when `step` returns False.

    Args:
        answer: returns the response to a request; never raises.
        clock: monotonic seconds.
    """

    def __init__(
        self, sock: socket.socket, answer: Callable[[Request], Response], limits: Limits, clock: Callable[[], float]
    ) -> None:
        self.socket = sock
        self._answer = answer
        self._limits = limits
        self._clock = clock
        self._state = State.READING
        self._received = b""
        self._to_send: list[memoryview] = []
        self._keep = False
        self._lingered = 0
        self.deadline = clock() + limits.request_seconds

    @property
    def interest(self) -> int:
        """Return the selector events that the connection waits for."""
        return selectors.EVENT_WRITE if self._state is State.WRITING else selectors.EVENT_READ

    def step(self) -> bool:
        """Read and write without waiting; return whether the connection stays open."""
        try:
            if self._state is State.LINGERING:
                return self._linger()
            if self._state is State.READING and not self._read():
                return False
            return self._go_on()
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:  # reset by the client
            return False

    def _read(self) -> bool:
        """Read received bytes; return False if the client has closed."""
        chunk = self.socket.recv(_CHUNK_BYTES)
        self._received = (self._received + chunk).lstrip(b"\r\n") if not self._received else self._received + chunk
        return bool(chunk)

    def _go_on(self) -> bool:
        """Send responses and answer complete requests until the client must act."""
        while True:
            if not self._send():
                return True
            if self._state is State.WRITING and not self._sent():
                return True  # lingers
            if not self._respond():
                return True

    def _respond(self) -> bool:
        """Queue the response if a complete request was received."""
        end = _END_OF_HEAD.search(self._received)
        if (end.start() if end else len(self._received)) > self._limits.head_bytes:
            self._queue(plain_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), keep=False)
        elif end is None:
            return False
        else:
            head, more = self._received[: end.start()], self._received[end.end() :]
            self._received = b""
            try:
                request = parse_request(head)
            except BadRequest as error:
                self._queue(plain_error(error.status), keep=False)
            else:
                # A client that sends the next request before this response could keep the server busy in one step.
                self._queue(self._answer(request), keep=request.keep and not more, body=request.method != "HEAD")
        return True

    def _queue(self, response: Response, *, keep: bool, body: bool = True) -> None:
        self._to_send = [memoryview(head_of(response, keep=keep))]
        if body and response.body:
            self._to_send.append(memoryview(response.body))
        self._keep = keep
        self._state = State.WRITING
        self.deadline = self._clock() + self._limits.response_seconds

    def _send(self) -> bool:
        """Send as much as the socket accepts; return whether everything was sent."""
        while self._to_send:
            try:
                sent = self.socket.sendmsg(self._to_send)
            except (BlockingIOError, InterruptedError):
                return False
            while self._to_send and sent >= len(self._to_send[0]):
                sent -= len(self._to_send.pop(0))
            if sent:
                self._to_send[0] = self._to_send[0][sent:]
        return True

    def _sent(self) -> bool:
        """Wait for the next request or start to linger; return whether another request may follow."""
        if self._keep:
            self._state = State.READING
            self.deadline = self._clock() + self._limits.request_seconds
            return True
        self._received = b""
        self.socket.shutdown(socket.SHUT_WR)
        self._state = State.LINGERING
        self.deadline = self._clock() + self._limits.linger_seconds
        return False

    def _linger(self) -> bool:
        chunk = self.socket.recv(_CHUNK_BYTES)
        self._lingered += len(chunk)
        return bool(chunk) and self._lingered <= _LINGER_BYTES
