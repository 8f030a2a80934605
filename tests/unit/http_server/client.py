"""A client over plain sockets, and a server on this host to ask."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from lab.speed import scaled

from ipvsagent.http_server.connection import Limits
from ipvsagent.http_server.http1 import Handler, Request, Response, text_response
from ipvsagent.http_server.listeners import Endpoint, Listen
from ipvsagent.http_server.server import HttpServer
from support.fake_node import SilentLogger
from support.waiting import wait_until

PATIENCE_SECONDS = scaled(20.0)
GET = b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"


def hello(request: Request) -> Response:
    """Answer with the method and path."""
    return text_response(200, f"{request.method} {request.path}")


def at(port: int, text: str = "127.0.0.1") -> Listen:
    """Where a server of these tests listens; port 0 lets the kernel choose."""
    return Listen(text, port)


@contextmanager
def running(
    handler: Handler = hello, *, limits: Limits | None = None, log: SilentLogger | None = None
) -> Iterator[tuple[HttpServer, int]]:
    """A server with one endpoint, and its port."""
    server = HttpServer("test", log or SilentLogger(), limits=limits)
    server.start()
    try:
        server.serve({"test": Endpoint("test", (at(0),), handler)})
        yield server, port_of(server, "test")
    finally:
        server.stop()


def port_of(server: HttpServer, key: Hashable) -> int:
    """The port of an endpoint's first socket, once it is open."""
    wait_until(lambda: server.listening.get(key), f"{key} listens")
    return server.listening[key][0][1]


def taken_port() -> tuple[socket.socket, int]:
    """A port that somebody else listens on."""
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    """An open connection."""
    return socket.create_connection((host, port), timeout=PATIENCE_SECONDS)


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the server's end; a reset counts as the end."""
    received = b""
    try:
        while chunk := sock.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def ask(port: int, request: bytes = GET, host: str = "127.0.0.1") -> bytes:
    """Send bytes, answer all that comes back."""
    with connect(port, host) as sock:
        sock.sendall(request)
        return read_all(sock)


def status_of(answer: bytes) -> int:
    """The status code of a response."""
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    """The body of a response."""
    return answer.partition(b"\r\n\r\n")[2]


def headers_of(answer: bytes) -> dict[str, str]:
    """The headers of a response."""
    lines = answer.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}
