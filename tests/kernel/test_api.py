"""The agent follows an API server: objects over HTTP in, packets out."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from lab.topology import POD_ADDRESSES
from lab.traffic import count_by_pod

from apiserver.server import ApiServer
from kernel.load import Load
from kernel.manifests import endpoint_slice, other_node, service
from kernel.manifests import node as node_manifest
from kernel.node import Node
from kernel.processes import wait_for
from support.api_cluster import kubeconfig

VIP, OTHER_VIP = "10.96.0.10", "10.96.0.11"
WEB = f"{VIP}:80/tcp"


@pytest.fixture
def api(node: Node) -> Iterator[ApiServer]:
    """An API server on the node's loopback interface, and an agent that follows it."""
    with node.topology.node.inside():
        server = ApiServer()
    with server:
        server.put(node_manifest(), service("web", VIP), endpoint_slice("web", "p1", "p2"))
        node.start_agent_with_api(kubeconfig(node.folder / "kubeconfig", server.url))
        node.wait_for_service(WEB, "p1", "p2")
        yield server


def test_services_created_changed_and_deleted_over_the_api_are_followed_by_packets(node: Node, api: ApiServer) -> None:
    """SYN-04, SVC-17: packets reach what the API says, and nothing else."""
    assert count_by_pod(node.many("client", "tcp", VIP, 80, count=4)) == Counter(p1=2, p2=2)
    api.put(service("other", OTHER_VIP), endpoint_slice("other", "p3"))
    node.wait_for_service(f"{OTHER_VIP}:80/tcp", "p3")
    assert count_by_pod(node.many("p1", "tcp", OTHER_VIP, 80, count=2)) == Counter(p3=2)
    api.put(endpoint_slice("web", "p2", "p3"))
    _wait_for_takers(node, "p2", "p3")
    assert count_by_pod(node.many("node", "tcp", VIP, 80, count=4)) == Counter(p2=2, p3=2)
    api.delete("Service", "other")
    wait_for(lambda: f"{OTHER_VIP}:80/tcp" not in node.table() and not node.has_address(OTHER_VIP), "it is gone")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out|No route"):
        node.ask("node", "tcp", OTHER_VIP, 80)


def test_the_agent_says_that_it_starts_in_an_event_of_its_node(node: Node, api: ApiServer) -> None:
    """HC-30: the only one on a node where nothing is wrong."""
    wait_for(lambda: bool(api.events), "an event")
    assert [(e["type"], e["reason"], e["involvedObject"]["kind"]) for e in api.events] == [
        ("Normal", "Starting", "Node")
    ]
    assert api.events[0]["involvedObject"]["name"] == node_manifest()["metadata"]["name"]
    node.wait_for_service(WEB, "p1", "p2")


def test_an_agent_that_cannot_start_says_why_in_events_of_its_node(node: Node) -> None:
    """HC-06, HC-30, CFG-06: they are made before the process ends."""
    with node.topology.node.inside():
        server, taken = ApiServer(), socket.create_server(("127.0.0.1", 0))
    with server, taken:
        server.put(node_manifest())
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        node.configure(bindAddressHardFail=True, healthzBindAddress=where)
        agent = node.start_agent_with_api(kubeconfig(node.folder / "kubeconfig", server.url))
        assert agent.wait() == 1, agent.stderr
        words = f"the health server does not listen: {where}: Address already in use"
        assert [(e["reason"], e["message"].partition(";")[0]) for e in server.events] == [
            ("FailedToStartProxierHealthcheck", words),
            ("FailedToStart", words),
        ]


def test_a_rolling_replacement_of_all_endpoints_loses_no_request(node: Node, api: ApiServer) -> None:
    """GT-03, DEV-06: add before drain; a client that never stops sees no failure."""
    api.put(endpoint_slice("web", "p1"))
    _wait_for_takers(node, "p1")
    with Load(node, "client", "tcp", VIP, 80) as load:
        for _ in range(2):
            for old, new in (("p1", "p2"), ("p2", "p3"), ("p3", "p1")):
                api.put(endpoint_slice("web", old, new))
                load.wait_for_more(new)
                api.put(endpoint_slice("web", new))
                _wait_for_takers(node, new)
    assert load.failures == []
    assert set(load.answers) == {"p1", "p2", "p3"}


def test_connections_to_a_node_that_is_gone_are_given_up_and_others_are_not(node: Node, api: ApiServer) -> None:
    """DEV-42, GT-03: an endpoint whose node was deleted is removed without a drain."""
    api.put(other_node("node-2", "192.168.60.3"), endpoint_slice("web", "p1", "remote"))
    node.wait_for_service(WEB, "p1", "remote")
    connections = [node.connect("client", "tcp", VIP, 80) for _ in range(2)]
    with connections[0], connections[1]:
        by_pod = {connection.ask().pod: connection for connection in connections}
        assert set(by_pod) == {"p1", "remote"}
        api.delete("Node", "node-2", "")
        api.put(endpoint_slice("web", "p2"))
        node.wait_for_service(WEB, "p1", "p2")
        assert _takers(node) == ["p2"]
        assert by_pod["p1"].ask().pod == "p1"


def test_the_kernel_state_outlives_the_api_server(node: Node, api: ApiServer) -> None:
    """Loss of the API server: packets still arrive; on return the agent resumes where it was."""
    before = node.state()
    api.end_watches()
    api.tokens = set()  # whatever the agent asks now is refused
    api.end_watches()
    assert count_by_pod(node.many("client", "tcp", VIP, 80, count=4)) == Counter(p1=2, p2=2)
    assert node.state() == before
    api.tokens = None
    api.put(endpoint_slice("web", "p3"))
    _wait_for_takers(node, "p3")
    assert count_by_pod(node.many("client", "tcp", VIP, 80, count=2)) == Counter(p3=2)


def _takers(node: Node) -> list[str]:
    """The pods that take new connections; those that drain have weight 0."""
    pods = {f"{address}:8080": pod for pod, address in POD_ADDRESSES.items()}
    entry = node.table().get(WEB)
    return sorted(pods[server] for server, weight in entry.weights.items() if weight) if entry else []


def _wait_for_takers(node: Node, *pods: str) -> None:
    wait_for(
        lambda: _takers(node) == sorted(pods) and node.has_address(VIP), f"{', '.join(pods)} alone take new connections"
    )
