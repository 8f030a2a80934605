"""The HTTP side of the API server for tests: paths, queries and answers."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

if TYPE_CHECKING:
    from apiserver.server import ApiServer, Fault

Json = dict[str, Any]

RESOURCES = {
    "/api/v1/services": ("Service", "v1"),
    "/apis/discovery.k8s.io/v1/endpointslices": ("EndpointSlice", "discovery.k8s.io/v1"),
    "/api/v1/nodes": ("Node", "v1"),
}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; `api` is the server."""

    api: ApiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a list or a watch."""
        url = urlparse(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if self.api.is_stopping():  # what is left of its connections ends without an answer
            self.close_connection = True
            return
        self.api.requests.append(self.path)
        self.api.headers.append(self.headers.items())
        self.api.client_names.append(self._client_name())
        if self.api.tokens is not None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("bearer ")
            if token.strip() not in self.api.tokens:
                self._status(401, "Unauthorized")
                return
        if url.path == "/version":
            self._send(200, b"{}")
            return
        kind = RESOURCES[url.path][0]
        verb = "watch" if query.get("watch") == "true" else "page" if "continue" in query else "list"
        generation = self.api.generation()  # before the fault: what is ended from now on is asked for again
        fault = self.api.take_fault(verb, kind)
        try:
            if fault is not None and self._instead(fault):
                return
            if verb == "watch":
                self._watch(kind, query, fault, generation)
            else:
                self._list(kind, query, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _echoed(self) -> str:
        return f" {dict(self.headers.items())}" if self.api.echo else ""

    def _client_name(self) -> str:
        if not isinstance(self.connection, ssl.SSLSocket):
            return ""
        subject = (self.connection.getpeercert() or {}).get("subject", ())
        return str(subject[0][0][1]) if isinstance(subject, tuple) and subject else ""

    def do_POST(self) -> None:
        """Create an Event, or say what this client may do."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.api.requests.append(f"POST {self.path}")
        if event["kind"] == "SelfSubjectAccessReview":
            wanted = event["spec"]["resourceAttributes"]
            allowed = (wanted["verb"], wanted["resource"]) not in self.api.denied
            self._send(201, json.dumps({**event, "status": {"allowed": allowed}}).encode())
            return
        assert self.path == f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        self._status(*((201, "created") if self.api.take_event(event) else (409, "already exists")))

    def _instead(self, fault: Fault) -> bool:
        if fault.stall_seconds:
            time.sleep(fault.stall_seconds)
        if fault.status:
            self._status(fault.status, "scripted", fault.retry_after)
            return True
        if fault.body is not None:
            self._send(200, fault.body)
            return True
        return False

    def _list(self, kind: str, query: dict[str, str], fault: Fault | None) -> None:
        if "as=Table" in self.headers.get("Accept", ""):
            self._send(200, json.dumps(self.api.table(kind, _selector(query))).encode())
            return
        page = self.api.page(kind, int(query.get("limit", "0")), query.get("continue", ""), _selector(query))
        if page is None:
            self._status(410, "the provided continue parameter is too old")
            return
        body = json.dumps(page).encode()
        self._send(200, body, cut_after=fault.cut_after if fault else None)

    def _watch(self, kind: str, query: dict[str, str], fault: Fault | None, generation: int) -> None:
        version, seconds = int(query["resourceVersion"]), float(query["timeoutSeconds"])
        events = self.api.watch(kind, version, seconds, generation, _selector(query))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if events is None:
            self._chunk(_line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"}))
            events = ()
        elif fault is not None and fault.event is not None:
            scripted = json.dumps(fault.event).replace("ECHO", json.dumps(self._echoed())[1:-1])
            self._chunk(scripted.encode() + b"\n")
            events = ()
        for type_, item in events:
            line = _line(type_, item)
            if fault is not None and fault.cut_after is not None and type_ != "BOOKMARK":
                self._chunk(line[: fault.cut_after])
                self.close_connection = True
                self.connection.close()
                return
            self._chunk(line)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _status(self, code: int, message: str, retry_after: int | None = None) -> None:
        message += self._echoed()
        body = json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": code}).encode()
        self._send(code, body, retry_after=retry_after)

    def _send(self, code: int, body: bytes, *, cut_after: int | None = None, retry_after: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


def _line(type_: str, item: Json) -> bytes:
    return json.dumps({"type": type_, "object": item}).encode() + b"\n"


def _selector(query: dict[str, str]) -> Callable[[Json], bool]:
    """The selectors that the agent sends: labels that must be absent, and two field selectors."""
    absent = [s.removeprefix("!") for s in query.get("labelSelector", "").split(",") if s]
    fields = query.get("fieldSelector", "")

    def selected(item: Json) -> bool:
        labels = item["metadata"].get("labels") or {}
        if any(name in labels for name in absent):
            return False
        if fields == "spec.clusterIP!=None":
            return bool(item.get("spec", {}).get("clusterIP") != "None")
        if fields.startswith("metadata.name="):
            return bool(item["metadata"]["name"] == fields.removeprefix("metadata.name="))
        return True

    return selected
