"""Traffic policies: who reaches which pods, and which address those see."""

from __future__ import annotations

from collections import Counter

import pytest
from lab.topology import NODE_ADDRESS, NODE_ADDRESS_6, POD_ADDRESSES, POD_ADDRESSES_6
from lab.traffic import clients, count_by_pod

from kernel.manifests import Manifest, endpoint_slice, port, service, with_ingress
from kernel.node import NOTHING, REFUSED, SHORT_SECONDS, Node
from kernel.processes import wait_for

CLIENT, CLIENT_6 = "192.168.60.2", "fd00:60::2"
BALANCER, EXTERNAL = "203.0.113.1", "203.0.113.2"
BALANCER_6 = "fd00:113::1"

pytestmark = pytest.mark.also_in_qemu(reason="rules decide what is dropped or masqueraded; QEMU has those of nf_tables")


def node_port_service(name: str, number: int, *pods: str, **spec: str) -> list[Manifest]:
    """A Service 10.96.1.NUMBER with node port 30100 + NUMBER, dual-stack, TCP and UDP, and its slices."""
    ports = [port(80, p, node_port=30100 + number, name=p.lower()) for p in ("TCP", "UDP")]
    return [
        service(name, f"10.96.1.{number}", f"fd00:96:1::{number}", ports=ports, type="NodePort", **spec),
        endpoint_slice(name, *pods, ports=ports),
        endpoint_slice(name, *pods, ipv6=True, ports=ports),
    ]


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Node:
    """Services of every policy, with and without endpoints on this node."""
    balanced, *slices = node_port_service("local", 1, "p1", "remote", externalTrafficPolicy="Local")
    balanced["spec"] |= {"type": "LoadBalancer", "externalIPs": [EXTERNAL]}
    shared_node.manifests.write("local", with_ingress(balanced, BALANCER, BALANCER_6), *slices)
    elsewhere, *slices = node_port_service("elsewhere", 2, "remote", externalTrafficPolicy="Local")
    shared_node.manifests.write("elsewhere", with_ingress(elsewhere, "203.0.113.3"), *slices)
    shared_node.manifests.write(
        "internal",
        service("internal", "10.96.1.3", internalTrafficPolicy="Local"),
        endpoint_slice("internal", "p2", "remote"),
        service("internal-elsewhere", "10.96.1.4", internalTrafficPolicy="Local"),
        endpoint_slice("internal-elsewhere", "remote"),
        *node_port_service("internal-and-node-port", 5, "remote", internalTrafficPolicy="Local"),
    )
    shared_node.start_agent_and_wait()
    return shared_node


@pytest.mark.parametrize(
    ("address", "number", "client"),
    [
        (NODE_ADDRESS, 30101, CLIENT),
        (NODE_ADDRESS_6, 30101, CLIENT_6),
        (BALANCER, 80, CLIENT),
        (BALANCER_6, 80, CLIENT_6),
        (EXTERNAL, 80, CLIENT),
    ],
)
def test_external_policy_local_keeps_to_local_pods_which_see_the_client(
    node: Node, address: str, number: int, client: str
) -> None:
    """EP-35, IPT-27, IPT-35, IPT-40, IPT-42: no other node's pods, no masquerading."""
    for answers in (
        node.many("client", "tcp", address, number, count=4),
        node.many("client", "udp", address, number, count=4),
    ):
        assert count_by_pod(answers) == Counter(p1=4)
        assert clients(answers) == {client}
    from_pod = node.ask("p2", "tcp", address, number)
    assert (from_pod.pod, from_pod.client) == ("p1", (POD_ADDRESSES_6 if ":" in address else POD_ADDRESSES)["p2"])
    assert node.ask("node", "tcp", address, number).pod == "p1"


def test_external_policy_local_leaves_the_cluster_ip_alone(node: Node) -> None:
    """EP-30: policies are apart from each other."""
    assert count_by_pod(node.many("p2", "tcp", "10.96.1.1", 80, count=4)) == Counter(p1=2, remote=2)


@pytest.mark.parametrize(("address", "number"), [(NODE_ADDRESS, 30102), (NODE_ADDRESS_6, 30102), ("203.0.113.3", 80)])
def test_without_a_local_pod_those_inside_reach_other_nodes_and_those_outside_nobody(
    node: Node, address: str, number: int
) -> None:
    """EP-36, DEV-11: pod and node fall back to the whole cluster; nobody outside is served by way of this node."""
    reached = node.outcomes("tcp", address, number, patience=SHORT_SECONDS)
    assert reached == {"p1": "remote", "node": "remote", "client": NOTHING}


def test_a_strict_local_policy_refuses_everybody_where_no_local_pod_is(node: Node) -> None:
    """DEV-11: the option; what has local pods goes on, and turning it off brings the fallback back."""
    try:
        node.configure(strictLocalPolicy=True)
        wait_for(lambda: not takes_new_connections(node), "the option is in force")
        for address, number in ((NODE_ADDRESS, 30102), ("203.0.113.3", 80), ("10.96.1.5", 80)):
            assert set(node.outcomes("tcp", address, number).values()) == {REFUSED}, address
        assert set(node.outcomes("tcp", NODE_ADDRESS, 30101).values()) == {"p1"}
    finally:
        node.configure()
    wait_for(lambda: takes_new_connections(node), "the option is gone")
    reached = node.outcomes("tcp", NODE_ADDRESS, 30102, patience=SHORT_SECONDS)
    assert reached == {"p1": "remote", "node": "remote", "client": NOTHING}


def takes_new_connections(node: Node) -> bool:
    """Whether the node port without local pods has anybody behind it who is not draining."""
    return any(node.table()[f"{NODE_ADDRESS}:30102/tcp"].weights.values())


def test_internal_policy_local_keeps_to_local_pods(node: Node) -> None:
    """EP-31: from pods and from the node."""
    for where in ("p1", "p2", "node"):
        assert count_by_pod(node.many(where, "tcp", "10.96.1.3", 80, count=4)) == Counter(p2=4), where


def test_internal_policy_local_without_a_local_pod_refuses_at_once(node: Node) -> None:
    """EP-32: no traffic leaves the node."""
    assert node.outcomes("tcp", "10.96.1.4", 80) == {"p1": REFUSED, "node": REFUSED, "client": REFUSED}


def test_internal_policy_local_falls_back_where_the_service_has_a_way_in_from_outside(node: Node) -> None:
    """EP-33, SVC-13: the cluster IP falls back; the node port never had that policy."""
    assert node.outcome("p1", "tcp", "10.96.1.5", 80) == "remote"
    assert node.outcomes("tcp", NODE_ADDRESS, 30105) == {"p1": "remote", "node": "remote", "client": "remote"}
