"""A running agent follows what changes."""

from __future__ import annotations

from collections import Counter

import pytest
from lab.traffic import count_by_pod

from kernel.manifests import endpoint_slice, many_services, port, service
from kernel.node import Node
from kernel.processes import wait_for

VIP = "10.96.0.10"
WEB = f"{VIP}:80/tcp"


def test_an_endpoint_that_comes_takes_its_share_and_one_that_goes_gets_nothing(node: Node) -> None:
    """VS-11: endpoints follow; GT-03: one without connections goes at once."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1", "p2"))
    node.wait_for_service(WEB, "p1", "p2")
    assert count_by_pod(node.many("client", "tcp", VIP, 80, count=6)) == Counter(p1=3, p2=3)
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p2"))
    wait_for(lambda: node.table()[WEB].weights.get("10.244.0.11:8080", 0) == 0, "p1 gets nothing new")
    assert count_by_pod(node.many("client", "tcp", VIP, 80, count=6)) == Counter(p2=6)


def test_a_removed_endpoint_keeps_its_open_connection_until_it_closes(node: Node) -> None:
    """GT-03: weight 0 while a connection is open, gone when it is not."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    with node.connect("p2", "tcp", VIP, 80) as connection:
        assert connection.ask().pod == "p1"
        node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p3"))
        wait_for(lambda: node.table()[WEB].weights == {"10.244.0.11:8080": 0, "10.244.0.13:8080": 1}, "p1 is draining")
        assert connection.ask().pod == "p1"
        assert count_by_pod(node.many("p2", "tcp", VIP, 80, count=4)) == Counter(p3=4)


def test_a_scheduler_change_in_the_configuration_follows_live_and_keeps_connections(node: Node) -> None:
    """VS-05: the virtual server is changed in place, which an open connection does not notice."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1", "p2", "p3"))
    node.start_agent()
    node.wait_for_service(WEB, "p1", "p2", "p3")
    with node.connect("client", "tcp", VIP, 80) as connection:
        pod = connection.ask().pod
        assert len(count_by_pod(node.many("client", "tcp", VIP, 80, count=9))) == 3
        node.configure(ipvs={"scheduler": "sh"})
        wait_for(lambda: node.table()[WEB].scheduler == "sh", "the scheduler is sh")
        assert connection.ask().pod == pod
        assert len(count_by_pod(node.many("client", "tcp", VIP, 80, count=9))) == 1


def test_a_service_that_goes_is_refused_and_its_address_leaves_the_node(node: Node) -> None:
    """VS-08, ADR-07: nothing of it stays, and clients do not wait."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    node.manifests.write("other", service("other", "10.96.0.11"), endpoint_slice("other", "p2"))
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    node.wait_for_service("10.96.0.11:80/tcp", "p2")
    node.manifests.remove("web")
    wait_for(lambda: WEB not in node.table() and not node.has_address(VIP), "the Service is gone")
    assert node.ask("p1", "tcp", "10.96.0.11", 80).pod == "p2"
    assert not [line for line in node.sets() if VIP in line]


def test_a_node_address_that_comes_gets_node_ports_at_once(node: Node) -> None:
    """NP-01, DEV-09: addresses are followed live, not at the next sync."""
    ports = [port(80, node_port=30080)]
    node.manifests.write(
        "web", service("web", VIP, ports=ports, type="NodePort"), endpoint_slice("web", "p1", ports=ports)
    )
    node.start_agent()
    node.wait_for_service("192.168.60.1:30080/tcp", "p1")
    node.run("ip", "address", "add", "192.168.60.9/24", "dev", "ext0")
    node.wait_for_service("192.168.60.9:30080/tcp", "p1")
    assert node.ask("client", "tcp", "192.168.60.9", 30080).pod == "p1"
    node.run("ip", "address", "del", "192.168.60.9/24", "dev", "ext0")
    wait_for(lambda: "192.168.60.9:30080/tcp" not in node.table(), "the address has no node ports any more")


@pytest.mark.usefixtures("every_variant")
def test_the_rules_are_the_same_with_0_and_with_500_services(node: Node) -> None:
    """IPT-06, IPT-94: a function of the configuration; at most 60 rules in all tables of a family."""
    agent = node.start_agent()
    wait_for(lambda: "first synchronisation done" in agent.stderr, "the agent has synchronised")
    without = {program: node.family_rules(program) for program in ("iptables", "ip6tables")}
    node.manifests.write("many", *many_services(500))
    node.wait_for_service("10.97.1.244:80/tcp", "p1")
    wait_for(lambda: len(node.table()) == 500, "500 Services are served")
    assert {program: node.family_rules(program) for program in ("iptables", "ip6tables")} == without
    for program, lines in without.items():
        rules = [line for line in lines if line.startswith("-A ")]
        assert 20 <= len(rules) <= 60, program
