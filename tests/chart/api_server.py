"""An API server that knows DaemonSets and one EndpointSlice, as far as the cleanup asks for them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Object = dict[str, Any]

_FOLDER = "/apis/apps/v1/namespaces/kube-system/daemonsets"
_SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


class ApiServer:
    """Serves plain HTTP on the loopback address until `close`.

    Args:
        nodes: where the pods of a new DaemonSet should run; each reading makes one more of them ready.
        stuck: pods never become ready.
    """

    def __init__(self, nodes: int = 2, *, stuck: bool = False) -> None:
        self.daemon_sets: dict[str, Object] = {}
        self.asked: list[str] = []
        self.nodes = nodes
        self.stuck = stuck
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*owner.read(self.path))

            def do_DELETE(self) -> None:
                self._answer(*owner.delete(self.path, self._body()))

            def do_POST(self) -> None:
                self._answer(*owner.create(self.path, self._body()))

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def _body(self) -> Object:
                return dict(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"))

            def _answer(self, status: int, value: Object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """End the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def read(self, path: str) -> tuple[int, Object]:
        """GET."""
        if path == _SLICE:
            self.asked.append("find API server")
            return 200, {
                "metadata": {"name": "kubernetes"},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["127.0.0.1"]}],
                "ports": [{"port": self.port}],
            }
        found = self.daemon_sets.get(path.rpartition("/")[2])
        if found is None:
            return 404, {"kind": "Status", "code": 404}
        status = found["status"]
        if not self.stuck and status.setdefault("observedGeneration", 0) == 1:
            status["numberReady"] = min(status["numberReady"] + 1, self.nodes)
        status["observedGeneration"] = 1
        return 200, found

    def delete(self, path: str, body: Object) -> tuple[int, Object]:
        """DELETE; the pods go at once."""
        name = path.partition("?")[0].rpartition("/")[2]
        if self.daemon_sets.pop(name, None) is None:
            return 404, {"kind": "Status", "code": 404}
        policy = body.get("propagationPolicy") or path.partition("propagationPolicy=")[2]
        self.asked.append(f"delete {name} {policy}")
        return 200, {"kind": "Status", "status": "Success"}

    def create(self, path: str, body: Object) -> tuple[int, Object]:
        """POST; the controller has not looked at it yet."""
        assert path.partition("?")[0] == _FOLDER, path
        self.add(body)
        self.asked.append(f"create {body['metadata']['name']}")
        return 201, body

    def add(self, manifest: Object) -> None:
        """Hold a DaemonSet as if it had just been made."""
        manifest["metadata"]["generation"] = 1
        manifest["status"] = {
            "desiredNumberScheduled": self.nodes,
            "currentNumberScheduled": 0,
            "numberMisscheduled": 0,
            "numberReady": 0,
        }
        self.daemon_sets[manifest["metadata"]["name"]] = manifest
