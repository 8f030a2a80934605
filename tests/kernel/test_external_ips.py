"""External IPs, those that are a machine's own address among them, and node addresses that come and go."""

from __future__ import annotations

import pytest
from lab.topology import BRIDGE_ADDRESS, NODE_ADDRESS, NODE_ADDRESS_6
from lab.traffic import clients

from kernel.manifests import Manifest, endpoint_slice, other_node, port, service
from kernel.node import Node
from kernel.processes import wait_for

NODE2, NODE2_6 = "192.168.60.3", "fd00:60::3"
EXTERNAL, EXTERNAL_6 = "203.0.113.20", "fd00:113::20"
# Outside machines find them by asking who has them, as a machine on the same network does.
WANDERING, LEAVING = "192.168.60.50", "192.168.60.51"


def external(name: str, number: int, *addresses: str, service_port: int = 80) -> list[Manifest]:
    """A Service 10.96.4.NUMBER with external IPs, dual-stack, on p1, and its slices."""
    ports = [port(service_port)]
    cluster_ips = (f"10.96.4.{number}", f"fd00:96:4::{number}")
    return [
        service(name, *cluster_ips, ports=ports, externalIPs=list(addresses)),
        endpoint_slice(name, "p1", ports=ports),
        endpoint_slice(name, "p1", ipv6=True, ports=ports),
    ]


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Node:
    """Services with external IPs of nobody, of this node and of another one, and one with a node port."""
    shared_node.run("ip", "address", "add", f"{LEAVING}/24", "dev", "ext0")
    ports = [port(80, node_port=30400)]
    shared_node.manifests.write(
        "external",
        other_node("node-2", NODE2, NODE2_6),
        *external("nobodys", 1, EXTERNAL, EXTERNAL_6),
        *external("own", 2, NODE_ADDRESS, NODE_ADDRESS_6, service_port=7000),
        *external("of-another", 3, NODE2, NODE2_6, service_port=8080),
        *external("wandering", 4, WANDERING),
        *external("leaving", 5, LEAVING),
        service("web", "10.96.4.6", "fd00:96:4::6", ports=ports, type="NodePort"),
        endpoint_slice("web", "p2", ports=ports),
        endpoint_slice("web", "p2", ipv6=True, ports=ports),
    )
    shared_node.start_agent_and_wait()
    return shared_node


@pytest.mark.parametrize("address", [EXTERNAL, EXTERNAL_6])
def test_an_external_ip_serves_pods_the_node_and_those_outside(node: Node, address: str) -> None:
    """SVC-08, ADR-04, IPT-24: bound to the dummy interface."""
    assert set(node.outcomes("tcp", address, 80).values()) == {"p1"}
    assert any(a.startswith(f"{address}/") for a in node.addresses())


def test_clients_of_an_external_ip_are_masqueraded(node: Node) -> None:
    """IPT-24, IPT-53: pods and clients outside alike."""
    for where in ("client", "p2"):
        assert clients(node.many(where, "tcp", EXTERNAL, 80, count=2)) == {BRIDGE_ADDRESS}


@pytest.mark.parametrize("address", [NODE_ADDRESS, NODE_ADDRESS_6])
def test_an_external_ip_that_is_the_nodes_own_works_without_being_bound(node: Node, address: str) -> None:
    """ADR-04: the node holds it already."""
    assert set(node.outcomes("tcp", address, 7000).values()) == {"p1"}
    assert not any(a.startswith(f"{address}/") for a in node.addresses())


@pytest.mark.parametrize("address", [NODE2, NODE2_6])
def test_an_external_ip_that_is_another_nodes_is_not_taken_from_it(node: Node, address: str) -> None:
    """DEV-14: pods and node reach that machine, not the Service, which keeps its cluster IP."""
    assert node.outcome("p2", "tcp", address, 8080) == "remote"
    assert node.outcome("node", "tcp", address, 8080) == "remote"
    assert not node.has_address(address)
    assert node.outcome("p2", "tcp", "10.96.4.3", 8080) == "p1"


def test_an_external_ip_that_becomes_the_nodes_own_leaves_the_dummy_interface(node: Node) -> None:
    """ADR-04, ADR-07, DEV-09: followed live, and served all the time."""
    assert f"{WANDERING}/32" in node.addresses()
    assert set(node.outcomes("tcp", WANDERING, 80).values()) == {"p1"}
    with node.connect("client", "tcp", WANDERING, 80) as connection:
        node.run("ip", "address", "add", f"{WANDERING}/24", "dev", "ext0")
        wait_for(lambda: f"{WANDERING}/32" not in node.addresses(), "the address is the node's own")
        assert connection.ask().pod == "p1"
    assert set(node.outcomes("tcp", WANDERING, 80).values()) == {"p1"}
    assert node.outcome("client", "tcp", WANDERING, 30400) == "p2", "it is a node address in every way"


def test_an_external_ip_that_was_the_nodes_own_moves_to_the_dummy_interface(node: Node) -> None:
    """ADR-04, DEV-09: followed live; other ports of it are closed from then on."""
    assert f"{LEAVING}/32" not in node.addresses()
    assert set(node.outcomes("tcp", LEAVING, 80).values()) == {"p1"}
    assert node.outcome("client", "tcp", LEAVING, 30400) == "p2"
    node.run("ip", "address", "del", f"{LEAVING}/24", "dev", "ext0")
    wait_for(lambda: f"{LEAVING}/32" in node.addresses(), "the address is bound to the dummy interface")
    assert set(node.outcomes("tcp", LEAVING, 80).values()) == {"p1"}
    wait_for(lambda: f"{LEAVING}:30400/tcp" not in node.table(), "it is no node address any more")
    assert set(node.outcomes("tcp", LEAVING, 30400).values()) == {"refused"}


@pytest.mark.parametrize(("address", "length"), [("192.168.60.9", 24), ("fd00:60::9", 64)])
def test_node_ports_follow_the_nodes_addresses(node: Node, address: str, length: int) -> None:
    """NP-01, NP-07, DEV-09: there as soon as the address is, gone with it."""
    name = f"[{address}]:30400/tcp" if ":" in address else f"{address}:30400/tcp"
    node.run("ip", "address", "add", f"{address}/{length}", "dev", "ext0", *(["nodad"] if ":" in address else []))
    node.wait_for_service(name, "p2")
    assert set(node.outcomes("tcp", address, 30400).values()) == {"p2"}
    node.run("ip", "address", "del", f"{address}/{length}", "dev", "ext0")
    wait_for(lambda: name not in node.table(), "the address has no node ports any more")
