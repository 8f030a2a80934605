"""Failures that once were not made good, each by itself; the matrix of all stands in `test_kernel_faults`."""

from __future__ import annotations

from faults.faulty import Fault, Faults, Watch, faulty
from ipvsagent.config.types import Settings
from ipvsagent.model.events import Changed, Deleted, NodeAddressesChanged
from ipvsagent.model.objects import Kind, Scheduling
from ipvsagent.reconciler.mailbox import Reconfigure
from oracle.facts import of_kernel
from support.builders import address, endpoint_slice, key, port, service
from support.fake_node import FakeNode, new_kernel

WEB = service(ports=[port(80, node_port=30080)], type="NodePort")
SLICE = endpoint_slice("10.244.0.11")


def _node() -> tuple[FakeNode, Faults]:
    faults, kernel = Faults(), new_kernel()
    node = FakeNode(kernel, wrap=lambda drivers: faulty(drivers, faults, Watch(kernel)))
    node.hear_all([WEB], [SLICE])
    return node, faults


def _fail(faults: Faults, label: str, fault: Fault) -> None:
    """Let an operation fail from its first time on."""
    faults.begin()
    faults.fail_always(label, fault)


def test_a_virtual_server_that_could_not_be_removed_keeps_its_traces_until_it_can() -> None:
    """DEV-07, VS-07: without its address and entries the next agent would take it for somebody else's."""
    node, faults = _node()
    _fail(faults, "ipvs: remove virtual server 10.96.0.10:80/TCP", Fault.BATCH_CUT)
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    found = of_kernel(node.kernel)
    assert found.addresses == {"10.96.0.10"}
    assert found.entries["KUBE-CLUSTER-IP"] == {"10.96.0.10,tcp:80"}
    after_restart = FakeNode(node.kernel)
    after_restart.hear_all([], [])
    assert of_kernel(node.kernel).lines() == set()


def test_a_configuration_that_cannot_be_applied_just_now_is_applied_later() -> None:
    """DEV-35: a scheduler that the kernel lacks is refused; a busy module is retried."""
    node, faults = _node()
    _fail(faults, "modules: load ip_vs_wlc", Fault.BUSY)
    node.hear(Reconfigure(Settings(scheduler="wlc")))
    assert not node.status().synchronised
    assert {s for s, _, _ in of_kernel(node.kernel).virtual_servers.values()} == {"rr"}
    faults.end()
    node.settle()
    assert {s for s, _, _ in of_kernel(node.kernel).virtual_servers.values()} == {"wlc"}
    assert node.status().synchronised


def test_a_services_scheduler_that_cannot_be_loaded_just_now_is_used_later() -> None:
    """DEV-15: until then the Service has the cluster's."""
    node, faults = _node()
    _fail(faults, "modules: load ip_vs_nq", Fault.NO_MEMORY)
    asking = service("shop/web", scheduling=Scheduling("nq"))
    node.hear(Changed(asking))
    assert of_kernel(node.kernel).virtual_servers["10.96.0.10:80/TCP"][0] == "rr"
    assert [f for f in node.status().failures if f.startswith("load schedulers")]
    faults.end()
    node.settle()
    assert of_kernel(node.kernel).virtual_servers["10.96.0.10:80/TCP"][0] == "nq"
    assert node.status().problems == ()
    assert node.status().synchronised


def test_a_scheduler_that_cannot_be_loaded_is_retried_only_while_a_service_needs_it() -> None:
    """DEV-15: once no Service asks for it, all is well."""
    node, faults = _node()
    _fail(faults, "modules: load ip_vs_nq", Fault.NO_MEMORY)
    node.hear(Changed(service("shop/other", "10.96.0.11", scheduling=Scheduling("nq"))))
    assert not node.status().synchronised
    node.hear(Deleted(Kind.SERVICE, key("shop/other")))
    node.settle()
    assert node.status().synchronised


def test_an_interface_that_cannot_be_looked_up_fails_only_the_addresses() -> None:
    """DEV-07: errors stay with what they concern."""
    node, faults = _node()
    _fail(faults, "addresses: list_link kube-ipvs0", Fault.NOT_PERMITTED)
    node.hear(Changed(service("shop/other", "10.96.0.11")))
    assert node.status().failures == ("10.96.0.11: addresses: list_link kube-ipvs0: EPERM",)
    assert "10.96.0.11:80/TCP" in of_kernel(node.kernel).virtual_servers
    faults.end()
    node.settle()
    assert "10.96.0.11" in of_kernel(node.kernel).addresses


def test_node_addresses_read_at_the_second_attempt_count_at_once() -> None:
    """NP-07 as changed by DEV-09."""
    node, faults = _node()
    _fail(faults, "addresses: list_addresses", Fault.DUMP_INTERRUPTED)
    node.kernel.add_address("eth0", address("172.18.0.1"), 16)
    node.hear(NodeAddressesChanged())
    faults.end()
    node.settle()
    assert "172.18.0.1:30080/TCP" in of_kernel(node.kernel).virtual_servers
