"""Services with schedulers and weights of their own, in a running agent (DEV-15)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ipvsagent.config.types import Settings
from ipvsagent.kernel.api import Drivers, Results
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.events import Changed, Rejected
from ipvsagent.model.objects import Kind, Problem, Scheduling, Service
from ipvsagent.model.ops import AddVirtualServer, ChangeVirtualServer, IpvsOperation
from ipvsagent.reconciler.mailbox import Reconfigure
from ipvsagent.source.event_recorder import describe
from support.builders import endpoint_slice, key, service
from support.fake_node import FakeNode

WEB, OTHER = "10.96.0.10:80/TCP", "10.96.0.11:80/TCP"
FIRST, SECOND = "10.244.0.11:8080", "10.244.0.12:8080"


def asking(scheduler: str, name: str = "shop/web", cluster_ip: str = "10.96.0.10") -> Service:
    """A Service that asks for a scheduler."""
    return service(name, cluster_ip, scheduling=Scheduling(scheduler))


def schedulers(node: FakeNode) -> dict[str, str]:
    """The scheduler of each virtual server in the kernel."""
    return {str(v.key): v.scheduler for v in node.kernel.ipvs.list_virtual_servers()}


def weights(node: FakeNode) -> dict[str, int]:
    """The weights of the only virtual server's real servers."""
    (server,) = node.kernel.ipvs.list_virtual_servers()
    return {f"{r.address}:{r.port}": r.weight for r in server.real_servers}


def verify(node: FakeNode) -> None:
    """Let verification look at every virtual server."""
    for _ in range(3):
        node.clock.now += 1
        node.reconciler.reconcile()


def without(*names: str) -> FakeKernel:
    """A kernel that lacks schedulers."""
    node = FakeNode()
    node.kernel.modules_available -= {f"ip_vs_{name}" for name in names}
    return node.kernel


class WatchedIpvs:
    """Passes operations on and sees to it that no scheduler is named whose module is not loaded."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.named: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel.ipvs, name)

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        for operation in operations:
            if isinstance(operation, AddVirtualServer | ChangeVirtualServer):
                scheduler = operation.virtual_server.scheduler
                assert f"ip_vs_{scheduler}" in self._kernel.modules_loaded
                self.named.add(scheduler)
        return self._kernel.ipvs.apply(operations)


def test_a_schedulers_module_is_loaded_before_any_virtual_server_names_it() -> None:
    """DEV-15: the kernel would load it by itself, under a lock that can hang for good."""
    kernel = FakeNode().kernel
    watched = WatchedIpvs(kernel)

    def wrap(drivers: Drivers) -> Drivers:
        drivers.ipvs = watched
        return drivers

    node = FakeNode(kernel, wrap=wrap)
    node.hear_all([asking("sh"), asking("wrr", "shop/other", "10.96.0.11")])
    node.hear(Changed(asking("mh")))
    kernel.modules_loaded.discard("ip_vs_sh")  # nobody uses it any more, and somebody has unloaded it
    node.hear(Changed(asking("sh")))
    assert watched.named == {"sh", "wrr", "mh"}
    assert schedulers(node) == {WEB: "sh", OTHER: "wrr"}


def test_a_new_scheduler_changes_virtual_servers_in_place() -> None:
    """VS-05, DEV-15: nothing is removed, so connections stay; and it costs one operation."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    node.hear(Changed(asking("sh")))
    assert node.operations() == [f"change virtual server {WEB}"]
    node.hear(Changed(service()))
    assert schedulers(node) == {WEB: "rr"}


def test_a_service_whose_scheduler_the_kernel_lacks_gets_the_clusters() -> None:
    """DEV-15: it is served with the cluster's; others that ask for the same are reported, too, and nothing fails."""
    node = FakeNode(without("nq"))
    node.hear_all([asking("nq"), asking("sh", "shop/other", "10.96.0.11")])
    assert schedulers(node) == {WEB: "rr", OTHER: "sh"}
    assert node.status().synchronised
    assert [p.name for p in node.status().problems] == ["shop/web"]
    node.hear(Changed(asking("nq", "shop/other", "10.96.0.11")))
    assert [p.name for p in node.status().problems] == ["shop/other", "shop/web"]
    assert len([line for line in node.log.lines if "scheduler requested by a Service is unavailable" in line]) == 1


def test_a_problem_of_an_object_becomes_one_event_of_the_object() -> None:
    """DEV-15: a scheduler that is not there, a conflict, an invalid object; each names object and consequence."""
    node = FakeNode(without("nq"))
    invalid = Problem("Service", "shop/odd", "spec.ports[0].port", "0 is outside 1-65535; this port is ignored")
    rival = service("shop/young", "10.96.0.10")
    node.hear_all([asking("nq"), rival])
    for end in (11, 12, 13):
        node.hear(Rejected(Kind.SERVICE, key("shop/odd"), (invalid,)), Changed(endpoint_slice(f"10.244.0.{end}")))
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    events = [describe(item, "node-1", now) for item in node.announced]
    assert [(e["involvedObject"]["name"], e["reason"], e["type"]) for e in events] == [
        ("web", "InvalidObject", "Warning"),
        ("young", "AddressConflict", "Warning"),
        ("odd", "InvalidObject", "Warning"),
    ]
    assert "`nq` is not available on this node" in events[0]["message"]
    assert "the cluster's scheduler `rr` is used" in events[0]["message"]
    assert "shop/web" in events[1]["message"]
    assert events[2]["message"] == f"Service shop/odd: {invalid.field} {invalid.reason}"


def test_a_scheduler_that_appears_is_used_by_all_that_asked_for_it() -> None:
    """DEV-15: looked for again once a minute, whatever happens meanwhile."""
    node = FakeNode(without("nq"))
    node.hear_all([asking("nq"), asking("nq", "shop/other", "10.96.0.11")])
    node.kernel.modules_available.add("ip_vs_nq")
    node.hear(Changed(endpoint_slice("10.244.0.11")))
    assert schedulers(node) == {WEB: "rr", OTHER: "rr"}
    node.clock.now += 61
    verify(node)
    assert schedulers(node) == {WEB: "nq", OTHER: "nq"}
    assert node.status().problems == ()


def test_a_new_configuration_looks_for_missing_schedulers_at_once() -> None:
    """DEV-15, DEV-35."""
    node = FakeNode(without("nq"))
    node.hear_all([asking("nq")])
    node.kernel.modules_available.add("ip_vs_nq")
    node.hear(Reconfigure(Settings(strict_arp=True)))
    assert schedulers(node) == {WEB: "nq"}


def test_a_service_keeps_its_scheduler_when_the_clusters_changes() -> None:
    """DEV-15: and one without follows."""
    node = FakeNode()
    node.hear_all([asking("sh"), service("shop/other", "10.96.0.11")])
    node.hear(Reconfigure(Settings(scheduler="lc")))
    assert schedulers(node) == {WEB: "sh", OTHER: "lc"}


def test_a_weight_changes_in_place_and_drift_is_measured_against_it() -> None:
    """DEV-15, DEV-17: what somebody else set is set back to the weight that was asked for, not to 1."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11", name="a"), endpoint_slice("10.244.0.12", name="b")])
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.11", name="a", weight=3)))
    assert node.operations() == [f"set weight 3 of real server {FIRST} of {WEB}"]
    node.kernel.set_weight(WEB, FIRST, 1)
    verify(node)
    assert weights(node) == {FIRST: 3, SECOND: 1}
    node.kernel.clear_log()
    verify(node)
    assert node.operations() == []


def test_a_real_server_that_returns_from_draining_gets_the_weight_that_was_asked_for() -> None:
    """DEV-15, DEV-18: revived in place."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11", weight=3)])
    node.kernel.set_connections(WEB, FIRST, active=1, inactive=0)
    node.hear(Changed(endpoint_slice("10.244.0.12", weight=3)))
    assert weights(node) == {FIRST: 0, SECOND: 3}
    node.hear(Changed(endpoint_slice("10.244.0.11", weight=3)))
    assert weights(node)[FIRST] == 3


def test_weight_0_is_no_draining() -> None:
    """DEV-15, GT-03: it stays although it is idle, as long as it has this weight, and is removed like any other."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11", weight=0)])
    node.clock.now += 2000
    node.reconciler.reconcile()
    assert weights(node) == {FIRST: 0}
    assert node.reconciler.counters.draining == 0
    node.hear(Changed(endpoint_slice("10.244.0.12", weight=0)))
    node.settle()
    assert weights(node) == {SECOND: 0}


def test_a_restart_with_schedulers_and_weights_writes_nothing() -> None:
    """VS-07: what is right is left as it is."""
    objects = (
        [replace(asking("mh"), scheduling=Scheduling("mh", 0x18, "mh"))],
        [endpoint_slice("10.244.0.11", weight=7)],
    )
    node = FakeNode()
    node.hear_all(*objects)
    node.kernel.clear_log()
    again = FakeNode(node.kernel)
    again.hear_all(*objects)
    assert again.operations() == []
