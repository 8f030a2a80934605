"""Generate a large cluster in memory: objects, encoded as an API server sends them.

A hundred nodes share the endpoints, so that about one in a hundred is on this node, as in life.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipvsagent.garbage_collection import without_garbage_collection
from ipvsagent.model.events import Listed
from ipvsagent.model.objects import Kind, KubernetesObject
from ipvsagent.source.decode import Usable, decode_json

NODE = "node-1"
NODES = 100

Json = dict[str, Any]


class Cluster:
    """So many Services with so many endpoints each, the API server and the cluster's DNS among them.

    Attributes:
        services: each encoded separately.
        slices: encoded; the same order, one a Service.
    """

    def __init__(self, services: int, endpoints: int = 10, *, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._names = [("default", "kubernetes"), ("kube-system", "kube-dns")]
        self._names += [("shop", f"service-{i}") for i in range(2, services)]
        random.Random(seed).shuffle(self._names)  # a list comes in no order that suits us
        self._endpoints = endpoints
        self.services = [_encode(self._service(i)) for i in range(services)]
        self.slices = [self.slice(i) for i in range(services)]

    def slice(self, number: int, *, replaced: int = 0, more: int = 0) -> bytes:
        """Return the encoded slice of a Service.

        Args:
            replaced: how many of its endpoints are new ones.
            more: how many endpoints it has besides.
        """
        count = self._endpoints + more
        first = number * self._endpoints
        texts = [_address(64, first + j) for j in range(replaced, self._endpoints)]
        texts += [_address(100, number * 64 + j) for j in range(count - len(texts))]
        from_api = _objects().endpoint_slice(self._names[number][1], texts)
        from_api["metadata"]["namespace"] = self._names[number][0]
        for endpoint in from_api["endpoints"]:
            third, fourth = map(int, endpoint["addresses"][0].split(".")[2:])
            endpoint["nodeName"] = f"node-{(third * 256 + fourth) % NODES + 1}"
        return _encode(from_api)

    def _service(self, number: int) -> Json:
        namespace, name = self._names[number]
        port = {"name": "http", "protocol": "TCP", "port": 53 if name == "kube-dns" else 80, "targetPort": "web"}
        made: Json = _objects().service(name, _address(10, number + 1), ports=[port])
        made["metadata"]["namespace"] = namespace
        return made


@without_garbage_collection()
def decode(kind: Kind, encoded: Sequence[bytes]) -> Listed:
    """Return the event that a source sends after it has listed a kind."""
    found: list[KubernetesObject] = []
    for item in encoded:
        result = decode_json(kind, item)
        if not isinstance(result, Usable) or result.problems:
            raise ValueError(f"the generator made a bad object: {result}")
        found.append(result.object)
    return Listed(kind, tuple(found))


def node_list() -> Listed:
    """Return this node, as the agent's watch shows it."""
    return decode(Kind.NODE, [_encode(_objects().node(NODE))])


def _objects() -> Any:  # the tests' generator has its own types
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    try:
        from apiserver import objects
    finally:
        sys.path.pop(0)
    return objects


def _address(first: int, number: int) -> str:
    return f"{first}.{64 + (number >> 16 & 63)}.{number >> 8 & 255}.{number & 255}"


def _encode(made: Json) -> bytes:
    return json.dumps(made, separators=(",", ":")).encode()
