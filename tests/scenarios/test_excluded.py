"""What `excludeCIDRs` protects, and what becomes of a virtual server that fails (sections 3 and 5)."""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Network
from ipvsagent.model.events import Changed, Listed
from ipvsagent.model.objects import Kind
from ipvsagent.model.state import SetEntry
from support.builders import address, endpoint_slice, service
from support.fake_node import FakeNode, new_kernel

SETTINGS = Settings(exclude_networks=(Network.parse("10.96.0.0/24"),))


def _held(node: FakeNode) -> list[str]:
    return sorted(str(v.key) for v in node.kernel.ipvs.list_virtual_servers())


def _bound(node: FakeNode) -> list[str]:
    listed = node.kernel.addresses.list_addresses()
    return sorted(str(a.address) for a in listed if a.link_name == "kube-ipvs0")


def test_what_lies_in_an_excluded_network_is_never_removed_at_start() -> None:
    """VS-09, VS-08, DEV-28: neither virtual server nor address; what lies outside goes."""
    kernel = new_kernel()
    FakeNode(kernel).hear_all([service("shop/in", "10.96.0.10"), service("shop/out", "10.97.0.10")])
    restarted = FakeNode(kernel, SETTINGS)
    restarted.hear_all()
    assert _held(restarted) == ["10.96.0.10:80/TCP"]
    assert _bound(restarted) == ["10.96.0.10"]


def test_a_service_in_an_excluded_network_is_served_like_any_other() -> None:
    """VS-09: the exclusion stops neither creation nor change."""
    kernel = new_kernel()
    FakeNode(kernel).hear_all([service()], [endpoint_slice("10.244.0.11")])
    excluding = Settings(scheduler="lc", exclude_networks=SETTINGS.exclude_networks)
    restarted = FakeNode(kernel, excluding)
    restarted.hear_all([service(), service("shop/new", "10.96.0.20")], [endpoint_slice("10.244.0.12")])
    restarted.settle()
    assert _held(restarted) == ["10.96.0.10:80/TCP", "10.96.0.20:80/TCP"]
    assert _bound(restarted) == ["10.96.0.10", "10.96.0.20"]
    assert {v.scheduler for v in kernel.ipvs.list_virtual_servers()} == {"lc"}
    assert restarted.status().failures == ()


def test_an_address_of_the_dummy_interface_that_nobody_wants_goes() -> None:
    """ADR-07, ADR-08: also one that somebody else put there."""
    kernel = new_kernel()
    kernel.add_link("kube-ipvs0", "dummy")
    kernel.add_address("kube-ipvs0", address("10.99.9.9"), 32)
    node = FakeNode(kernel)
    node.hear_all([service()])
    assert _bound(node) == ["10.96.0.10"]


def test_loopback_and_link_local_addresses_of_the_dummy_interface_stay() -> None:
    """ADR-06, ADR-07: the kernel puts an IPv6 link-local address there by itself."""
    kernel = new_kernel()
    kernel.add_link("kube-ipvs0", "dummy")
    kernel.add_address("kube-ipvs0", address("fe80::1234"), 64)
    node = FakeNode(kernel)
    node.hear_all([service()])
    assert _bound(node) == ["10.96.0.10", "fe80::1234"]
    assert node.status().failures == ()


def test_weights_of_a_drained_real_server_are_put_right_at_start_and_later() -> None:
    """VS-12, DEV-17: a previous process left it at weight 0, and it is wanted again."""
    kernel = new_kernel()
    FakeNode(kernel).hear_all([service()], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    kernel.set_weight("10.96.0.10:80/TCP", "10.244.0.11:8080", 0)
    restarted = FakeNode(kernel)
    restarted.hear_all([service()], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    reals = kernel.ipvs.list_real_servers(kernel.ipvs.list_virtual_servers()[0].key)
    assert {r.weight for r in reals} == {1}


def test_a_change_that_the_kernel_refuses_keeps_the_working_virtual_server_and_its_address() -> None:
    """VS-10, DEV-08."""
    kernel = new_kernel()
    FakeNode(kernel).hear_all([service()], [endpoint_slice("10.244.0.11")])
    refusing = FakeNode(kernel, Settings(scheduler="lblc"))
    _lose_scheduler(refusing)
    refusing.hear_all([service()], [endpoint_slice("10.244.0.11")])
    assert _held(refusing) == ["10.96.0.10:80/TCP"]
    assert _bound(refusing) == ["10.96.0.10"]
    assert [v.scheduler for v in kernel.ipvs.list_virtual_servers()] == ["rr"]
    assert refusing.status().failures[0] == "10.96.0.10:80/TCP: change virtual server 10.96.0.10:80/TCP: ENOENT"


def test_set_entries_are_there_although_the_virtual_server_cannot_be_made() -> None:
    """SET-31, DEV-07: one that fails keeps nothing else from being written."""
    node = FakeNode(settings=Settings(scheduler="lblc"))
    _lose_scheduler(node)
    node.hear_all([service()])
    assert _held(node) == []
    texts = [e.text for e in _entries(node, "KUBE-CLUSTER-IP")]
    assert texts == ["10.96.0.10,tcp:80"]


def test_an_endpoint_slice_that_differs_in_nothing_that_counts_writes_nothing() -> None:
    """DEV-33, SYN-11, EP-04: a new generation of equal endpoints, heard alone and in a list."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.11", generation=7)))
    node.hear(Listed(Kind.ENDPOINT_SLICE, (endpoint_slice("10.244.0.11", generation=8),)))
    assert node.operations() == []


def _lose_scheduler(node: FakeNode) -> None:
    """Let the kernel refuse every virtual server with scheduler `lblc`, which was there when the agent started."""
    node.kernel.modules_available.discard("ip_vs_lblc")
    node.kernel.modules_loaded.discard("ip_vs_lblc")


def _entries(node: FakeNode, name: str) -> list[SetEntry]:
    return sorted(node.kernel.ip_sets.list_entries(node.kernel.ip_sets.sets[name][0]), key=str)
