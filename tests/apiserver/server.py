"""An API server for tests: lists, pages, watches and bookmarks over HTTP(S), with faults scripted by the tests.

It speaks the real protocol for the three resources that the agent reads: consistent snapshots for paged lists, resource
versions that grow with each change, watches that replay from a version or answer 410 when it is forgotten, bookmarks,
selectors, bearer tokens. What goes wrong is put into `faults` and happens once each, in order, to the requests that it
names.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Self

from apiserver.handler import RESOURCES, Handler, Json


@dataclass
class Fault:
    """Something that happens instead of, or during, one answer.

    Args:
        verb: ``list``, ``page`` (a list's second and later pages) or ``watch``.
        kind: the objects' kind.
        status: answer with this code.
        retry_after: with this Retry-After.
        body: answer 200 with exactly these bytes.
        cut_after: send so many bytes of the right answer (or of the watch's next event), then cut the connection.
        event: send this line into the watch, then end it.
        stall_seconds: wait before answering.
    """

    verb: str
    kind: str = "Service"
    status: int = 0
    retry_after: int | None = None
    body: bytes | None = None
    cut_after: int | None = None
    event: Json | None = None
    stall_seconds: float = 0.0


@dataclass
class _Change:
    version: int
    kind: str
    type: str
    object: Json


@dataclass
class _State:
    """Everything that requests share; guarded by `changed`."""

    objects: dict[str, dict[tuple[str, str], Json]] = field(
        default_factory=lambda: {kind: {} for kind, _ in RESOURCES.values()}
    )
    changes: list[_Change] = field(default_factory=list)
    snapshots: dict[str, tuple[int, list[Json]]] = field(default_factory=dict)
    version: int = 100
    oldest_version: int = 100
    stopping: bool = False
    cut_watches: int = 0  # grows to end all watches that run


class ApiServer:
    """The server; use as a context manager.

    Args:
        certificate: file with certificate and key for HTTPS; None for HTTP.
        tokens: bearer tokens that are accepted; None for all.
        bookmark_seconds: how often a watch gets a bookmark.
        client_authority: file with the certificates whose clients are asked for a certificate; None asks nobody.
        host: address to listen on.
    """

    def __init__(
        self,
        certificate: Path | None = None,
        tokens: set[str] | None = None,
        bookmark_seconds: float = 0.2,
        *,
        client_authority: Path | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.tokens = tokens
        self.headers: list[list[tuple[str, str]]] = []  # of each request
        self.client_names: list[str] = []  # common names of the certificates that clients sent; empty without one
        self.faults: deque[Fault] = deque()
        self.always: list[Fault] = []  # faults that happen every time
        self.echo = False  # whether messages repeat the request's headers, as careless servers do
        self.requests: list[str] = []
        self.events: list[Json] = []
        self.denied: set[tuple[str, str]] = set()  # verbs and resources that SelfSubjectAccessReviews deny
        self.bookmark_seconds = bookmark_seconds
        self._state = _State()
        self._changed = threading.Condition()
        server = self

        class BoundHandler(Handler):
            api = server

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._http = Server((host, 0), BoundHandler)
        self._http.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if client_authority is not None:
                context.load_verify_locations(client_authority)
                context.verify_mode = ssl.CERT_OPTIONAL
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        scheme = "https" if certificate else "http"
        self.port = int(self._http.server_address[1])
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._state.stopping = True
            self._changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def is_stopping(self) -> bool:
        """Whether the server is about to be gone."""
        with self._changed:
            return self._state.stopping

    # -- what users of the cluster do ----------------------------------------------------------------------------

    def put(self, *objects: Json) -> None:
        """Create or change objects, as a client would."""
        for item in objects:
            self._change(item["kind"], item, deleted=False)

    def delete(self, kind: str, name: str, namespace: str = "shop") -> None:
        """Delete an object."""
        self._change(kind, {"metadata": {"name": name, "namespace": namespace}}, deleted=True)

    def forget_history(self) -> None:
        """Compact: watches from earlier versions answer 410."""
        with self._changed:
            self._state.version += 1
            self._state.oldest_version = self._state.version
            self._state.changes.clear()

    def expire_pages(self) -> None:
        """Let all continue tokens expire."""
        with self._changed:
            self._state.snapshots.clear()

    def end_watches(self) -> None:
        """End every watch that runs, as a server does that restarts."""
        with self._changed:
            self._state.cut_watches += 1
            self._changed.notify_all()

    def _change(self, kind: str, item: Json, *, deleted: bool) -> None:
        metadata = item["metadata"]
        key = ("" if kind == "Node" else metadata.get("namespace", "default"), metadata["name"])
        with self._changed:
            state = self._state
            held = state.objects[kind]
            if deleted and key not in held:
                return
            state.version += 1
            stored: Json = json.loads(json.dumps(held[key] if deleted else item))
            stored["metadata"] |= {"resourceVersion": str(state.version), "uid": f"uid-{kind}-{key[0]}-{key[1]}"}
            change = "DELETED" if deleted else "MODIFIED" if key in held else "ADDED"
            if deleted:
                del held[key]
            else:
                held[key] = stored
            state.changes.append(_Change(state.version, kind, change, stored))
            self._changed.notify_all()

    # -- what requests need --------------------------------------------------------------------------------------

    def take_event(self, event: Json) -> bool:
        """Keep an Event that a client creates; False if there is one of that name."""
        with self._changed:
            names = {(e["metadata"]["namespace"], e["metadata"]["name"]) for e in self.events}
            if (event["metadata"]["namespace"], event["metadata"]["name"]) in names:
                return False
            self.events.append(event)
            return True

    def take_fault(self, verb: str, kind: str) -> Fault | None:
        """The next fault, if it is for this request."""
        with self._changed:
            if self.faults and (self.faults[0].verb, self.faults[0].kind) == (verb, kind):
                return self.faults.popleft()
        return next((f for f in self.always if (f.verb, f.kind) == (verb, kind)), None)

    def page(self, kind: str, limit: int, token: str, selected: Callable[[Json], bool]) -> Json | None:
        """One page of a consistent list; None if its token expired."""
        with self._changed:
            state = self._state
            if token:
                name, start = json.loads(base64.b64decode(token))
                if name not in state.snapshots:
                    return None
            else:
                name, start = f"{kind}-{len(self.requests)}", 0
                found = [o for _, o in sorted(state.objects[kind].items()) if selected(o)]
                state.snapshots[name] = (state.version, found)
            version, found = state.snapshots[name]
        end = start + limit if limit else len(found)
        metadata: Json = {"resourceVersion": str(version)}
        if end < len(found):
            metadata["continue"] = base64.b64encode(json.dumps([name, end]).encode()).decode()
        # Items of a list carry neither kind nor apiVersion.
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in found[start:end]]
        return {"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}

    def table(self, kind: str, selected: Callable[[Json], bool]) -> Json:
        """All objects as `kubectl get` shows nodes; without their objects."""
        with self._changed:
            found = [o for _, o in sorted(self._state.objects[kind].items()) if selected(o)]
        rows = []
        for item in found:
            addresses = {a["type"]: a["address"] for a in reversed(item.get("status", {}).get("addresses", []))}
            cells = [item["metadata"]["name"], "Ready", addresses.get("InternalIP", "<none>")]
            rows.append({"cells": [*cells, addresses.get("ExternalIP", "<none>")], "object": None})
        columns = [{"name": n, "type": "string"} for n in ("Name", "Status", "Internal-IP", "External-IP")]
        metadata = {"resourceVersion": "1"}
        return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "rows": rows} | {
            "columnDefinitions": columns
        }

    def generation(self) -> int:
        """Grows when all watches are ended; a watch ends when it is no longer what it was at its request."""
        with self._changed:
            return self._state.cut_watches

    def watch(
        self, kind: str, version: int, seconds: float, generation: int, selected: Callable[[Json], bool]
    ) -> Iterable[tuple[str, Json]] | None:
        """Events after a version, then bookmarks until the time is up; None if the version is forgotten."""
        with self._changed:
            if version < self._state.oldest_version:
                return None
        return self._watch(kind, version, seconds, generation, selected)

    def _watch(
        self, kind: str, version: int, seconds: float, generation: int, selected: Callable[[Json], bool]
    ) -> Iterable[tuple[str, Json]]:
        deadline = time.monotonic() + seconds
        while True:
            with self._changed:
                fresh = [c for c in self._state.changes if c.version > version and c.kind == kind]
                if not fresh:
                    self._changed.wait(min(self.bookmark_seconds, max(0.0, deadline - time.monotonic())))
                    fresh = [c for c in self._state.changes if c.version > version and c.kind == kind]
                version = max(version, self._state.version)
                over = self._state.stopping or generation != self._state.cut_watches
            for change in fresh:
                # An object that no longer fits the selector arrives as a deletion.
                yield ("DELETED" if not selected(change.object) else change.type), change.object
            if over or time.monotonic() >= deadline:
                return
            if not fresh:
                yield "BOOKMARK", {"kind": kind, "metadata": {"resourceVersion": str(version)}}
