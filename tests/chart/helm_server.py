"""An API server for Helm: it stores any object of the kinds that the chart has, and finishes Jobs or does not."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from support.json_http import LoopbackServer, answer, read_body

Object = dict[str, Any]
Outcome = Literal["Complete", "Failed", "running"]

_KINDS = {
    "/api/v1": {"configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount"},
    "/apis/apps/v1": {"daemonsets": "DaemonSet"},
    "/apis/batch/v1": {"jobs": "Job"},
    "/apis/rbac.authorization.k8s.io/v1": {
        "roles": "Role",
        "rolebindings": "RoleBinding",
        "clusterroles": "ClusterRole",
        "clusterrolebindings": "ClusterRoleBinding",
    },
}
_DELETED: Object = {"kind": "Status", "apiVersion": "v1", "status": "Success"}
_NOT_FOUND: Object = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
_END: Object = {"resourceVersion": "2", "annotations": {"k8s.io/initial-events-end": "true"}}


class HelmServer:
    """Serves plain HTTP on the loopback address until `close`.

    Args:
        outcome: what becomes of a Job.

    Attributes:
        objects: what exists, by path.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.objects: dict[str, Object] = {}
        self.outcome = outcome
        self.closing = threading.Event()
        self._server = LoopbackServer(type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """End the server and its threads."""
        self.closing.set()
        self._server.close()

    def add(self, folder: str, value: Object) -> Object:
        """Store an object in the folder of its kind."""
        value["metadata"] |= {"uid": "1", "resourceVersion": "1"}
        if folder.endswith("/jobs"):
            value["status"] = {"startTime": "2026-01-01T00:00:00Z", "active": 1}
            if self.outcome != "running":
                value["status"]["conditions"] = [{"type": self.outcome, "status": "True"}]
        self.objects[f"{folder}/{value['metadata']['name']}"] = value
        return value

    def add_release(self, release: Object, namespace: str) -> None:
        """Store a release as Helm does after an installation."""
        release["info"]["status"] = "deployed"
        packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
        labels = {"name": release["name"], "owner": "helm", "status": "deployed", "version": "1"}
        secret = {
            "metadata": {"name": f"sh.helm.release.v1.{release['name']}.v1", "namespace": namespace, "labels": labels},
            "type": "helm.sh/release.v1",
            "data": {"release": base64.b64encode(packed).decode()},
        }
        self.add(f"/api/v1/namespaces/{namespace}/secrets", secret)

    def names(self) -> set[str]:
        """Kind and name of what exists, as kubectl writes them."""
        return {"/".join(path.split("/")[-2:]) for path in self.objects}


class _Handler(BaseHTTPRequestHandler):
    owner: HelmServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if "watch" in query:
            self._watch(url.path, query.get("fieldSelector", [""])[0].partition("=")[2])
        elif url.path in self.owner.objects:
            answer(self, 200, self.owner.objects[url.path])
        elif url.path.rpartition("/")[2] in _RESOURCES:
            items = [o for path, o in self.owner.objects.items() if path.rpartition("/")[0] == url.path]
            kind = _RESOURCES[url.path.rpartition("/")[2]]
            answer(self, 200, {"kind": f"{kind}List", "apiVersion": _version(url.path), "items": items})
        else:
            found = _discovery(url.path)
            answer(self, 200 if found else 404, found or _NOT_FOUND)

    def do_POST(self) -> None:
        answer(self, 201, self.owner.add(urlsplit(self.path).path, json.loads(read_body(self))))

    def do_PATCH(self) -> None:
        """Helm creates hooks by applying them."""
        folder = urlsplit(self.path).path.rpartition("/")[0]
        answer(self, 201, self.owner.add(folder, json.loads(read_body(self))))

    def do_PUT(self) -> None:
        """Helm notes in the release that it is being uninstalled; not stored, since it is not JSON."""
        read_body(self)
        answer(self, 200, self.owner.objects[urlsplit(self.path).path])

    def do_DELETE(self) -> None:
        read_body(self)
        gone = self.owner.objects.pop(urlsplit(self.path).path, None)
        answer(self, 200 if gone else 404, _DELETED if gone else _NOT_FOUND)

    def _watch(self, folder: str, name: str) -> None:
        """Send what exists, and then nothing: objects do not change."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        for path, value in list(self.owner.objects.items()):
            if path.rpartition("/")[0] == folder and name in {"", value["metadata"]["name"]}:
                self._send({"type": "ADDED", "object": value})
        kind = _RESOURCES[folder.rpartition("/")[2]]
        end = {"kind": kind, "apiVersion": _version(folder), "metadata": _END}
        self._send({"type": "BOOKMARK", "object": end})
        self.owner.closing.wait()
        self.close_connection = True

    def _send(self, event: Object) -> None:
        self.wfile.write(json.dumps(event).encode() + b"\n")


_RESOURCES = {name: kind for kinds in _KINDS.values() for name, kind in kinds.items()}


def _version(path: str) -> str:
    root = next(root for root in _KINDS if path.startswith(f"{root}/"))
    return root.removeprefix("/apis/").removeprefix("/api/")


def _discovery(path: str) -> Object | None:
    """What the server can do: Helm asks for it before it does anything."""
    if path == "/version":
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [root.removeprefix("/apis/") for root in _KINDS if root.startswith("/apis/")]
        each = [{"name": v.partition("/")[0], "v": {"groupVersion": v, "version": "v1"}} for v in versions]
        groups = [{"name": e["name"], "versions": [e["v"]], "preferredVersion": e["v"]} for e in each]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path in _KINDS:
        verbs = ["get", "list", "create", "delete", "patch", "watch", "update"]
        resources = [
            {"name": n, "kind": k, "namespaced": not n.startswith("cluster"), "singularName": "", "verbs": verbs}
            for n, k in _KINDS[path].items()
        ]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": _version(f"{path}/"),
            "resources": resources,
        }
    if path == "/openapi/v3":
        return {"paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}"} for root in _KINDS}}
    root = path.removeprefix("/openapi/v3")
    if root not in _KINDS:
        return None
    group = _version(f"{root}/").rpartition("/")[0]
    field = {"parameters": [{"name": "fieldValidation", "in": "query"}]}
    paths = {
        f"{root}/namespaces/{{namespace}}/{name}": {
            verb: {**field, "x-kubernetes-group-version-kind": {"group": group, "version": "v1", "kind": kind}}
            for verb in ("post", "patch")
        }
        for name, kind in _KINDS[root].items()
    }
    return {"openapi": "3.0.0", "info": {"title": "x", "version": "1"}, "paths": paths, "components": {"schemas": {}}}
