"""The agent stops, dies and comes back; packets and connections do not notice."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest
from lab.traffic import count_by_pod

from kernel.manifests import endpoint_slice, many_services, port, service
from kernel.node import Node
from kernel.processes import wait_for

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
WEB = f"{VIP}:80/tcp"
PORTS = [port(80, node_port=30080)]


def write_web(node: Node) -> None:
    """A dual-stack Service with a node port on two pods."""
    node.manifests.write(
        "web",
        service("web", VIP, VIP_6, ports=PORTS, type="NodePort"),
        endpoint_slice("web", "p1", "p2", ports=PORTS),
        endpoint_slice("web", "p1", "p2", ipv6=True, ports=PORTS),
    )


def wait_for_web(node: Node) -> None:
    """Wait until that Service is served in both families."""
    for address in (VIP, f"[{VIP_6}]"):
        node.wait_for_service(f"{address}:80/tcp", "p1", "p2")
    for address in ("192.168.60.1", "[fd00:60::1]"):
        node.wait_for_service(f"{address}:30080/tcp", "p1", "p2")


@pytest.mark.usefixtures("every_variant")
def test_a_stop_and_a_start_change_nothing(node: Node) -> None:
    """CLN-09, VS-07: SIGTERM leaves all state, exits with 0; a new process finds everything right."""
    write_web(node)
    agent = node.start_agent()
    wait_for_web(node)
    running = node.state()
    node.stop_agent(agent)
    assert node.state() == running
    assert count_by_pod(node.many("client", "tcp", "192.168.60.1", 30080, count=4)) == Counter(p1=2, p2=2)
    monitor = node.start_agent()
    wait_for(lambda: "first synchronisation done" in monitor.stderr, "the second process has synchronised")
    node.stop_agent(monitor)
    assert node.state() == running


def test_an_interrupt_from_the_keyboard_stops_it_as_well(node: Node) -> None:
    """SIGINT is SIGTERM."""
    write_web(node)
    agent = node.start_agent()
    wait_for_web(node)
    agent.signal(signal.SIGINT)
    assert agent.wait() == 0
    assert WEB in node.table()


def test_what_changed_while_no_agent_ran_is_made_up_for(node: Node) -> None:
    """VS-07, VS-08: adoption keeps what is right, and what is ours and wrong goes."""
    write_web(node)
    node.manifests.write("old", service("old", "10.96.0.11"), endpoint_slice("old", "p1"))
    agent = node.start_agent()
    wait_for_web(node)
    node.wait_for_service("10.96.0.11:80/tcp", "p1")
    node.stop_agent(agent)
    node.manifests.remove("old")
    node.manifests.write("new", service("new", "10.96.0.12"), endpoint_slice("new", "p3"))
    node.start_agent()
    node.wait_for_service("10.96.0.12:80/tcp", "p3")
    wait_for(lambda: "10.96.0.11:80/tcp" not in node.table(), "the old Service is gone")
    wait_for(lambda: not node.has_address("10.96.0.11"), "its address is gone")
    assert node.ask("client", "tcp", "10.96.0.12", 80).pod == "p3"


def test_node_ports_on_addresses_that_went_while_no_agent_ran_are_removed(node: Node) -> None:
    """NP-07, VS-08, DEV-28: in both families; what others made there, or at the same port elsewhere, stays."""
    added = {"192.168.61.1": "192.168.61.1/32", "[fd00:61::1]": "fd00:61::1/128"}
    for address in added.values():
        node.run("ip", "address", "add", address, "dev", "ext0")
    write_web(node)
    agent = node.start_agent()
    wait_for_web(node)
    for address in added:
        wait_for(lambda at=address: f"{at}:30080/tcp" in node.table(), f"node ports on {address}")  # type: ignore[misc] # default argument
    node.stop_agent(agent)
    for address in added.values():
        node.run("ip", "address", "delete", address, "dev", "ext0")
    theirs = ["192.168.61.2:30080", "192.168.61.1:99", "[fd00:61::2]:30080"]
    for place in theirs:
        node.run("ipvsadm", "-A", "-t", place, "-s", "wlc")
    again = node.start_agent_and_wait()
    assert not [name for name in node.table() if name.removesuffix(":30080/tcp") in added]
    assert {f"{place}/tcp" for place in theirs} <= node.table().keys()
    wait_for_web(node)
    assert not [line for line in node.sets() if line.split()[2] in ("192.168.61.1", "fd00:61::1")]
    for place in theirs:
        node.run("ipvsadm", "-D", "-t", place)
    right = node.state()
    node.stop_agent(again)
    node.start_agent_and_wait()
    assert node.state() == right


@pytest.mark.also_in_qemu(reason="packets and agent are on different CPUs there")
def test_a_kill_at_any_moment_of_a_sync_costs_no_connection_and_a_restart_converges(node: Node) -> None:
    """VS-07: nothing is ever flushed; whatever a killed process left behind, the next one completes."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1", "p2"))
    agent = node.start_agent()
    node.wait_for_service(WEB, "p1", "p2")
    with node.connect("client", "tcp", VIP, 80) as connection:
        pod = connection.ask().pod
        node.manifests.write("many", *many_services(300))
        moments = sorted(random.sample(range(2, 290), 3))
        for moment in moments:
            wait_for(lambda at=moment: len(node.table()) >= at, f"{moment} Services are served")  # type: ignore[misc] # default argument
            agent.signal(signal.SIGKILL)
            assert agent.wait() == -signal.SIGKILL
            assert connection.ask().pod == pod, f"killed at {moment}"
            agent = node.start_agent()
        wait_for(lambda: len(node.table()) == 301, "all Services are served")
        wait_for(lambda: node.has_address("10.97.1.44"), "the last address is there")
        assert connection.ask().pod == pod
        flows = [line.split() for line in node.run("ipvsadm", "-Lnc").splitlines()]
        assert [f[5] for f in flows if len(f) == 6 and f[2] == "ESTABLISHED"] == [f"{_address(pod)}:8080"]
    planned = node.call(*node.plan_words("ipvsadm"))
    assert node.ipvsadm() == sorted(planned.stdout.splitlines())
    addresses = node.call(*node.plan_words("addresses"))
    wait_for(lambda: node.addresses() == sorted(addresses.stdout.split()), "all addresses are bound")


def _address(pod: str) -> str:
    return {"p1": "10.244.0.11", "p2": "10.244.0.12"}[pod]
