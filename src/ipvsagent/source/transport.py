"""Send HTTP requests to the API server.

`source.client.access` provides address, TLS and credentials. This module keeps connections, counts requests and
converts every fault to a `SourceError`. Its messages never contain a library's text, which may quote a header or a
URL. `urllib3` is slow to import, so it is imported only if an API server is used.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from ipvsagent import __version__
from ipvsagent.errors import SourceError
from ipvsagent.instrumentation.api_requests import NO_ANSWER, RequestCounts
from ipvsagent.source.client.access import Access, ApiAccess, Connection
from ipvsagent.source.client.faults import describe
from ipvsagent.source.client.secret import hide

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

JSON = "application/json"
CONNECT_TIMEOUT_SECONDS = 10.0
POST_TIMEOUT_SECONDS = 10.0
READ_SECONDS = 300.0  # for a whole body, however slowly it arrives
UNAUTHORIZED = 401
_MOST_CONNECTIONS = 8
_LONGEST_MESSAGE = 500
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # a dead connection must not look like a quiet cluster
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class _ApiStatus(msgspec.Struct):
    message: str


class NoAnswer(SourceError):
    """The request failed before the server answered."""


class Silence(SourceError):
    """Nothing was received for longer than the read timeout."""


class Answer(Protocol):
    """An HTTP answer whose body has not been read yet."""

    @property
    def status(self) -> int:
        """HTTP status code."""

    @property
    def retry_after_seconds(self) -> float | None:
        """Return the server's Retry-After in seconds, if it is set."""

    def read(self) -> bytes:
        """Return the whole body.

        Raises:
            SourceError: the connection broke.
        """

    def message(self) -> str:
        """Return the server's error message from the body, without secrets.

        Raises:
            SourceError: the connection broke.
        """

    def without_secrets(self, text: str) -> str:
        """Hide the secrets of the request in a text that the server sent."""

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines as they arrive, without line ends; also an unfinished last line.

        Raises:
            SourceError: the connection broke.
        """


class Transport(Protocol):
    """Sends requests."""

    def get(
        self, path: str, query: Mapping[str, str], *, read_timeout_seconds: float, accept: str = JSON
    ) -> AbstractContextManager[Answer]:
        """Send a request; the context returns the answer and closes the connection.

        Args:
            accept: media type to request.

        Raises:
            SourceError: no answer came.
        """

    def post(self, path: str, body: bytes) -> int:
        """Send JSON and return the status code; the answer's body is discarded.

        Raises:
            SourceError: no answer came.
        """

    def close(self) -> None:
        """Close all connections; pending reads and all later requests fail."""


class KubernetesTransport:
    """Sends requests to the API server that `ApiAccess` describes.

    Args:
        access: called before each request, and after the server refused its credentials.

    Attributes:
        requests: counts of all requests; for any thread.
    """

    def __init__(self, access: ApiAccess) -> None:
        self._access = access
        self.requests = RequestCounts()
        self._lock = threading.Lock()
        self._pool: tuple[Connection, PoolManager] | None = None  # guarded by the lock, like all below
        self._open: set[BaseHTTPResponse] = set()  # responses that are being read
        self._closed = False

    def get(
        self, path: str, query: Mapping[str, str], *, read_timeout_seconds: float, accept: str = JSON
    ) -> AbstractContextManager[Answer]:
        """As in `Transport`."""
        return self._request("GET", f"{path}?{urlencode(query)}", read_timeout_seconds, accept=accept)

    def post(self, path: str, body: bytes) -> int:
        """As in `Transport`."""
        return self.ask(path, body)[0]

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._access.url

    def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send JSON; return the status code and the answer's body.

        Raises:
            SourceError: no answer came.
        """
        with self._request("POST", path, POST_TIMEOUT_SECONDS, body) as answer:
            return answer.status, answer.read()

    def close(self) -> None:
        """As in `Transport`."""
        with self._lock:
            self._closed = True
            for response in self._open:
                # This wakes the thread that reads the response, which then closes it. A response that was read
                # completely has no connection any more, and that thread may close one at this moment.
                with contextlib.suppress(RuntimeError, ValueError, OSError):
                    response.shutdown()
            if self._pool is not None:
                self._pool[1].clear()

    @contextmanager
    def _request(
        self, method: str, path: str, read_timeout_seconds: float, body: bytes | None = None, accept: str = JSON
    ) -> Iterator[Answer]:
        access = self._access.current()
        began = time.monotonic()
        response = self._send(access, method, path, body, accept, read_timeout_seconds)
        self._note(access, method, str(response.status), began)
        host = urlsplit(access.connection.url).netloc
        self.requests.note_request_size(host, method, len(body or b""))
        if response.status == UNAUTHORIZED:
            self._access.refused(access)
        try:
            with self._lock:
                if self._closed:
                    raise SourceError("the connection to the API server is closed")
                self._open.add(response)
            yield _HttpAnswer(response, access, lambda size: self.requests.note_response_size(host, method, size))
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _send(
        self, access: Access, method: str, path: str, body: bytes | None, accept: str, read_timeout_seconds: float
    ) -> BaseHTTPResponse:
        from urllib3 import HTTPHeaderDict, Timeout
        from urllib3.exceptions import HTTPError

        headers = HTTPHeaderDict({"Accept": accept, "User-Agent": f"ipvsagent/{__version__}"})
        if body is not None:
            headers["Content-Type"] = JSON
        for name, value in access.headers:
            headers.add(name, value.reveal())
        began = time.monotonic()
        try:
            return self._connections(access.connection).request(
                method,
                f"{access.connection.url}{path}",
                body=body,
                headers=headers,
                timeout=Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=read_timeout_seconds),
                preload_content=False,
                retries=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            self._note(access, method, NO_ANSWER, began)
            raise NoAnswer(f"API server {access.connection.url}: {describe(error)}") from None

    def _connections(self, wanted: Connection) -> PoolManager:
        """Return the connection pool; replace it if the way to connect has changed."""
        from ipvsagent.source.client.connections import open_pool

        with self._lock:
            if self._pool is None or self._pool[0] != wanted:
                try:
                    fresh = open_pool(wanted, options=_KEEPALIVE, most_connections=_MOST_CONNECTIONS)
                except SourceError as error:  # only one file of a pair was replaced, or a file is being written
                    if self._pool is None:
                        raise
                    self._access.warn(f"{error}; the previous one stays in use")
                    return self._pool[1]
                if self._pool is not None:
                    self._pool[1].clear()
                self._pool = wanted, fresh
            return self._pool[1]

    def _note(self, access: Access, method: str, code: str, began: float) -> None:
        self.requests.note(urlsplit(access.connection.url).netloc, method, code, time.monotonic() - began)


class _HttpAnswer:
    def __init__(self, response: BaseHTTPResponse, access: Access, note_size: Callable[[int], None]) -> None:
        self._response = response
        self._note_size = note_size
        self._access = access
        self.status = int(response.status)

    @property
    def retry_after_seconds(self) -> float | None:
        value = self._response.headers.get("Retry-After", "")
        return float(value) if value.isascii() and value.isdigit() else None

    def read(self) -> bytes:
        deadline = time.monotonic() + READ_SECONDS
        parts = []
        with _broken():
            while part := self._response.read1(1 << 16, decode_content=True):
                parts.append(part)
                if time.monotonic() > deadline:
                    raise SourceError(f"the API server's answer was not complete after {READ_SECONDS:.0f} s")
        body = b"".join(parts)
        self._note_size(len(body))
        return body

    def message(self) -> str:
        try:
            text = msgspec.json.decode(self.read(), type=_ApiStatus).message
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return "without a Status object"
        return self.without_secrets(text)

    def without_secrets(self, text: str) -> str:
        return hide(" ".join(text.split()), self._access.secrets)[:_LONGEST_MESSAGE]

    def lines(self) -> Iterator[bytes]:
        rest = b""
        with _broken():
            for chunk in self._chunks():
                *complete, rest = (rest + chunk).split(b"\n")
                yield from complete
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        """Yield data as soon as it arrives: a watch must not wait for a full buffer."""
        if self._response.chunked:
            yield from self._response.stream(None, decode_content=True)
            return
        while chunk := self._response.read1(1 << 16, decode_content=True):
            yield chunk


@contextmanager
def _broken() -> Iterator[None]:
    """Convert errors of a connection that is read to a `SourceError`."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        yield
    except (ReadTimeoutError, TimeoutError):
        raise Silence("the API server has stopped sending data") from None
    except (HTTPError, OSError) as error:
        raise SourceError(f"the connection to the API server broke: {describe(error)}") from None
