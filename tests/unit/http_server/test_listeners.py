"""Opening and closing sockets by differences, and trying again what failed."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterator

import pytest

from ipvsagent.http_server.listeners import Endpoint, Listen, open_listener
from ipvsagent.http_server.server import HttpServer
from support.fake_node import SilentLogger
from support.waiting import wait_until
from unit.http_server.client import ask, at, connect, hello, port_of, status_of, taken_port


class Served:
    """A server that tries again after a moment, with what it logged and reported."""

    def __init__(self) -> None:
        self.log = SilentLogger()
        self.reports: list[tuple[Hashable, str]] = []
        self.server = HttpServer("test", self.log, report=lambda k, r: self.reports.append((k, r)), retry_seconds=0.05)
        self.server.start()


@pytest.fixture
def served() -> Iterator[Served]:
    """Stopped after the test."""
    made = Served()
    yield made
    made.server.stop()


def endpoint(name: str, *listen: Listen) -> Endpoint:
    """An endpoint that says hello."""
    return Endpoint(name, listen, hello)


def test_endpoints_come_and_go_and_what_stays_is_not_disturbed(served: Served) -> None:
    """HC-10: opened and closed by differences; a connection to what stays goes on."""
    a, b = endpoint("a", at(0)), endpoint("b", at(0))
    served.server.serve({"a": a})
    port = port_of(served.server, "a")
    with connect(port) as sock:
        served.server.serve({"a": a, "b": b})
        gone = port_of(served.server, "b")
        assert port_of(served.server, "a") == port
        served.server.serve({"a": a})
        wait_until(lambda: "b" not in served.server.listening, "b is closed")
        with pytest.raises(ConnectionRefusedError):
            connect(gone)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(sock.recv(4096)) == 200


def test_a_connection_to_a_closed_endpoint_gets_an_error(served: Served) -> None:
    """HC-10: no answer of a Service that does not exist any more."""
    served.server.serve({"a": endpoint("a", at(0))})
    with connect(port_of(served.server, "a")) as sock:
        wait_until(lambda: served.server.connections == 1, "the connection is accepted")
        served.server.serve({})
        wait_until(lambda: not served.server.listening, "a is closed")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(sock.recv(4096)) == 404


def test_a_port_in_use_is_reported_once_and_taken_over_when_free(served: Served) -> None:
    """HC-06, HC-12, HC-26: tried again and again; the agent goes on; others are served meanwhile."""
    sock, port = taken_port()
    with sock:
        served.server.serve({"taken": endpoint("taken", at(port)), "free": endpoint("free", at(0))})
        assert status_of(ask(port_of(served.server, "free"))) == 200
        wait_until(lambda: served.server.failures, "the failure shows")
        assert served.server.failures == {"taken": f"127.0.0.1:{port}: Address already in use"}
    wait_until(lambda: "taken" in served.server.listening, "the port is taken over")
    assert status_of(ask(port)) == 200
    assert served.server.failures == {}
    assert served.reports == [("taken", f"127.0.0.1:{port}: Address already in use")]
    assert [line.split(" ")[0] for line in served.log.lines] == ["warning:", "info:"]


def test_one_socket_that_fails_closes_all_of_its_endpoint(served: Served) -> None:
    """HC-12: a Service is served on all of its addresses or on none."""
    sock, port = taken_port()
    with sock:
        served.server.serve({"a": endpoint("a", at(0))})
        first = port_of(served.server, "a")
        served.server.serve({"a": endpoint("a", at(0), at(port))})
        wait_until(lambda: served.server.failures, "the failure shows")
        with pytest.raises(ConnectionRefusedError):
            connect(first)
    wait_until(lambda: len(served.server.listening.get("a", ())) == 2, "both are open")


def test_an_endpoint_that_fails_and_goes_is_forgotten(served: Served) -> None:
    """HC-12: an endpoint that is not wanted any more is not retried."""
    sock, port = taken_port()
    with sock:
        served.server.serve({"a": endpoint("a", at(port))})
        wait_until(lambda: served.server.failures, "the failure shows")
        served.server.serve({})
        wait_until(lambda: not served.server.failures, "it is forgotten")


def test_an_endpoint_without_an_address_is_no_failure(served: Served) -> None:
    """HC-11: no matching address, no listener."""
    served.server.serve({"none": endpoint("none"), "a": endpoint("a", at(0))})
    port_of(served.server, "a")
    assert served.server.listening["none"] == ()
    assert served.server.failures == {}


def test_a_family_of_its_own_or_both() -> None:
    """HC-11: a wildcard of a health check port is of one family; the health server's serves both."""
    with open_listener(Listen("0.0.0.0", 0)) as ipv4:
        port = ipv4.getsockname()[1]
        with open_listener(Listen("::", port)) as ipv6:
            assert (ipv4.family, ipv6.family) == (socket.AF_INET, socket.AF_INET6)
    with open_listener(Listen("0.0.0.0", 0, both_families=True)) as both:
        port = both.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            connect(port, host).close()


def test_a_place_is_written_as_people_write_it() -> None:
    """HC-06: as logs name it."""
    assert [str(at(80)), str(at(80, "::1"))] == ["127.0.0.1:80", "[::1]:80"]
