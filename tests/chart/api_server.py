"""An API server with a few nodes, as far as the cleanup asks for them: DaemonSets, their pods, and owners."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from support.json_http import LoopbackServer, answer, read_body

Object = dict[str, Any]
Node = Literal["clean", "dead", "failing", "unpullable", "slow"]

_DAEMON_SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
_PODS = "/api/v1/namespaces/kube-system/pods"
_SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
_GONE: Object = {"kind": "Status", "code": 404, "status": "Failure"}


class ApiServer:
    """Serves plain HTTP on the loopback address until `close`.

    Args:
        nodes: what becomes of a pod of the cleanup on each node. The kubelet of a dead node never sees its pods.

    Attributes:
        asked: the requests that change something, and the first look for the servers.
        owners: the kinds whose object got an owner, with its kind and identity.
        answers: statuses of the next answers, which refuse the requests.
        denied: every request is answered with this status; 0: none is.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = dict(nodes)
        self.daemon_sets: dict[str, Object] = {}
        self.asked: list[str] = []
        self.owners: dict[str, tuple[str, str]] = {}
        self.answers: list[int] = []
        self.denied = 0
        self._looks = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def do_GET(self) -> None:
                self._pass_on()

            def do_DELETE(self) -> None:
                self._pass_on()

            def do_POST(self) -> None:
                self._pass_on()

            def do_PATCH(self) -> None:
                self._pass_on()

            def _pass_on(self) -> None:
                body = dict(json.loads(read_body(self) or b"{}"))
                answer(self, *owner.answer(self.command, self.path, body))

        self._server = LoopbackServer(Handler)
        self.port = self._server.port

    def close(self) -> None:
        """End the server and its thread."""
        self._server.close()

    def answer(self, method: str, path: str, body: Object) -> tuple[int, Object]:
        """Answer one request."""
        if self.denied or self.answers:
            status = self.denied or self.answers.pop(0)
            return status, {"kind": "Status", "code": status, "status": "Failure"}
        where, query = urlsplit(path).path, parse_qs(urlsplit(path).query)
        match method:
            case "GET":
                return self._read(where, query)
            case "DELETE":
                return self._delete(where.rpartition("/")[2], query.get("propagationPolicy", [""])[0])
            case "POST":
                assert where == _DAEMON_SETS, where
                self.add(body)
                self.asked.append(f"create {body['metadata']['name']}")
                return 201, body
            case _:
                (reference,) = body["metadata"]["ownerReferences"]
                self.owners[where.split("/")[-2]] = (reference["kind"], reference["uid"])
                role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}
                return 200, {"metadata": {"name": where.rpartition("/")[2]}, "roleRef": role}

    def add(self, manifest: Object) -> None:
        """Hold a DaemonSet as if it had just been made."""
        manifest["metadata"]["generation"] = 1
        manifest["status"] = {"desiredNumberScheduled": 0, "currentNumberScheduled": 0}
        manifest["status"] |= {"numberMisscheduled": 0, "numberReady": 0}
        self.daemon_sets[manifest["metadata"]["name"]] = manifest

    def _read(self, where: str, query: dict[str, list[str]]) -> tuple[int, Object]:
        if where == _SLICE:
            self.asked.append("find API server")
            endpoints = [{"addresses": ["127.0.0.1"]}]
            return 200, {"addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": self.port}]}
        if where == _PODS:
            return 200, {"items": self._pods(query["labelSelector"][0])}
        assert where.startswith(_DAEMON_SETS), where
        found = self.daemon_sets.get(where.rpartition("/")[2])
        if found is None:
            return 404, _GONE
        if "observedGeneration" in found["status"]:
            found["status"]["desiredNumberScheduled"] = len(self.nodes)
        found["status"]["observedGeneration"] = 1
        return 200, found

    def _delete(self, name: str, policy: str) -> tuple[int, Object]:
        """Delete a DaemonSet; its pods go at once, but for those on dead nodes."""
        if self.daemon_sets.pop(name, None) is None:
            return 404, _GONE
        self.asked.append(f"delete {name} {policy}")
        return 200, {"kind": "Status", "status": "Success"}

    def _pods(self, selector: str) -> list[Object]:
        if "component=agent" in selector:
            exists = any(not name.endswith("-cleanup") for name in self.daemon_sets)
            return [_pod(node, {}) for node, state in self.nodes.items() if exists or state == "dead"]
        assert "component=cleanup" in selector, selector
        if not any(name.endswith("-cleanup") for name in self.daemon_sets):
            return []
        self._looks += 1
        return [_pod(node, self._status(state)) for node, state in self.nodes.items()]

    def _status(self, state: Node) -> Object:
        if state == "dead":
            return {"phase": "Pending"}
        status: Object = {"startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Ready", "status": "False"}]}
        if state == "clean" and self._looks > 1:
            status["conditions"][0]["status"] = "True"
        elif state == "failing":
            ended = {"exitCode": 1, "message": "error: chain KUBE-SERVICES: busy\n"}
            waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
            status["initContainerStatuses"] = [_container(waiting=waiting) | {"lastState": {"terminated": ended}}]
        elif state == "unpullable":
            waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
            status["initContainerStatuses"] = [_container(waiting=waiting)]
        return status


def _container(**state: Object) -> Object:
    return {
        "name": "cleanup",
        "image": "x",
        "imageID": "",
        "ready": False,
        "restartCount": 1,
        "state": state,
        "lastState": {},
    }


def _pod(node: str, status: Object) -> Object:
    """A pod of a DaemonSet, which is bound to its node by affinity before it is scheduled."""
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec = {"containers": [{"name": "x"}], "affinity": {"nodeAffinity": required}}
    return {"metadata": {"name": f"pod-{node}"}, "spec": spec, "status": status}
