"""The server over real sockets: ordinary clients, and hostile ones that must not harm it."""

from __future__ import annotations

import errno
import select
import socket
import threading

import pytest
from lab.speed import scaled

from ipvsagent.http_server.connection import Limits
from ipvsagent.http_server.http1 import Handler, Request, Response, text_response
from ipvsagent.http_server.listeners import Endpoint
from ipvsagent.http_server.server import HttpServer
from support.fake_node import SilentLogger
from support.waiting import wait_until
from unit.http_server.client import (
    GET,
    ask,
    at,
    body_of,
    connect,
    headers_of,
    port_of,
    read_all,
    running,
    status_of,
)


def saying(text: str) -> Handler:
    """A handler that always says the same."""
    return lambda _: text_response(200, text)


SHORT = Limits(request_seconds=scaled(0.4), response_seconds=scaled(0.4), linger_seconds=scaled(0.4))


def test_a_request_is_answered_and_the_connection_ends_when_asked_to() -> None:
    """HC-13: a plain probe."""
    with running() as (_, port):
        answer = ask(port, b"GET /any?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert headers_of(answer)["Content-Length"] == "8"
    assert body_of(answer) == b"GET /any"


def test_a_head_request_gets_the_length_and_no_body() -> None:
    """HC-01: HEAD is GET without a body."""
    with running() as (_, port):
        answer = ask(port, GET.replace(b"GET", b"HEAD"))
    assert headers_of(answer)["Content-Length"] == "6"
    assert body_of(answer) == b""


def test_a_connection_serves_request_after_request() -> None:
    """HC-20: a scraper keeps its connection."""
    with running() as (server, port), connect(port) as sock:
        for _ in range(3):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = sock.recv(4096)
            assert body_of(answer) == b"GET /"
            assert "Connection" not in headers_of(answer)
        assert server.connections == 1


def test_a_request_in_small_pieces_is_put_together() -> None:
    """HC-13: TCP has no messages."""
    with running() as (_, port), connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET:
            sock.send(bytes([byte]))
        assert body_of(read_all(sock)) == b"GET /"


def test_a_body_is_not_waited_for_and_does_not_cost_the_answer() -> None:
    """HC-13: any method; what is left unread must not reset the connection before the answer is read."""
    with running() as (_, port):
        answer = ask(port, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30000)
    assert body_of(answer) == b"POST /x"


def test_requests_sent_before_the_answer_are_not_worked_off_in_one_go() -> None:
    """HC-20: one client cannot keep the server busy with thousands of requests in one packet."""
    with running() as (_, port):
        answer = ask(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert headers_of(answer)["Connection"] == "close"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 100_000, 431),
    ],
)
def test_a_bad_request_gets_its_error_and_the_next_client_its_answer(request_bytes: bytes, status: int) -> None:
    """HC-06: heads end at 16 KiB; nothing that one client sends is felt by the next."""
    with running() as (server, port):
        assert status_of(ask(port, request_bytes)) == status
        assert status_of(ask(port)) == 200
        wait_until(lambda: server.connections == 0, "all connections are closed")


def test_whoever_sends_slowly_is_cut_off() -> None:
    """HC-06: the time for a request counts from its beginning, not from its last byte."""
    with running(limits=SHORT) as (server, port), connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012 - whichever write meets the end
            while True:
                sock.sendall(b"X: y\r\n")
                threading.Event().wait(0.01)
        wait_until(lambda: server.connections == 0, "the connection is closed")
        assert status_of(ask(port)) == 200


def test_whoever_does_not_read_the_answer_is_cut_off_and_delays_nobody() -> None:
    """HC-20: a response that is not read is discarded."""
    large = Response(200, (), b"x" * (32 << 20))
    with running(lambda r: large if r.path == "/large" else text_response(200, "ok"), limits=SHORT) as (server, port):
        with connect(port) as sock:
            sock.sendall(GET.replace(b"/ ", b"/large "))
            assert status_of(ask(port)) == 200
            wait_until(lambda: server.connections == 0, "the connection is closed")
        assert status_of(ask(port)) == 200


def test_a_large_answer_arrives_whole() -> None:
    """HC-20: metrics of ten thousand Services are some megabytes."""
    with running(lambda _: Response(200, (), b"0123456789" * 500_000)) as (_, port):
        assert body_of(ask(port)) == b"0123456789" * 500_000


def test_a_thousand_idle_connections_neither_pile_up_nor_shut_anybody_out() -> None:
    """HC-06: at most 100 at a time; the oldest makes room."""
    with running() as (server, port):
        before = threading.active_count()
        idle = []
        try:
            for _ in range(1000):
                idle.append(connect(port))
                assert server.connections <= 100
            assert status_of(ask(port)) == 200
            assert threading.active_count() == before
        finally:
            for sock in idle:
                sock.close()
        wait_until(lambda: server.connections == 0, "all connections are closed")


def test_clients_of_one_endpoint_leave_room_for_another() -> None:
    """HC-10: a flood of a health check port is not felt on the health server."""
    server = HttpServer("test", SilentLogger(), limits=Limits(connections=3, all_connections=100))
    server.start()
    try:
        server.serve({n: Endpoint(n, (at(0),), saying(n)) for n in ("a", "b")})
        with connect(port_of(server, "b")) as kept:
            flood = [connect(port_of(server, "a")) for _ in range(10)]
            wait_until(lambda: server.connections == 4, "the flood is cut to three")
            kept.sendall(GET)
            assert body_of(read_all(kept)) == b"b"
            for sock in flood:
                sock.close()
    finally:
        server.stop()


def test_the_number_of_all_connections_is_bounded() -> None:
    """HC-10: a thousand Services with a health check port each do not multiply what clients may use."""
    server = HttpServer("test", SilentLogger(), limits=Limits(connections=5, all_connections=8))
    server.start()
    try:
        server.serve({n: Endpoint(str(n), (at(0),), lambda _: text_response(200, "ok")) for n in range(4)})
        held = [connect(port_of(server, n % 4)) for n in range(20)]
        # What is readable is closed: nothing was asked. A client that asks before may be the next to be closed.
        wait_until(lambda: len(select.select(held, [], [], 0)[0]) == 12, "the server has closed all but eight")
        assert status_of(ask(port_of(server, 0))) == 200
        assert server.connections <= 8
        for sock in held:
            sock.close()
    finally:
        server.stop()


class Shortage:
    """Makes `accept` fail for lack of descriptors once it is told to, a number of times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        accept = socket.socket.accept

        def short_of_descriptors(listener: socket.socket) -> tuple[socket.socket, object]:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", short_of_descriptors)


def test_out_of_descriptors_the_oldest_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """HC-06: a process that may open no more files still answers probes."""
    shortage = Shortage(monkeypatch)
    with running() as (server, port), connect(port) as idle:
        wait_until(lambda: server.connections == 1, "the connection is accepted")
        shortage.left = 1
        assert status_of(ask(port)) == 200
        assert read_all(idle) == b""


def test_out_of_descriptors_without_a_connection_it_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """HC-06: it waits for better times instead of spinning."""
    shortage = Shortage(monkeypatch)
    shortage.left = 1
    log = SilentLogger()
    with running(log=log) as (_, port):
        assert status_of(ask(port)) == 200
    assert log.lines == ["warning: connection not accepted error=Too many open files"]


def test_a_handler_that_fails_is_an_error_of_that_request_alone() -> None:
    """HC-20: metrics that cannot be made do not end the server."""

    def failing(request: Request) -> Response:
        if request.path == "/fails":
            raise KeyError(request.path)
        return text_response(200, "ok")

    log = SilentLogger()
    with running(failing, log=log) as (_, port):
        assert status_of(ask(port, GET.replace(b"/ ", b"/fails "))) == 500
        assert status_of(ask(port)) == 200
    assert log.lines == ["error: request not answered path=/fails error=KeyError('/fails')"]


def test_a_server_that_was_never_started_stops() -> None:
    """HC-06: an agent that fails while it starts still ends cleanly."""
    server = HttpServer("test", SilentLogger())
    server.serve({"test": Endpoint("test", (at(0),), lambda _: text_response(200, "ok"))})
    server.stop()
    assert server.listening == {}
