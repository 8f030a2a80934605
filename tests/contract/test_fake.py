"""What the fake kernel does beyond the drivers: its record, its modules, and what tests may do to it."""

from __future__ import annotations

import pytest

from ipvsagent.errors import AlreadyExists, NotFound, NotSupported
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import AddAddress, AddEntry, AddRealServer, AddVirtualServer, RemoveRealServer
from ipvsagent.model.state import RealServer, SetEntry, SetSpec, SetType, VirtualServer, VirtualServerKey

VIP, POD = Address.parse("10.96.0.10"), Address.parse("10.200.0.1")
KEY = VirtualServerKey(Protocol.TCP, VIP, 80)
ADD = AddVirtualServer(VirtualServer(KEY, "rr"))
ADD_REAL = AddRealServer(KEY, RealServer(POD, 8080))
PORTS = SetSpec("PORTS", SetType.BITMAP_PORT, None)


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel with IPVS."""
    made = FakeKernel()
    made.modules.load("ip_vs")
    return made


def test_ipvs_and_its_settings_come_with_the_module() -> None:
    """SYS-01: before it is loaded nothing of IPVS is there."""
    kernel = FakeKernel()
    with pytest.raises(NotSupported):
        kernel.ipvs.apply([ADD])
    for key in ("net/ipv4/vs/conntrack", "net/netfilter/nf_conntrack_max"):
        with pytest.raises(NotFound):
            kernel.sysctls.read(key)
    kernel.modules.load("ip_vs")
    assert kernel.ipvs.apply([ADD]) == [None]
    assert kernel.sysctls.read("net/ipv4/vs/conntrack") == "0"
    assert kernel.sysctls.read("net/netfilter/nf_conntrack_max") == "65536"


def test_only_known_modules_and_settings_can_be_used(kernel: FakeKernel) -> None:
    """DEV-35: a scheduler that cannot be loaded is none."""
    with pytest.raises(NotFound):
        kernel.modules.load("ip_vs_nonsense")
    with pytest.raises(NotFound):
        kernel.sysctls.write("net/ipv4/vs/unknown", "1")
    kernel.modules_available.discard("ip_vs_rr")
    assert "rr" not in kernel.modules.available_schedulers()
    assert [type(r) for r in kernel.ipvs.apply([ADD])] == [NotFound]


def test_the_log_holds_what_was_carried_out_and_nothing_else(kernel: FakeKernel) -> None:
    """In order; a batch is one send, and an empty one is none."""
    entry = AddEntry(SetEntry("PORTS", 80))
    kernel.ip_sets.create(PORTS)
    kernel.ipvs.apply([ADD, ADD, ADD_REAL, RemoveRealServer(KEY, POD, 1)])
    kernel.ip_sets.apply([entry, AddEntry(SetEntry("ABSENT", 80))])
    kernel.ipvs.apply([])
    kernel.sysctls.write("net/ipv4/vs/conntrack", "1")
    assert kernel.log == ["create ipset PORTS", ADD, ADD_REAL, entry, "write net/ipv4/vs/conntrack 1"]
    assert kernel.sends == 2
    kernel.clear_log()
    assert (kernel.log, kernel.sends) == ([], 0)


def test_snapshots_differ_where_anything_differs(kernel: FakeKernel) -> None:
    """And are equal where only the order of what was done does."""
    pods = [RealServer(Address.parse(f"10.200.0.{n}"), 8080) for n in (1, 2)]
    kernel.add_link("kube-ipvs0", "dummy")
    kernel.ip_sets.create(PORTS)
    seen = [kernel.snapshot()]
    changes = (
        lambda: kernel.ipvs.apply([ADD, *(AddRealServer(KEY, pod) for pod in pods)]),
        lambda: kernel.set_weight(str(KEY), "10.200.0.1:8080", 0),
        lambda: kernel.addresses.apply("kube-ipvs0", [AddAddress(VIP)]),
        lambda: kernel.ip_sets.apply([AddEntry(SetEntry("PORTS", 80))]),
        lambda: kernel.sysctls.write("net/ipv4/vs/conntrack", "1"),
    )
    for change in changes:
        change()
        assert kernel.snapshot() not in seen
        seen.append(kernel.snapshot())
    kernel.ipvs.apply([RemoveRealServer(KEY, pods[0].address, 8080), AddRealServer(KEY, pods[0])])
    kernel.set_weight(str(KEY), "10.200.0.1:8080", 0)
    assert kernel.snapshot() == seen[-1]


def test_connections_are_those_that_a_test_says(kernel: FakeKernel) -> None:
    """They are listed with the real server."""
    kernel.ipvs.apply([ADD, ADD_REAL])
    kernel.set_connections("10.96.0.10:80/TCP", "10.200.0.1:8080", active=3, inactive=4)
    found = kernel.ipvs.list_real_servers(KEY)
    assert [(r.active_connections, r.inactive_connections) for r in found] == [(3, 4)]


def test_what_others_make_is_listed_but_not_recorded(kernel: FakeKernel) -> None:
    """The record is of what the agent sends."""
    kernel.add_foreign_virtual_server("192.0.2.1:443/UDP", "wlc", ["10.9.9.9:443"])
    kernel.add_foreign_set(SetSpec("THEIRS", SetType.HASH_IP, Family.IPV6))
    kernel.add_link("eth0")
    kernel.add_address("eth0", Address.parse("192.0.2.7"), 24)
    assert [str(v.key) for v in kernel.ipvs.list_virtual_servers()] == ["192.0.2.1:443/UDP"]
    assert [s.name for s in kernel.ip_sets.list_sets()] == ["THEIRS"]
    assert [str(a.address) for a in kernel.addresses.list_addresses()] == ["127.0.0.1", "192.0.2.7"]
    assert kernel.log == []
    with pytest.raises(AlreadyExists):
        kernel.add_foreign_set(SetSpec("THEIRS", SetType.BITMAP_PORT, None))
    with pytest.raises(NotFound):
        kernel.add_address("eth1", VIP, 32)
