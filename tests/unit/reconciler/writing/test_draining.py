"""Real servers on their way out (rules GT, DEV-18, DEV-19)."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.errors import DumpInterrupted
from ipvsagent.model.address import Protocol
from ipvsagent.model.events import Changed, ClusterNodeAddresses, Deleted, NodePresence
from ipvsagent.model.flows import Flow
from ipvsagent.model.objects import EndpointPort, Kind, Node
from support.builders import addresses, endpoint, endpoint_slice, key, port, service
from support.fake_node import FakeNode

WEB = "10.96.0.10:80/TCP"
OLD = "10.244.0.11:8080"


def draining_node(settings: Settings | None = None, *, active: int = 1) -> FakeNode:
    """A node on which one of two real servers has just been removed while it has connections."""
    node = FakeNode(settings=settings)
    node.hear_all([service()], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    node.kernel.set_connections(WEB, OLD, active=active, inactive=0)
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    return node


def pass_seconds(node: FakeNode, seconds: float) -> None:
    """Let time pass in steps of what the owner thread waits for."""
    end = node.clock.now + seconds
    while True:
        wait = node.reconciler.next_wakeup()
        if wait is None or node.clock.now + wait > end:
            break
        node.clock.now += wait
        node.reconciler.reconcile()
    node.clock.now = end


def test_a_removed_real_server_keeps_its_connections_until_they_end() -> None:
    """GT-03, GT-05: weight 0 first; removed at the first check that finds it idle."""
    node = draining_node()
    assert node.operations() == [f"set weight 0 of real server {OLD} of {WEB}"]
    pass_seconds(node, 30)
    assert len(node.operations()) == 1
    node.kernel.set_connections(WEB, OLD, active=0, inactive=2)
    pass_seconds(node, 5)
    assert len(node.operations()) == 1
    node.kernel.set_connections(WEB, OLD, active=0, inactive=0)
    pass_seconds(node, 2)
    assert node.operations()[1:] == [f"remove real server {OLD} of {WEB}"]
    assert node.reconciler.next_wakeup() is None


@pytest.mark.parametrize(("scheduler", "flags"), [("mh", 0x10), ("sh", 0)])
def test_a_hash_may_fall_back_while_a_real_server_drains_and_only_then(scheduler: str, flags: int) -> None:
    """VS-03, DEV-16: before the weight goes, until the real server has gone; two messages more a drain."""
    node = draining_node(Settings(scheduler=scheduler))
    assert node.operations() == [f"change virtual server {WEB}", f"set weight 0 of real server {OLD} of {WEB}"]
    assert node.kernel.ipvs.list_virtual_servers()[0].flags == flags | 0x8
    for _ in range(40):
        node.clock.now += 1
        node.reconciler.reconcile()
    FakeNode(node.kernel, Settings(scheduler=scheduler)).hear_all([service()], [endpoint_slice("10.244.0.12")])
    assert len(node.operations()) == 2, "neither looking for drift nor a restart changes anything"
    node.kernel.set_connections(WEB, OLD, active=0, inactive=0)
    pass_seconds(node, 2)
    assert node.operations()[2:] == [f"remove real server {OLD} of {WEB}", f"change virtual server {WEB}"]
    assert node.kernel.ipvs.list_virtual_servers()[0].flags == flags


def test_an_endpoint_that_returns_takes_new_clients_before_falling_back_ends() -> None:
    """DEV-41, DEV-18: so that no client is refused in between."""
    node = draining_node(Settings(scheduler="sh"))
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.11", "10.244.0.12")))
    assert node.operations() == [f"set weight 1 of real server {OLD} of {WEB}", f"change virtual server {WEB}"]


def test_a_hash_that_may_fall_back_anyway_and_one_without_another_real_server_are_left_alone() -> None:
    """DEV-41: what a Service or the configuration asks for stays; with nobody to fall back to there is no need."""
    node = draining_node(Settings(scheduler="sh", scheduler_flags=0x8))
    assert node.operations() == [f"set weight 0 of real server {OLD} of {WEB}"]
    node = FakeNode(settings=Settings(scheduler="sh"))
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.set_connections(WEB, OLD, active=1, inactive=0)
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice()))
    assert node.operations() == [f"set weight 0 of real server {OLD} of {WEB}"]
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    assert node.operations()[1:] == [
        f"change virtual server {WEB}",
        f"add real server 10.244.0.12:8080 to {WEB}",
    ]


def test_the_deadline_holds() -> None:
    """DEV-19: an idle but open connection does not keep a real server for ever."""
    node = draining_node(Settings(drain_timeout_seconds=60))
    pass_seconds(node, 58)
    assert len(node.operations()) == 1
    pass_seconds(node, 4)
    assert node.operations()[1:] == [f"remove real server {OLD} of {WEB}"]


def test_an_endpoint_that_returns_gets_its_weight_back_in_place() -> None:
    """GT-07 as changed by DEV-18: never removed and added."""
    node = draining_node()
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.11", "10.244.0.12")))
    assert node.operations() == [f"set weight 1 of real server {OLD} of {WEB}"]
    node.kernel.set_connections(WEB, OLD, active=0, inactive=0)
    pass_seconds(node, 5)
    assert len(node.operations()) == 1
    assert node.reconciler.next_wakeup() is None


def test_other_changes_leave_a_draining_real_server_alone() -> None:
    """GT-06."""
    node = draining_node()
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.12", "10.244.0.13")))
    assert node.operations() == [f"add real server 10.244.0.13:8080 to {WEB}"]


def test_a_draining_real_server_found_at_start_goes_on_draining() -> None:
    """GT-08 as changed by DEV-19: the state is rebuilt from weight 0."""
    before = draining_node()
    before.kernel.clear_log()
    node = FakeNode(before.kernel)
    node.hear_all([service()], [endpoint_slice("10.244.0.12")])
    assert node.operations() == []
    node.kernel.set_connections(WEB, OLD, active=0, inactive=0)
    pass_seconds(node, 2)
    assert node.operations() == [f"remove real server {OLD} of {WEB}"]


def test_udp_and_sctp_real_servers_go_at_once() -> None:
    """GT-02."""
    node = FakeNode()
    ports = [port(53, name="u", protocol="UDP"), port(53, name="s", protocol="SCTP")]
    slice_ports = [EndpointPort("u", Protocol.UDP, 53), EndpointPort("s", Protocol.SCTP, 53)]
    node.hear_all([service(ports=ports)], [endpoint_slice("10.244.0.11", "10.244.0.12", ports=slice_ports)])
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.12", ports=slice_ports)))
    assert node.operations() == [
        "remove real server 10.244.0.11:53 of 10.96.0.10:53/UDP",
        "remove real server 10.244.0.11:53 of 10.96.0.10:53/SCTP",
    ]


def test_a_removed_service_takes_its_draining_real_servers_along() -> None:
    """VS-08, DEV-20: deliberate."""
    node = draining_node()
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert node.kernel.ipvs.list_virtual_servers() == []
    pass_seconds(node, 2)
    assert node.status().synchronised
    assert node.reconciler.next_wakeup() is None


def test_a_draining_real_server_that_somebody_removed_is_forgotten() -> None:
    """GT-10: the kernel is read again and the state is right."""
    node = draining_node()
    node.kernel.ipvs.flush()
    node.settle()
    assert node.status().synchronised
    assert [str(r.address) for r in node.kernel.ipvs.list_virtual_servers()[0].real_servers] == ["10.244.0.12"]


def connection(source_port: int, *, over: bool) -> Flow:
    """A tracked connection of the real server that goes."""
    client, vip, server = addresses("192.168.60.2", "10.96.0.10", "10.244.0.11")
    return Flow(Protocol.TCP, client, source_port, vip, 80, server, 8080, client, source_port, over=over)


def test_connections_in_time_wait_do_not_prolong_a_drain() -> None:
    """GT-03: closed connections are distinguished from half-closed ones, which keep their real server."""
    node = draining_node()
    flows = node.kernel.conntrack.flows
    flows += [connection(40000, over=True), connection(40001, over=False)]
    node.kernel.set_connections(WEB, OLD, active=0, inactive=2)
    pass_seconds(node, 30)
    assert node.operations() == REMOVED[:1]
    flows[1] = connection(40001, over=True)
    pass_seconds(node, 6)
    assert node.operations() == REMOVED


def test_what_is_not_tracked_is_waited_for() -> None:
    """GT-03: an inactive connection that connection tracking does not know may be half closed."""
    node = draining_node()
    node.kernel.conntrack.flows.append(connection(40000, over=True))
    node.kernel.set_connections(WEB, OLD, active=0, inactive=2)
    pass_seconds(node, 30)
    assert node.operations() == REMOVED[:1]


def test_a_full_table_is_not_walked_and_an_error_of_it_only_delays() -> None:
    """GT-03: the check is cheap, and a real server stays if the check has no result."""
    node = draining_node()
    node.kernel.sysctls.values["net/netfilter/nf_conntrack_count"] = "1000000"
    node.kernel.conntrack.flows.append(connection(40000, over=True))
    node.kernel.set_connections(WEB, OLD, active=0, inactive=1)
    pass_seconds(node, 10)
    assert node.kernel.conntrack.listings == 0
    node.kernel.sysctls.values["net/netfilter/nf_conntrack_count"] = "1"
    node.kernel.conntrack.failures.append(DumpInterrupted("list connections"))
    pass_seconds(node, 2)
    assert node.kernel.conntrack.listings == 1
    assert node.operations() == REMOVED[:1]
    pass_seconds(node, 6)
    assert node.operations() == REMOVED


REMOVED = [f"set weight 0 of real server {OLD} of {WEB}", f"remove real server {OLD} of {WEB}"]


def node_with_endpoint_on(node_name: str, *, terminating: bool = False) -> FakeNode:
    """A node with an endpoint on another one, whose real server has a connection; the questions are kept."""
    node = FakeNode()
    stays = endpoint("10.244.0.12")
    node.hear_all([service()], [endpoint_slice(endpoint("10.244.0.11", node=node_name), stays)], [Node("node-3")])
    node.kernel.set_connections(WEB, OLD, active=1, inactive=0)
    node.kernel.clear_log()
    if terminating:
        leaving = endpoint("10.244.0.11", node=node_name, ready=False, terminating=True)
        node.hear(Changed(endpoint_slice(leaving, stays)))
    return node


def test_an_endpoint_whose_node_is_gone_is_removed_at_once() -> None:
    """DEV-42: without a drain; the node was deleted before its endpoints were."""
    node = node_with_endpoint_on("node-3")
    node.hear(Deleted(Kind.NODE, Node("node-3").key))
    assert node.operations() == []
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    assert node.operations() == REMOVED
    assert node.reconciler.next_wakeup() is None


def test_a_node_that_a_listing_lacks_is_gone_and_one_that_it_has_is_not() -> None:
    """DEV-42: known from listings of all nodes, too; one that no listing had may be newer than they are."""
    node = node_with_endpoint_on("node-2")
    node.hear(ClusterNodeAddresses({"node-1": (), "node-2": ()}), ClusterNodeAddresses({"node-1": ()}))
    node.hear(ClusterNodeAddresses({"node-1": (), "node-2": ()}))
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    pass_seconds(node, 20)
    assert node.operations() == REMOVED[:1]
    node.hear(ClusterNodeAddresses({"node-1": ()}))
    pass_seconds(node, 2)
    assert node.operations() == REMOVED


def test_the_node_of_an_endpoint_that_left_is_asked_for_now_and_then() -> None:
    """DEV-42: the answer decides; no answer leaves the drain as it is."""
    node = node_with_endpoint_on("node-9")
    node.asked.clear()
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    questions = node.asked
    assert questions == []
    pass_seconds(node, 2)
    assert questions == ["node-9"]
    node.hear(NodePresence("node-9", present=True))
    pass_seconds(node, 40)
    assert questions == ["node-9", "node-9"]
    assert node.operations() == REMOVED[:1]
    node.hear(NodePresence("node-9", present=False))
    pass_seconds(node, 2)
    assert node.operations() == REMOVED


def test_this_node_is_never_gone() -> None:
    """DEV-42: real servers on it drain, even if the cluster has no such Node."""
    node = node_with_endpoint_on("node-1")
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    pass_seconds(node, 2)
    node.hear(NodePresence("node-1", present=False))
    pass_seconds(node, 20)
    assert [o for o in node.operations() if "real server" in o] == REMOVED[:1]
    assert "node-1" not in node.asked


def test_a_pod_that_terminated_has_had_its_grace_period() -> None:
    """DEV-19: while it terminates it drains; a moment after it has left there is nothing that could."""
    node = node_with_endpoint_on("node-2", terminating=True)
    pass_seconds(node, 100)
    assert node.operations() == REMOVED[:1]
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    pass_seconds(node, 4)
    assert node.operations() == REMOVED[:1]
    pass_seconds(node, 3)
    assert node.operations() == REMOVED


def test_an_endpoint_that_moves_to_another_slice_drains_on() -> None:
    """DEV-19: it is still an endpoint of the Service, although it left its slice."""
    node = node_with_endpoint_on("node-2", terminating=True)
    leaving = endpoint("10.244.0.11", node="node-2", ready=False, terminating=True)
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    node.hear(Changed(endpoint_slice(leaving, name="shop/web-other")))
    pass_seconds(node, 20)
    assert node.operations() == REMOVED[:1]
