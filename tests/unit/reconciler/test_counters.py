"""What the owner thread counts while it works."""

from __future__ import annotations

from msgspec.structs import replace

from ipvsagent.errors import AlreadyExists
from ipvsagent.instrumentation.counters import Drift, Histogram
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.events import Changed, Deleted
from ipvsagent.model.objects import EndpointPort, Kind
from ipvsagent.model.ops import AddRealServer, AddVirtualServer, RemoveRealServer, RemoveVirtualServer
from ipvsagent.model.state import NoLocalEndpoints, TrafficPolicyKind, VirtualServer, VirtualServerKey
from ipvsagent.model.statistics import ServicePortName
from ipvsagent.reconciler.ledger.verification import TICK_SECONDS
from support.builders import address, endpoint, endpoint_slice, key, port, service
from support.fake_node import FakeNode

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)


def served() -> FakeNode:
    """A node in step with one Service that has one endpoint."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    return node


def test_values_fall_into_the_bucket_whose_bound_they_do_not_exceed() -> None:
    """MET-01: bounds belong to their bucket; what exceeds them all is counted, too."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 1, 1], 10.0)


def test_operations_are_counted_by_what_they_do_and_how_they_end() -> None:
    """DEV-07: failures by the error that the kernel gave."""
    node = FakeNode()
    node.hear_all()
    node.kernel.ipvs.apply([AddVirtualServer(VirtualServer(WEB, "rr"))])
    node.hear(Changed(service()), Changed(endpoint_slice("10.244.0.11")))
    operations = node.reconciler.counters.operations
    assert operations[AddVirtualServer, AlreadyExists] == 1
    node.settle()
    assert operations[AddRealServer, type(None)] == 1


def test_each_creation_of_a_virtual_server_has_a_mark_of_its_own() -> None:
    """VS-08: it shows a reader that the kernel's counts began at 0 again; it goes with the virtual server."""
    node = served()
    recreated = node.reconciler.counters.recreated
    first = recreated[WEB]
    node.kernel.ipvs.apply([RemoveVirtualServer(WEB)])
    node.clock.now += TICK_SECONDS
    node.reconciler.reconcile()
    assert recreated[WEB] > first
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert recreated == {}


def test_an_adopted_virtual_server_counts_on() -> None:
    """VS-07: a restart creates nothing, so no count begins at 0."""
    node = FakeNode(served().kernel)
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    assert node.reconciler.port_names().keys() == {WEB}
    assert node.reconciler.counters.recreated == {}


def test_drift_is_counted_when_found_and_when_repaired() -> None:
    """DEV-01, DEV-17: a virtual server that differs, and virtual servers that went."""
    node = served()
    counters = node.reconciler.counters
    node.kernel.ipvs.apply([RemoveRealServer(WEB, address("10.244.0.11"), 8080)])
    for _ in range(2):  # a round begins with the tick after the one that ends the last round
        node.clock.now += TICK_SECONDS
        node.reconciler.reconcile()
    assert counters.drift_found == counters.drift_repaired == {Drift.VIRTUAL_SERVER: 1}
    node.kernel.ipvs.apply([RemoveVirtualServer(WEB)])
    node.clock.now += TICK_SECONDS
    node.reconciler.reconcile()
    assert counters.drift_found == {Drift.VIRTUAL_SERVER: 1, Drift.TABLE: 1}
    assert node.kernel.ipvs.list_real_servers(WEB)[0].port == 8080


def test_events_are_pending_until_a_pass_handles_them() -> None:
    """MET-04 to MET-07: counted whether or not they change anything; each object of the first list counts."""
    node = served()
    counters = node.reconciler.counters
    assert counters.changes == {Kind.SERVICE: 1, Kind.ENDPOINT_SLICE: 1}
    node.reconciler.handle([Changed(service()), Changed(endpoint_slice("10.244.0.11"))])
    assert counters.pending == {Kind.SERVICE: 1, Kind.ENDPOINT_SLICE: 1}
    node.reconciler.reconcile()
    assert counters.pending == {}
    assert counters.changes == {Kind.SERVICE: 2, Kind.ENDPOINT_SLICE: 2}


def test_only_passes_that_an_event_asked_for_are_observed() -> None:
    """MET-01, MET-03: looking for drift is none."""
    node = served()
    counters = node.reconciler.counters
    assert sum(counters.passes.counts) == 1
    assert counters.synchronised_at >= counters.queued_at > 0
    node.clock.now += TICK_SECONDS
    node.reconciler.reconcile()
    assert sum(counters.passes.counts) == 1


def test_network_programming_is_observed_once_for_a_slice_that_changed() -> None:
    """MET-10: not for a slice that is the same, has no annotation or was triggered before the process began."""
    node = served()
    histogram = node.reconciler.counters.programming
    later = node.reconciler.counters.queued_at + 3600
    changed = endpoint_slice("10.244.0.12")
    node.hear(Changed(changed, (), 17.0), Changed(endpoint_slice("10.244.0.13")))
    assert sum(histogram.counts) == 0
    node.hear(Changed(changed, (), later))
    assert sum(histogram.counts) == 1
    node.hear(Changed(changed, (), later))
    assert sum(histogram.counts) == 1


def test_a_virtual_server_is_named_after_the_port_that_it_serves() -> None:
    """SVC-05, SVC-16: by the port's name or number, node ports and cluster IPs alike; renaming the port is followed."""
    node = FakeNode()
    slices = [endpoint_slice("10.244.0.11", ports=[EndpointPort("http", Protocol.TCP, 8080)])]
    made = service(type="NodePort", ports=[port(80, name="http", node_port=30080)])
    node.hear_all([made], slices)
    names = node.reconciler.port_names
    http = ServicePortName("shop", "web", "http", Protocol.TCP)
    assert set(names().values()) == {http}
    assert len(names()) == 2
    node.hear(Changed(replace(made, ports=(port(80, node_port=30080),))))
    assert set(names().values()) == {http._replace(port="80")}
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert names() == {}


def test_a_virtual_server_that_changes_hands_is_named_after_its_new_owner() -> None:
    """DEV-14: the loser of a conflict has no virtual server, and gets it with its name when the winner goes."""
    node = FakeNode()
    older = service("shop/old", "10.96.0.20", external_ips=["203.0.113.5"], created_at="2025-01-01T00:00:00Z")
    younger = service("shop/new", "10.96.0.21", external_ips=["203.0.113.5"])
    node.hear_all([older, younger])
    shared = VirtualServerKey(Protocol.TCP, address("203.0.113.5"), 80)
    assert node.reconciler.port_names()[shared].service == "old"
    node.hear(Deleted(Kind.SERVICE, older.key))
    assert node.reconciler.port_names()[shared].service == "new"


def test_services_without_local_endpoints_are_published_with_the_pass_that_finds_them() -> None:
    """EP-38, MET-08: the count stands in the status, which a scrape reads."""
    node = FakeNode()
    internal = NoLocalEndpoints(TrafficPolicyKind.INTERNAL, Family.IPV4)
    node.hear_all([service(internal_policy="Local")], [endpoint_slice("10.244.0.11")])
    before = node.status()
    node.hear(Changed(endpoint_slice(endpoint("10.244.0.11", node="node-1"))))
    assert (before.no_local_endpoints.get(internal), node.status().no_local_endpoints.get(internal)) == (1, 0)
