"""The same history told by a folder of manifests and by an API server leads to the same kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apiserver.objects import endpoint_slice, node, service
from apiserver.server import ApiServer
from ipvsagent.source.manifests import ManifestSource
from support.api_cluster import Cluster, kubeconfig
from support.fake_node import FakeNode
from support.waiting import wait_until

Json = dict[str, Any]

# Each step: what is put, and what is deleted as (kind, name).
HISTORY: list[tuple[list[Json], list[tuple[str, str]]]] = [
    ([service("a", "10.96.0.1"), endpoint_slice("a", ["10.244.1.1"]), node("node-1")], []),
    (
        [
            service("b", "fd00:96::2", type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]),
            endpoint_slice("b", ["fd00:244::2", "fd00:244::3"]),
        ],
        [],
    ),
    ([service("a", "10.96.0.1", externalIPs=["198.51.100.7", "127.0.0.1"])], []),
    ([endpoint_slice("a", ["10.244.1.9", "10.244.1.1"]), service("h", "None")], []),
    ([node("node-1", "192.168.60.1")], [("EndpointSlice", "b-x7k2p")]),
    ([service("broken", "10.96.0.9", ports="none"), service("c", "10.96.0.3")], [("Service", "a")]),
]


def write(folder: Path, item: Json) -> None:
    """Write an object into a file of its own, in one step."""
    path = folder / f"{item['kind']}-{item['metadata']['name']}.json"
    temporary = folder / ".temporary"
    temporary.write_text(json.dumps(item))
    temporary.rename(path)


def test_both_sources_lead_to_the_same_kernel_after_every_step(tmp_path: Path) -> None:
    """The manifest source and the API source feed the same events."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    local = FakeNode()
    manifests = ManifestSource(folder, local.hear)
    with ApiServer() as server:
        server.put(*HISTORY[0][0])
        with Cluster(server, kubeconfig(tmp_path / "kubeconfig", server.url)) as remote:
            for puts, deletes in HISTORY:
                server.put(*puts)
                for item in puts:
                    write(folder, item)
                for kind, name in deletes:
                    server.delete(kind, name)
                    (folder / f"{kind}-{name}.json").unlink()
                manifests.scan()
                manifests.scan()  # what went is believed at the second look
                wait_until(lambda: remote.node.kernel.snapshot() == local.kernel.snapshot(), "both kernels are equal")
            assert {p.name: p.reason for p in local.status().problems} == {
                p.name: p.reason for p in remote.node.status().problems
            }
            assert [p.name for p in local.status().problems] == ["shop/broken"]
            assert len(local.kernel.ipvs.list_virtual_servers()) == 3
