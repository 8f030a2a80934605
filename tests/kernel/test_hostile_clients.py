"""Clients that mean no good, at both HTTP servers of an agent: it goes on, and does not grow."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab.speed import scaled

from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import wait_for

HEALTH, METRICS = ("client", "192.168.60.1", 10256), ("node", "127.0.0.1", 10249)
SERVERS = (HEALTH, METRICS)
CONNECTIONS = 1500  # to each server, all at once
GROWTH_KIB = 16 * 1024
BAD = (
    b"BREW /metrics HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10,
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"POST /healthz HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 4096,
    b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X-Large: " + b"y" * 1_000_000,
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for the connections of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1])


def _connect(node: Node, server: tuple[str, str, int]) -> socket.socket:
    where, address, number = server
    with node.namespace(where).inside():
        return socket.create_connection((address, number), timeout=scaled(5))


def _answer(node: Node, server: tuple[str, str, int], path: str) -> bytes:
    """The first line of an answer to an honest client; empty if there is none."""
    with contextlib.suppress(OSError), _connect(node, server) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return client.recv(4096).partition(b"\r\n")[0]
    return b""


@pytest.mark.usefixtures("descriptors")
def test_hostile_clients_neither_stop_the_agent_nor_make_it_grow(
    node: Node, record_property: Callable[[str, object], None]
) -> None:
    """HC-01, HC-20: slow heads, huge ones, thousands of connections and nonsense, while a Service comes."""
    ports = [port(80)]
    node.manifests.write("web", service("web", "10.96.0.10", ports=ports), endpoint_slice("web", "p1", ports=ports))
    agent = node.start_agent()
    node.wait_for_service("10.96.0.10:80/tcp", "p1")
    wait_for(lambda: b" 200 " in _answer(node, METRICS, "/metrics"), "metrics were served once")
    before = _resident_kib(agent.pid)
    with ExitStack() as held:
        for server in SERVERS:
            for number in range(CONNECTIONS):
                client = held.enter_context(_connect(node, server))
                with contextlib.suppress(OSError):  # the oldest ones are closed for the newest
                    client.sendall(BAD[number % len(BAD)] if number % 10 == 0 else b"GET /livez HTTP/1.1\r\nX-Slow: ")
        other = endpoint_slice("other", "p2", ports=ports)
        node.manifests.write("other", service("other", "10.96.0.11", ports=ports), other)
        node.wait_for_service("10.96.0.11:80/tcp", "p2")
        assert node.ask("client", "tcp", "10.96.0.11", 80).pod == "p2"
        assert b" 200 " in _answer(node, HEALTH, "/livez")
        assert b" 200 " in _answer(node, METRICS, "/proxyMode")
        grown = _resident_kib(agent.pid) - before
        record_property("grown_kib", grown)
        assert grown < GROWTH_KIB
    wait_for(lambda: b" 200 " in _answer(node, HEALTH, "/healthz"), "the node is healthy afterwards")
