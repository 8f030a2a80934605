"""The owner thread's work, pass by pass, on the fake kernel."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family, Network
from ipvsagent.model.events import (
    Changed,
    Deleted,
    DummyInterfaceChanged,
    Listed,
    NodeAddressesChanged,
    Rejected,
)
from ipvsagent.model.objects import Kind, Problem
from ipvsagent.reconciler.mailbox import Reconfigure
from support.builders import address, endpoint_slice, key, port, service
from support.fake_node import FakeNode


def test_nothing_is_written_before_both_kinds_were_listed() -> None:
    """SYN-04: the gate."""
    node = FakeNode()
    node.kernel.clear_log()
    node.hear(Listed(Kind.SERVICE, (service(),)))
    assert node.operations() == []
    assert not node.status().complete
    node.hear(Listed(Kind.ENDPOINT_SLICE, (endpoint_slice("10.244.0.11"),)))
    assert node.status().complete
    assert node.status().synchronised


def test_a_service_is_written_entries_first_and_address_last() -> None:
    """DEV-06: a VIP never answers before it can forward."""
    node = FakeNode()
    node.kernel.clear_log()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    assert node.operations() == [
        "add entry KUBE-CLUSTER-IP 10.96.0.10,tcp:80",
        "add entry KUBE-IPVS-IPS 10.96.0.10",
        "add virtual server 10.96.0.10:80/TCP",
        "add real server 10.244.0.11:8080 to 10.96.0.10:80/TCP",
        "add address 10.96.0.10",
    ]


def test_a_service_goes_virtual_server_first_and_entries_last() -> None:
    """DEV-06: a VIP refuses at once when it is gone."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert node.operations() == [
        "remove virtual server 10.96.0.10:80/TCP",
        "remove address 10.96.0.10",
        "remove entry KUBE-CLUSTER-IP 10.96.0.10,tcp:80",
        "remove entry KUBE-IPVS-IPS 10.96.0.10",
    ]


def test_one_endpoint_more_is_one_message_among_five_hundred_services() -> None:
    """A change costs work in proportion to the change."""
    node = FakeNode()
    services = [service(f"shop/s{i}", f"10.96.{i // 250}.{i % 250 + 1}") for i in range(500)]
    slices = [endpoint_slice("10.244.0.11", of=f"shop/s{i}") for i in range(500)]
    node.hear_all(services, slices)
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.11", "10.244.0.12", of="shop/s77")))
    assert node.operations() == ["add real server 10.244.0.12:8080 to 10.96.0.78:80/TCP"]
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.12", of="shop/s77")))
    assert node.operations() == ["set weight 0 of real server 10.244.0.11:8080 of 10.96.0.78:80/TCP"]
    node.kernel.clear_log()
    node.settle()
    assert node.operations() == ["remove real server 10.244.0.11:8080 of 10.96.0.78:80/TCP"]
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.13", of="shop/s77")))
    assert node.operations() == [
        "add real server 10.244.0.13:8080 to 10.96.0.78:80/TCP",
        "set weight 0 of real server 10.244.0.12:8080 of 10.96.0.78:80/TCP",
    ]


def test_an_unchanged_object_sends_nothing() -> None:
    """SYN-11, SVC-17."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.hear(Changed(service()), Changed(endpoint_slice("10.244.0.11", generation=7)))
    assert node.operations() == []


def test_a_restart_with_the_same_objects_sends_nothing() -> None:
    """VS-07: adopt, never flush."""
    first = FakeNode()
    web = service("shop/web", "10.96.0.10", "fd00:96::10", type="NodePort", ports=[port(80, node_port=30080)])
    slices = [endpoint_slice("10.244.0.11"), endpoint_slice("fd00:244::11")]
    first.hear_all([web], slices)
    before = first.kernel.snapshot()
    first.kernel.clear_log()
    again = FakeNode(first.kernel)
    again.hear_all([web], slices)
    assert again.operations() == []
    assert again.kernel.snapshot() == before


def test_what_went_while_the_agent_was_down_is_removed_at_the_next_start() -> None:
    """VS-07, VS-08: node ports are known by their set entries, VIPs by the dummy interface."""
    first = FakeNode()
    empty = FakeNode().kernel.snapshot()
    web = service(type="NodePort", ports=[port(80, node_port=30080)], external_ips=["192.168.60.1", "198.51.100.7"])
    first.hear_all([web], [endpoint_slice("10.244.0.11")])
    again = FakeNode(first.kernel)
    again.hear_all()
    assert again.kernel.snapshot() == empty


def test_virtual_servers_of_others_stay() -> None:
    """DEV-40: foreign virtual servers are left alone."""
    node = FakeNode()
    node.kernel.add_foreign_virtual_server("192.0.2.1:443/TCP", "wlc", ["10.9.9.9:443"])
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    assert "192.0.2.1:443/TCP" in [str(v.key) for v in node.kernel.ipvs.list_virtual_servers()]
    again = FakeNode(node.kernel)
    again.hear_all()
    assert [str(v.key) for v in node.kernel.ipvs.list_virtual_servers()] == ["192.0.2.1:443/TCP"]


def test_a_relist_finds_what_vanished_and_keeps_what_was_rejected() -> None:
    """No fault makes the agent delete something that still exists."""
    node = FakeNode()
    node.hear_all([service("shop/a", "10.96.0.1"), service("shop/b", "10.96.0.2"), service("shop/c", "10.96.0.3")])
    node.hear(Listed(Kind.SERVICE, (service("shop/a", "10.96.0.1"),), rejected=(key("shop/b"),)))
    assert [str(v.key) for v in node.kernel.ipvs.list_virtual_servers()] == ["10.96.0.1:80/TCP", "10.96.0.2:80/TCP"]


def test_a_rejected_update_keeps_the_last_good_version_and_is_reported() -> None:
    """Nothing is lost by bad input."""
    node = FakeNode()
    node.hear_all([service()])
    problem = Problem("Service", "shop/web", "spec.ports", "is not a list; the Service stays as it was")
    node.hear(Rejected(Kind.SERVICE, key("shop/web"), (problem,)))
    assert len(node.kernel.ipvs.list_virtual_servers()) == 1
    assert node.status().problems == (problem,)
    node.hear(Changed(service()))
    assert node.status().problems == ()


def test_a_new_scheduler_changes_virtual_servers_in_place() -> None:
    """DEV-47: never remove and add."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    node.hear(Reconfigure(Settings(scheduler="sh")))
    assert node.operations() == ["change virtual server 10.96.0.10:80/TCP"]
    assert node.kernel.ipvs.list_virtual_servers()[0].scheduler == "sh"


def test_a_scheduler_that_the_kernel_lacks_is_refused_and_the_old_one_stays() -> None:
    """DEV-35."""
    node = FakeNode()
    node.hear_all([service()])
    node.hear(Reconfigure(Settings(scheduler="lcc")))
    assert node.kernel.ipvs.list_virtual_servers()[0].scheduler == "rr"
    assert any("scheduler `lcc` is not known to this kernel" in line for line in node.log.lines)


def test_a_new_node_address_gets_node_ports_and_a_lost_one_loses_them() -> None:
    """NP-01, NP-07, DEV-09."""
    node = FakeNode()
    node.hear_all([service(type="NodePort", ports=[port(80, node_port=30080)])])
    node.kernel.add_address("eth0", address("10.1.1.1"), 24)
    node.kernel.clear_log()
    node.hear(NodeAddressesChanged())
    note = "entry IPVSAGENT-NODE-PORT-IPS 10.1.1.1"
    assert node.operations() == [f"add {note}", "add virtual server 10.1.1.1:30080/TCP"]
    node.kernel.remove_address("eth0", address("10.1.1.1"))
    node.kernel.clear_log()
    node.hear(NodeAddressesChanged())
    assert node.operations() == ["remove virtual server 10.1.1.1:30080/TCP", f"remove {note}"]


def test_another_node_port_on_the_same_addresses_is_noted_already() -> None:
    """SET-18, DEV-02: the note is one an address, however many Services there are."""
    node = FakeNode()
    node.hear_all([service(type="NodePort", ports=[port(80, node_port=30080)])])
    node.kernel.clear_log()
    node.hear(Changed(service("shop/second", "10.96.0.11", type="NodePort", ports=[port(80, node_port=30081)])))
    assert not [operation for operation in node.operations() if "IPVSAGENT" in operation]


@pytest.mark.parametrize("still_served", [True, False])
def test_node_ports_on_an_address_that_went_while_no_agent_ran_are_removed(*, still_served: bool) -> None:
    """NP-07, VS-08, DEV-40: whether the Service is still there or not; a virtual server of others stays in any case."""
    web = service(type="NodePort", ports=[port(80, node_port=30080)])
    first = FakeNode()
    first.kernel.add_address("eth0", address("10.1.1.1"), 24)
    first.hear_all([web])
    first.kernel.remove_address("eth0", address("10.1.1.1"))
    first.kernel.add_foreign_virtual_server("10.1.1.2:30080/TCP", "wlc", ["10.9.9.9:443"])
    first.kernel.add_foreign_virtual_server("10.1.1.1:99/TCP", "wlc", ["10.9.9.9:443"])
    again = FakeNode(first.kernel)
    again.hear_all([web] if still_served else [])
    left = {str(k) for k in again.kernel.ipvs.list_keys() if k.port in (30080, 99) and k.address.family is Family.IPV4}
    assert left == {"10.1.1.2:30080/TCP", "10.1.1.1:99/TCP"} | ({"192.168.60.1:30080/TCP"} if still_served else set())
    again.kernel.clear_log()
    FakeNode(again.kernel).hear_all([web] if still_served else [])
    assert again.operations() == []


def test_node_ports_of_an_excluded_address_that_went_are_left_alone() -> None:
    """VS-08, DEV-28: excludeCIDRs has precedence over the agent's own notes."""
    web = service(type="NodePort", ports=[port(80, node_port=30080)])
    settings = Settings(exclude_networks=(Network.parse("10.1.1.0/24"),))
    first = FakeNode(settings=settings)
    first.kernel.add_address("eth0", address("10.1.1.1"), 24)
    first.hear_all([web])
    first.kernel.remove_address("eth0", address("10.1.1.1"))
    FakeNode(first.kernel, settings).hear_all([web])
    assert "10.1.1.1:30080/TCP" in {str(k) for k in first.kernel.ipvs.list_keys()}


def test_an_external_ip_that_becomes_a_node_address_leaves_the_dummy_interface() -> None:
    """ADR-04, ADR-07."""
    node = FakeNode()
    node.hear_all([service(external_ips=["198.51.100.7"])])
    node.kernel.add_address("eth0", address("198.51.100.7"), 32)
    node.kernel.clear_log()
    node.hear(NodeAddressesChanged())
    assert node.operations() == ["remove address 198.51.100.7", "remove entry KUBE-IPVS-IPS 198.51.100.7"]


def test_a_removed_dummy_interface_comes_back_with_its_addresses() -> None:
    """Drift is repaired at once where the kernel tells."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    before = node.kernel.snapshot()
    node.kernel.addresses.remove_link("kube-ipvs0")
    node.hear(DummyInterfaceChanged(gone=True))
    assert node.kernel.snapshot() == before


def test_a_removed_address_comes_back_and_one_that_we_removed_does_not() -> None:
    """Drift is repaired; our own change is no drift."""
    node = FakeNode()
    node.hear_all([service("shop/a", "10.96.0.1"), service("shop/b", "10.96.0.2")])
    node.hear(Deleted(Kind.SERVICE, key("shop/b")))
    node.kernel.clear_log()
    node.hear(DummyInterfaceChanged(removed=(address("10.96.0.2"),)))
    assert node.operations() == []
    node.kernel.remove_address("kube-ipvs0", address("10.96.0.1"))
    node.hear(DummyInterfaceChanged(removed=(address("10.96.0.1"),)))
    assert node.operations() == ["add address 10.96.0.1"]


def test_a_missing_virtual_server_is_found_by_the_failing_change_and_restored() -> None:
    """A failed operation that shows drift makes the kernel be read again."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.ipvs.flush()
    node.hear(Changed(endpoint_slice("10.244.0.11", "10.244.0.12")))
    assert not node.status().synchronised
    node.settle()
    assert node.status().synchronised
    servers = node.kernel.ipvs.list_virtual_servers()[0].real_servers
    assert sorted(str(s.address) for s in servers) == ["10.244.0.11", "10.244.0.12"]


def test_wrong_method_and_weight_of_an_adopted_real_server_are_put_right() -> None:
    """DEV-17."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    node.kernel.set_forwarding_method("10.96.0.10:80/TCP", "10.244.0.11:8080", 3)
    node.kernel.set_weight("10.96.0.10:80/TCP", "10.244.0.12:8080", 0)
    again = FakeNode(node.kernel)
    node.kernel.clear_log()
    again.hear_all([service()], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    assert sorted(again.operations()) == [
        "set weight 1 of real server 10.244.0.11:8080 of 10.96.0.10:80/TCP",
        "set weight 1 of real server 10.244.0.12:8080 of 10.96.0.10:80/TCP",
    ]


def test_the_first_sync_begins_with_the_api_server_and_cluster_dns() -> None:
    """DEV-06."""
    node = FakeNode()
    node.kernel.clear_log()
    node.hear_all(
        [
            service("default/kubernetes", "10.96.0.1", ports=[port(443)]),
            service("kube-system/kube-dns", "10.96.0.53", ports=[port(53, protocol="UDP")]),
            service("apps/first", "10.96.0.2"),
        ]
    )
    added = [line for line in node.operations() if line.startswith("add virtual server")]
    assert added == [
        "add virtual server 10.96.0.1:443/TCP",
        "add virtual server 10.96.0.53:53/UDP",
        "add virtual server 10.96.0.2:80/TCP",
    ]


def test_the_loser_of_a_conflict_takes_over_when_the_winner_leaves() -> None:
    """DEV-14."""
    node = FakeNode()
    old = service("shop/old", "10.96.0.1", external_ips=["198.51.100.7"], created_at="2025")
    new = service("shop/new", "10.96.0.2", external_ips=["198.51.100.7"], created_at="2026")
    slices = [endpoint_slice("10.244.0.11", of="shop/old"), endpoint_slice("10.244.0.12", of="shop/new")]
    node.hear_all([old, new], slices)
    assert len(node.status().problems) == 1
    node.kernel.clear_log()
    node.hear(Deleted(Kind.SERVICE, key("shop/old")))
    assert "add real server 10.244.0.12:8080 to 198.51.100.7:80/TCP" in node.operations()
    assert "remove virtual server 198.51.100.7:80/TCP" not in node.operations()
    assert node.status().problems == ()


def test_an_external_address_goes_when_the_api_server_turns_out_to_own_it() -> None:
    """DEV-36: the endpoints of default/kubernetes are followed live."""
    node = FakeNode()
    api = service("default/kubernetes", "10.96.0.1", ports=[port(443)])
    node.hear_all(
        [api, service(external_ips=["198.51.100.7"])], [endpoint_slice("192.168.60.9", of="default/kubernetes")]
    )
    assert node.status().problems == ()
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("198.51.100.7", of="default/kubernetes")))
    assert "remove virtual server 198.51.100.7:80/TCP" in node.operations()
    assert "remove address 198.51.100.7" in node.operations()
    assert [str(p) for p in node.status().problems] == [
        "Service shop/web: spec.externalIPs 198.51.100.7 is an address of the API server; it is not served here"
    ]


def test_an_external_address_goes_when_it_becomes_the_cluster_dns_s_address() -> None:
    """DEV-36: Services that every pod depends on are followed live, whichever comes first."""
    node = FakeNode()
    node.hear_all([service(external_ips=["10.96.0.53"])])
    assert node.status().problems == ()
    node.kernel.clear_log()
    dns = service("kube-system/kube-dns", "10.96.0.53", ports=[port(53, name="dns", protocol="UDP")])
    node.hear(Changed(dns))
    assert "remove virtual server 10.96.0.53:80/TCP" in node.operations()
    assert [str(p) for p in node.status().problems] == [
        "Service shop/web: spec.externalIPs 10.96.0.53 is the cluster IP of the API server or the cluster DNS; "
        "it is not served here"
    ]
    node.hear(Deleted(Kind.SERVICE, dns.key))
    assert node.status().problems == ()


def test_a_healthy_node_says_nothing_of_single_changes() -> None:
    """At the default level; a cluster of ten thousand Services changes all the time."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.log.lines.clear()
    for number in range(12, 40):
        node.hear(Changed(endpoint_slice(f"10.244.0.{number}")))
        node.hear(Changed(service("shop/other", "10.96.0.99")), Deleted(Kind.SERVICE, key("shop/other")))
    node.settle()
    assert [line for line in node.log.lines if not line.startswith("debug: ")] == []
