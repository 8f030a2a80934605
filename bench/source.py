"""Measure the cost to list, decode and index a large cluster on this machine.

    python -m bench.source [SERVICES] [ENDPOINTS]      # default 10000 10

A server process holds the encoded pages; a fresh client process lists them over HTTP, decodes and indexes them, and
says how much CPU time and memory each stage took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

PAGE = 500


def address(first: int, number: int) -> str:
    """Return a distinct address for each number."""
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def pages(services: int, endpoints: int) -> dict[str, list[bytes]]:
    """Return the encoded pages by path."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from apiserver.objects import endpoint_slice, node, service

    lists: dict[str, list[dict[str, Any]]] = {
        "/api/v1/services": [service(f"service-{i}", address(10, i)) for i in range(services)],
        "/apis/discovery.k8s.io/v1/endpointslices": [
            endpoint_slice(f"service-{i}", [address(11, i * endpoints + j) for j in range(endpoints)])
            for i in range(services)
        ],
        "/api/v1/nodes": [node("node-1")],
    }
    encoded: dict[str, list[bytes]] = {}
    for path, items in lists.items():
        starts = range(0, len(items), PAGE)
        encoded[path] = [
            json.dumps(
                {
                    "kind": "List",
                    "metadata": {
                        "resourceVersion": "100",
                        **({"continue": str(number + 1)} if number + 1 < len(starts) else {}),
                    },
                    "items": items[start : start + PAGE],
                }
            ).encode()
            for number, start in enumerate(starts)
        ]
    return encoded


EMPTY_TABLE = b'{"kind": "Table", "metadata": {}, "columnDefinitions": [], "rows": []}'


def serve(services: int, endpoints: int) -> None:
    """Serve the pages, print the port, and stop when stdin is closed."""
    encoded = pages(services, endpoints)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            """Send a page; keep watches open."""
            url = urlparse(self.path)
            query = parse_qs(url.query)
            if "watch" in query:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                threading.Event().wait()
            table = "as=Table" in self.headers["Accept"]
            body = EMPTY_TABLE if table else encoded[url.path][int(query.get("continue", ["0"])[0])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


def client(port: str) -> None:
    """List, decode and index; print the figures as JSON."""
    import gc
    import os
    import queue
    import tempfile

    from bench.memory import cpu_seconds, resident_mebibytes

    bare = (cpu_seconds(), resident_mebibytes())
    from ipvsagent.model.events import Event, Listed
    from ipvsagent.reconciler.objects.cache import ObjectCache
    from ipvsagent.source.api import ApiSource
    from ipvsagent.source.transport import KubernetesTransport

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            },
            file,
        )
        file.flush()
        transport = KubernetesTransport(file.name)
    imported = (cpu_seconds(), resident_mebibytes())
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    source = ApiSource(transport, "node-1", events.put)
    source.start()
    lists: list[Listed] = []
    while len(lists) < 3:  # the addresses of other nodes come on the same way, and are no part of this
        event = events.get(timeout=120)
        if isinstance(event, Listed):
            lists.append(event)
    listed = (cpu_seconds(), resident_mebibytes())
    cache = ObjectCache()
    while lists:
        cache.apply(lists.pop())
    del event
    gc.collect()
    indexed = (cpu_seconds(), resident_mebibytes())
    slices = sum(len(cache.slices_of(key)) for key in cache.services)
    print(
        json.dumps(
            {
                "services": len(cache.services),
                "slices": slices,
                "endpoints": sum(len(s.endpoints) for k in cache.services for s in cache.slices_of(k)),
                "cpu_seconds": {
                    "import": round(imported[0] - bare[0], 3),
                    "list_and_decode": round(listed[0] - imported[0], 3),
                    "index": round(indexed[0] - listed[0], 3),
                },
                "resident_mebibytes": {
                    "python": round(bare[1], 1),
                    "imported": round(imported[1], 1),
                    "listed": round(listed[1], 1),
                    "indexed": round(indexed[1], 1),
                },
            }
        ),
        flush=True,
    )
    os._exit(0)  # without waiting for the watches


def main() -> int:
    """Run server and client, and print a table."""
    services, endpoints = (int(a) for a in (*sys.argv[1:3], "10000", "10")[:2]) if len(sys.argv) > 2 else (10000, 10)
    here = [sys.executable, "-m", "bench.source"]
    with subprocess.Popen(
        [*here, "serve", str(services), str(endpoints)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        done = subprocess.run([*here, "client", port], capture_output=True, text=True, check=False)
        server.kill()
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    figures = json.loads(done.stdout)
    print(f"{figures['services']} Services, {figures['slices']} slices, {figures['endpoints']} endpoints")
    for title, unit in (("cpu_seconds", "s"), ("resident_mebibytes", "MiB")):
        for stage, value in figures[title].items():
            print(f"  {title:<20} {stage:<18} {value:>8} {unit}")
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", services, endpoints]:
            serve(int(services), int(endpoints))
        case ["client", port]:
            client(port)
        case _:
            sys.exit(main())
