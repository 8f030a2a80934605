"""What HTTP servers of tests have in common: a loopback address of their own, and bodies in JSON."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def read_body(request: BaseHTTPRequestHandler) -> bytes:
    """Return the body of a request; empty if it has none."""
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))


def answer(request: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    """Answer a request with a value."""
    body = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


class LoopbackServer:
    """Serves plain HTTP on a free port of the loopback address until `close`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """End the server and its threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
