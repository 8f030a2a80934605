"""Servers that answer with their name, and clients that send requests to them.

A server answers each line with ``NAME CLIENT PORT``: its own name, and the address and source port that the request
seemed to come from. After ``bye`` it closes the connection. It listens on TCP, UDP and, where the kernel can, SCTP, for
both families.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

from lab.namespaces import Namespace
from lab.speed import scaled

Protocol = Literal["tcp", "udp", "sctp"]
TIMEOUT_SECONDS = scaled(10.0 if os.environ.get("IN_GUEST") == "qemu" else 4.0)
_QUESTION = b"who\n"
_LAST_QUESTION = b"bye\n"
_MAPPED = "::ffff:"
_udp_ports = itertools.cycle(range(20000, 30000))  # neither NodePorts nor what the kernel chooses
_PACKET_INFO = struct.Struct("=16sI")  # struct in6_pktinfo: address, interface index


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    pod: str
    client: str  # the client's address as the pod saw it
    client_port: int


class Connection:
    """A client's socket, kept open between requests. Use it as a context manager.

    Args:
        where: namespace of the client.
        source_port: port to send from; 0 takes any, for UDP one that was not used for long: IPVS sends a flow from the
            same port to the same real server for minutes.
        source_address: address to send from; empty leaves it to the kernel.

    Raises:
        OSError: there is no way to the server, or it refuses (TCP and SCTP).
    """

    def __init__(
        self,
        where: Namespace,
        protocol: Protocol,
        address: str,
        port: int,
        *,
        timeout: float = TIMEOUT_SECONDS,
        source_port: int = 0,
        source_address: str = "",
    ) -> None:
        with where.inside():
            self._socket = _make_socket(protocol, socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            self._socket.settimeout(timeout)
            if protocol == "udp" and not source_port:
                source_port = next(_udp_ports)
            if source_port or source_address:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._socket.bind((source_address, source_port))
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self) -> Answer:
        """Send one request and wait for its answer.

        Raises:
            OSError: refused, reset, or no answer in time (`TimeoutError`).
        """
        return self._ask(_QUESTION)

    def ask_and_end(self) -> Answer:
        """Send a request like `ask`; the server closes first, so that the client's port is free at once."""
        answer = self._ask(_LAST_QUESTION)
        if self._socket.recv(1):
            raise ConnectionError(errno.EPROTO, "the server goes on")
        return answer

    def reset(self) -> None:
        """Let the connection end with a reset when it is closed, so that the client's port is free at once."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _ask(self, question: bytes) -> Answer:
        with contextlib.suppress(PermissionError):  # dropped on this machine; whether anybody says why shows below
            self._socket.send(question)
        text = self._socket.recv(4096).decode()
        if not text:
            raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection")
        pod, client, port = text.split()
        return Answer(pod, client.removeprefix(_MAPPED), int(port))


def ask(
    where: Namespace,
    protocol: Protocol,
    address: str,
    port: int,
    *,
    timeout: float = TIMEOUT_SECONDS,
    source_port: int = 0,
) -> Answer:
    """Send one request over a new socket; raises OSError like `Connection`."""
    with Connection(where, protocol, address, port, timeout=timeout, source_port=source_port) as connection:
        return connection.ask()


def count_by_pod(answers: Iterable[Answer]) -> Counter[str]:
    """Return the number of answers from each pod."""
    return Counter(a.pod for a in answers)


def clients(answers: Iterable[Answer]) -> set[str]:
    """Return the client addresses that the pods saw."""
    return {a.client for a in answers}


class Servers:
    """Servers in any number of namespaces, served by one thread until `close`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="servers")

    def add(self, where: Namespace, name: str, port: int) -> None:
        """Listen in a namespace on all protocols; only before `start`."""
        for protocol in ("tcp", "udp", "sctp"):
            self._listen(where, name, protocol, port)

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop all servers and close their connections."""
        self._wake_writer.close()
        self._thread.join()
        for sock in (*self._sockets, self._wake_reader):
            sock.close()
        self._selector.close()

    def _listen(self, where: Namespace, name: str, protocol: Protocol, port: int) -> None:
        with where.inside():
            try:
                sock = _make_socket(protocol, socket.AF_INET6)
            except OSError as error:
                if protocol == "sctp" and error.errno == errno.EPROTONOSUPPORT:
                    return  # a kernel without SCTP sockets
                raise
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))  # serves IPv4, too, as mapped addresses
        if protocol == "udp":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._watch(sock, lambda: self._answer_datagram(sock, name))
        else:
            sock.listen(512)
            self._watch(sock, lambda: self._accept(sock, name))

    def _watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sockets.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError):  # a client that went away is no concern of the others
                    key.data()

    def _accept(self, listener: socket.socket, name: str) -> None:
        connection, peer = listener.accept()
        self._watch(connection, lambda: self._answer_stream(connection, name, peer))

    def _answer_stream(self, connection: socket.socket, name: str, peer: tuple[str, int]) -> None:
        try:
            request = connection.recv(4096)
            if request:
                connection.sendall(_answer(name, peer) * request.count(b"\n"))
                if not request.endswith(_LAST_QUESTION):
                    return
        except ConnectionError:
            pass
        self._selector.unregister(connection)
        self._sockets.remove(connection)
        connection.close()

    @staticmethod
    def _answer_datagram(sock: socket.socket, name: str) -> None:
        # Answered from the address that was asked: of several, the kernel would take the one next to the client.
        _, (asked,), _, peer = sock.recvmsg(2048, socket.CMSG_SPACE(_PACKET_INFO.size))
        address, _ = _PACKET_INFO.unpack(asked[2])
        sock.sendmsg([_answer(name, peer)], [(*asked[:2], _PACKET_INFO.pack(address, 0))], 0, peer)


def _answer(name: str, peer: tuple[str, int]) -> bytes:
    return f"{name} {peer[0]} {peer[1]}\n".encode()


def _make_socket(protocol: Protocol, family: socket.AddressFamily) -> socket.socket:
    if protocol == "udp":
        return socket.socket(family, socket.SOCK_DGRAM)
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP if protocol == "sctp" else 0)
