"""An agent whose name is not that of its Node."""

from __future__ import annotations

import datetime as dt
import json

from ipvsagent.config.types import Settings
from ipvsagent.config.values import NodePortAddresses
from ipvsagent.http_server.http1 import Request
from ipvsagent.model.events import Changed, ClusterNodeAddresses, Listed
from ipvsagent.model.objects import Kind, Node, ObjectKey, Problem
from ipvsagent.model.status import Progress, Status
from ipvsagent.serve.health import Health
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.source.event_recorder import describe
from support.builders import addresses
from support.fake_node import FakeNode

NOON = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)
WORDS = (
    "is none of the cluster's nodes (did you mean `node-1.example.org`?): no endpoint counts as local, and load"
    " balancers send no traffic to this node; start the agent with the name of its Node"
    " (`NODE_NAME`, `--node-name` or `hostnameOverride`)"
)
CLUSTER = ClusterNodeAddresses({"node-1.example.org": addresses("192.168.60.1"), "other": addresses("192.168.60.2")})


def listed() -> list[Listed]:
    """A cluster without a Node of this name, as its watches list it."""
    return [Listed(kind, ()) for kind in Kind]


def test_an_unknown_name_is_logged_announced_and_published() -> None:
    """DEV-65."""
    node = FakeNode()
    node.hear(*listed(), CLUSTER)
    assert node.status().node_unknown == WORDS
    assert node.announced == [Problem("Node", "node-1", "", WORDS, "NodeUnknown")]
    assert [line for line in node.log.lines if "did you mean `node-1.example.org`?" in line]


def test_a_node_that_registers_later_ends_the_report() -> None:
    """DEV-65: kubelet may register after the agent has started."""
    node = FakeNode()
    node.hear(*listed(), CLUSTER)
    node.hear(Changed(Node("node-1", addresses("192.168.60.1"))))
    assert node.status().node_unknown == ""
    assert node.status().problems == ()


def test_nothing_is_said_before_nodes_are_listed_or_while_no_node_is_known() -> None:
    """DEV-65: a folder of manifests need not hold any Node."""
    node = FakeNode()
    node.hear(CLUSTER)
    assert node.status().node_unknown == ""
    other = FakeNode()
    other.hear(*listed())
    assert other.status().node_unknown == ""


def test_primary_opens_no_node_port_once_it_is_known_that_there_is_no_node() -> None:
    """DEV-60, NP-05: until then what an earlier agent served stays, since the Node may only be late."""
    node = FakeNode(settings=Settings(node_port_addresses=NodePortAddresses(primary=True)))
    node.hear(*(e for e in listed() if e.kind is not Kind.NODE))
    assert tuple(map(str, node.status().health_check_addresses)) == ("0.0.0.0", "::")
    node.hear(Listed(Kind.NODE, ()))
    assert node.status().health_check_addresses == ()
    node.hear(Changed(Node("node-1", addresses("192.168.60.1", "fd00:60::1"))))
    assert tuple(map(str, node.status().health_check_addresses))[:1] == ("192.168.60.1",)


def test_the_event_is_on_the_pod_where_that_is_known() -> None:
    """DEV-65: nobody looks at the events of a Node that does not exist."""
    problem = Problem("Node", "node-1", "", WORDS, "NodeUnknown")
    event = describe(problem, "node-1", NOON, ObjectKey("kube-system", "ipvsagent-x7"))
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "ipvsagent-x7",
        "namespace": "kube-system",
    }
    assert event["reason"] == "NodeUnknown"
    assert "Node node-1: is none of the cluster's nodes" in event["message"]
    assert describe(problem, "node-1", NOON)["involvedObject"]["kind"] == "Node"


def test_health_gives_the_reason() -> None:
    """DEV-65, HC-03, HC-05: 503 alone does not say why load balancers leave."""
    status = Status(complete=True, synchronised=True, prepared=True, node_unknown=WORDS)
    health = Health(
        ServingInputs(status=lambda: status, progress=lambda: Progress(990.0), settings=Settings, clock=lambda: 1000.0)
    )
    response = health.handle(Request("GET", "/healthz"))
    assert response.status == 503
    assert json.loads(response.body)["nodeUnknown"] == WORDS
    assert b"nodeUnknown" not in health.handle(Request("GET", "/livez")).body
