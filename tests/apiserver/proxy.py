"""A proxy for tests: HTTP CONNECT, plain HTTP requests and SOCKS 5; it connects to one place whatever is asked."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Self


class Proxy:
    """The proxy; use as a context manager.

    Args:
        target_port: of this host, where everything is sent.
        refuse_with: status line that a CONNECT is answered with, instead of connecting.

    Attributes:
        asked: what was asked for, a line each: host and port, then credentials.
    """

    def __init__(self, target_port: int, *, refuse_with: str = "") -> None:
        self.asked: list[str] = []
        self.target_port = target_port
        self.refuse_with = refuse_with
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy.serve(self.connection)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        first = client.recv(1, socket.MSG_PEEK)
        if first == b"\x05":
            self._socks(client)
            return
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        lines = head.decode().split("\r\n")
        credentials = [line.split()[-1] for line in lines if line.lower().startswith("proxy-authorization:")]
        self.asked.append(" ".join([lines[0].split()[1], *credentials]))
        if self.refuse_with:
            client.sendall(f"HTTP/1.1 {self.refuse_with}\r\n\r\n".encode())
            return
        if lines[0].startswith("CONNECT"):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._relay(client, b"")
        else:
            self._relay(client, head)

    def _socks(self, client: socket.socket) -> None:
        methods = client.recv(2)[1]
        offered = client.recv(methods)
        credentials = ""
        if 2 in offered:
            client.sendall(b"\x05\x02")
            user = client.recv(client.recv(2)[1])
            password = client.recv(client.recv(1)[0])
            credentials = f" {user.decode()}:{password.decode()}"
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        kind = client.recv(4)[3]
        host = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
        port = int.from_bytes(client.recv(2), "big")
        self.asked.append(f"{host}:{port}{credentials}")
        client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        self._relay(client, b"")

    def _relay(self, client: socket.socket, first: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.target_port)) as server:
            server.sendall(first)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
