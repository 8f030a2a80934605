"""Reading requests and writing responses, without sockets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.http_server.http1 import BadRequest, Request, Response, head_of, parse_request


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", Request("GET", "/", keep=True)),
        (b"GET /healthz HTTP/1.0", Request("GET", "/healthz")),
        (b"HEAD /a?b=c&d HTTP/1.1\r\nhost: a\r\nConnection: Close", Request("HEAD", "/a", "b=c&d")),
        (b"GET http://node:10256/healthz HTTP/1.1\r\nHost: node", Request("GET", "/healthz", keep=True)),
        (b"GET http://node HTTP/1.1\r\nHost: node", Request("GET", "/", keep=True)),
        (b"OPTIONS * HTTP/1.1\nHost: a", Request("OPTIONS", "/", keep=True)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAccept: a/b\r\nAccept: */*", Request("GET", accept="a/b, */*", keep=True)),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5", Request("POST", "/x")),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0", Request("POST", "/x", keep=True)),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", Request("POST", "/x")),
    ],
)  # fmt: skip
def test_what_probes_and_scrapers_send_is_understood(head: bytes, expected: Request) -> None:
    """HC-01, HC-13: any method; a request with a body is answered and its connection closed."""
    assert parse_request(head) == expected


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0", 400),
        (b"G(T / HTTP/1.1\r\nHost: a", 400),
        (b"X" * 33 + b" / HTTP/1.1\r\nHost: a", 400),
        (b"GET healthz HTTP/1.1\r\nHost: a", 400),
        (b"GET /\x80 HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/2", 400),
        (b"PRI * HTTP/2.0", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_what_is_malformed_is_refused(head: bytes, status: int) -> None:
    """HC-01: bad requests, TLS and HTTP/2 among them, get an error and nothing else happens."""
    with pytest.raises(BadRequest) as caught:
        parse_request(head)
    assert caught.value.status == status


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(head: bytes) -> None:
    """HC-13: whatever a client sends, the server survives reading it."""
    with contextlib.suppress(BadRequest):
        assert parse_request(head).path.startswith("/")


def test_a_response_has_its_length_and_says_when_it_is_the_last() -> None:
    """HC-04: headers as given, then date and length."""
    response = Response(503, (("Content-Type", "application/json"),), b"{}")
    lines = head_of(response, keep=False).decode("ascii").split("\r\n")
    assert lines[:2] == ["HTTP/1.1 503 Service Unavailable", "Content-Type: application/json"]
    assert lines[2].startswith("Date: ")
    assert lines[2].endswith(" GMT")
    assert lines[3:] == ["Content-Length: 2", "Connection: close", "", ""]
    assert b"Connection" not in head_of(response, keep=True)
