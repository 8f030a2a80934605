"""HTTP/1 messages: parse a request's head, write a response's head. No sockets.

It supports what probes, scrapers and curl send: HTTP/1.0 and 1.1, without bodies. A request with a body gets its
response, and then the connection is closed instead of reading the body.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from msgspec import Struct

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
NO_SNIFFING = ("X-Content-Type-Options", "nosniff")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(r"HTTP/\d\.\d")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_LONGEST_METHOD = 32


class Request(Struct, frozen=True):
    """A request as a handler gets it.

    Args:
        path: without the query; never empty.
        query: what follows the question mark.
        keep: whether the connection may serve another request.
    """

    method: str
    path: str = "/"
    query: str = ""
    accept: str = ""
    keep: bool = False


class Response(Struct, frozen=True):
    """A response; the headers for length, date and connection are added when it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Handler = Callable[[Request], Response]


class BadRequest(Exception):
    """A request that is refused.

    Args:
        status: the status of the response.
    """

    def __init__(self, status: HTTPStatus) -> None:
        self.status = status
        super().__init__(status.phrase)


def text_response(status: int, text: str) -> Response:
    """Return plain text."""
    return Response(status, (("Content-Type", TEXT), NO_SNIFFING), text.encode())


def plain_error(status: HTTPStatus, *headers: tuple[str, str]) -> Response:
    """Return an error in plain text, such as ``404 Not Found``."""
    words = f"{status.value} {status.phrase}\n".encode("ascii")
    return Response(status, (("Content-Type", TEXT), NO_SNIFFING, *headers), words)


def parse_request(head: bytes) -> Request:
    """Read a request line and its headers.

    Args:
        head: all lines, without the empty one at the end.

    Raises:
        BadRequest: it is malformed or of another version.
    """
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or len(words[0]) > _LONGEST_METHOD:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    method, target, version = words
    if not _VERSION.fullmatch(version):
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    headers = _parse_headers(lines[1:])
    if version == "HTTP/1.1" and len(headers.get("host", ())) != 1:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    path, _, query = _local(method, target).partition("?")
    connection = {word.strip().lower() for value in headers.get("connection", ()) for word in value.split(",")}
    has_body = "transfer-encoding" in headers or any(value != "0" for value in headers.get("content-length", ()))
    keep = version == "HTTP/1.1" and "close" not in connection and not has_body
    return Request(method, path or "/", query, ", ".join(headers.get("accept", ())), keep)


def _local(method: str, target: str) -> str:
    """Return the target without scheme and host, which clients of proxies send."""
    if method == "CONNECT" or target == "*":
        return "/"
    local = _ABSOLUTE.sub("", target, count=1) if not target.startswith("/") else target
    if (local and not local.startswith(("/", "?"))) or any(not "!" <= c <= "~" for c in local):
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    return local


def _parse_headers(lines: list[str]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "\r" in value or "\0" in value:
            raise BadRequest(HTTPStatus.BAD_REQUEST)
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    return headers


def head_of(response: Response, *, keep: bool) -> bytes:
    """Status line and headers of a response, with the empty line."""
    status = HTTPStatus(response.status)
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Length: {len(response.body)}",
    ]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
