"""What is written to the kernel, in which order, and what is not (specification, sections 3 to 8 and 10)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from msgspec.structs import replace

from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.events import Changed
from ipvsagent.model.flows import Flow
from ipvsagent.model.objects import EndpointPort
from ipvsagent.model.state import RealServerKey, SetEntry, SetSpec, SetType
from ipvsagent.planner.sets import set_specs
from support.builders import address, endpoint, endpoint_slice, port, service
from support.fake_node import FakeNode, new_kernel

WEB = service(type="LoadBalancer", load_balancer_ips=["198.51.100.7"], source_ranges=["203.0.113.9/32"])
DNS = service("shop/dns", "10.96.0.53", ports=[port(53, protocol="UDP")])
DNS_PORTS = [EndpointPort("", Protocol.UDP, 5353)]


# -- order ---------------------------------------------------------------------------------------------------------


def test_at_a_start_sets_and_rules_stand_before_the_first_virtual_server() -> None:
    """SYN-08, DEV-06: entries first, then the virtual server with its real servers, then the address."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    log = node.operations()
    rules = max(i for i, line in enumerate(log) if line.startswith("commit"))
    sets = max(i for i, line in enumerate(log) if line.startswith("create ipset"))
    entries = [i for i, line in enumerate(log) if line.startswith("add entry")]
    server = log.index("add virtual server 10.96.0.10:80/TCP")
    assert sets < rules < entries[0]
    assert entries[-1] < server < log.index("add address 10.96.0.10")


def test_a_set_gets_new_entries_before_it_loses_old_ones() -> None:
    """SET-32, DEV-04: in two messages for all sets, not one program an entry."""
    node = FakeNode()
    pods = [endpoint(f"10.244.0.{n}", node="node-1") for n in range(11, 31)]
    node.hear_all([service()], [endpoint_slice(*pods[:10])])
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice(*pods[10:])))
    entries = [line for line in node.operations() if "entry" in line]
    assert [line.split()[0] for line in entries] == ["add"] * 10 + ["remove"] * 10
    assert node.kernel.sends == 3  # additions, real servers, removals


# -- nothing is written that is right already ----------------------------------------------------------------------


def test_a_restart_writes_nothing_not_even_a_range_of_one_address() -> None:
    """SYS-14, SET-33, DEV-23, VS-15: settings, rules, sets and a /32 that the kernel lists without its length."""
    node = FakeNode()
    node.hear_all([WEB, DNS], [endpoint_slice("10.244.0.11")])
    entry = next(e for e in node.kernel.ip_sets.sets["KUBE-LOAD-BALANCER-SOURCE-CIDR"][1])
    assert entry.text == "198.51.100.7,tcp:80,203.0.113.9"
    node.kernel.clear_log()
    again = FakeNode(node.kernel)
    again.hear_all([WEB, DNS], [endpoint_slice("10.244.0.11")])
    assert again.operations() == []


def test_a_kernel_setting_that_differs_is_the_only_one_written() -> None:
    """SYS-14."""
    kernel = FakeNode().kernel
    kernel.sysctls.values["net/ipv4/vs/expire_nodest_conn"] = "0"
    kernel.clear_log()
    assert FakeNode(kernel).operations() == ["write net/ipv4/vs/expire_nodest_conn 1"]


def test_a_node_that_serves_ipv6_without_forwarding_it_gets_a_warning() -> None:
    """DEV-31: not changed unasked."""
    node = FakeNode()
    warnings = [line for line in node.log.lines if "IPv6 is not forwarded" in line]
    assert len(warnings) == 1
    assert node.kernel.sysctls.values["net/ipv6/conf/all/forwarding"] == "0"


# -- sets that somebody else made ----------------------------------------------------------------------------------

CLUSTER_IP = next(s for s in set_specs(Family.IPV4) if s.name == "KUBE-CLUSTER-IP")


@pytest.mark.parametrize(
    "wrong",
    [
        SetSpec("KUBE-CLUSTER-IP", SetType.HASH_IP, Family.IPV4),
        SetSpec("KUBE-CLUSTER-IP", SetType.HASH_IP_PORT, Family.IPV6),
        SetSpec("KUBE-CLUSTER-IP", SetType.HASH_IP_PORT, Family.IPV4, 1024),
    ],
    ids=["type", "family", "maxelem"],
)
def test_a_set_that_cannot_serve_is_replaced(wrong: SetSpec) -> None:
    """SET-34, DEV-25: neither is the start given up, nor is the wrong set used."""
    kernel = new_kernel()
    kernel.ip_sets.create(wrong)
    node = FakeNode(kernel)
    node.hear_all([service()], [])
    spec, entries = kernel.ip_sets.sets["KUBE-CLUSTER-IP"]
    assert spec == CLUSTER_IP
    assert {e.text for e in entries} == {"10.96.0.10,tcp:80"}
    assert node.status().synchronised


def test_a_set_of_the_right_kind_is_replaced_under_the_rules_that_match_it() -> None:
    """SET-34, DEV-25: swapped with all its entries; the rules are not touched."""
    kernel = FakeNode().kernel
    held = SetEntry("KUBE-CLUSTER-IP", 443, Protocol.TCP, address("10.96.0.1"))
    kernel.ip_sets.sets["KUBE-CLUSTER-IP"] = replace(CLUSTER_IP, max_elements=1024), {held}
    kernel.clear_log()
    log = FakeNode(kernel).operations()
    assert [line for line in log if "commit" in line or "remove" in line] == []
    assert "swap ipsets KUBE-IPVSAGENT-TEMP KUBE-CLUSTER-IP" in log
    assert kernel.ip_sets.sets["KUBE-CLUSTER-IP"] == (CLUSTER_IP, {held})
    assert "KUBE-IPVSAGENT-TEMP" not in kernel.ip_sets.sets


def test_a_bitmap_of_fewer_ports_is_replaced() -> None:
    """SET-34, DEV-25: a port outside its range could never be added."""
    kernel = FakeNode().kernel
    spec = kernel.ip_sets.sets["KUBE-NODE-PORT-TCP"][0]
    held = SetEntry("KUBE-NODE-PORT-TCP", 30080)
    kernel.ip_sets.sets["KUBE-NODE-PORT-TCP"] = replace(spec, max_elements=2768), {held}
    FakeNode(kernel)
    assert kernel.ip_sets.sets["KUBE-NODE-PORT-TCP"] == (spec, {held})


def test_a_larger_set_is_good() -> None:
    """SET-34, DEV-24: one that grew on an earlier run is kept."""
    kernel = FakeNode().kernel
    kernel.ip_sets.sets["KUBE-CLUSTER-IP"] = replace(CLUSTER_IP, max_elements=131072), set()
    kernel.clear_log()
    assert FakeNode(kernel).operations() == []


# -- real servers that go ------------------------------------------------------------------------------------------


def _persistent() -> FakeNode:
    """A node with a persistent virtual server that has just lost one of two real servers, with connections."""
    sticky = service(affinity_timeout_seconds=600)
    node = FakeNode()
    node.hear_all([sticky], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    node.kernel.set_connections("10.96.0.10:80/TCP", "10.244.0.11:8080", active=1, inactive=0)
    node.hear(Changed(endpoint_slice("10.244.0.12")))
    return node


def _weights(kernel: FakeKernel) -> dict[str, int]:
    return {str(r.address): r.weight for v in kernel.ipvs.list_virtual_servers() for r in v.real_servers}


def test_a_client_with_affinity_leaves_a_real_server_that_drains() -> None:
    """GT-09: weight 0, and templates that end with it (expire_quiescent_template)."""
    node = _persistent()
    assert _weights(node.kernel) == {"10.244.0.11": 0, "10.244.0.12": 1}
    assert node.kernel.sysctls.values["net/ipv4/vs/expire_quiescent_template"] == "1"


def test_a_surplus_real_server_that_is_gone_when_it_is_looked_up_is_done_with() -> None:
    """GT-01, GT-04: the kernel is read again, and nothing remains to be done."""
    node = _persistent()
    key = next(iter(node.kernel.ipvs.table))
    del node.kernel.ipvs.table[key][1][RealServerKey(address("10.244.0.11"), 8080)]
    node.settle()
    assert _weights(node.kernel) == {"10.244.0.12": 1}
    assert node.status().synchronised
    assert node.reconciler.next_wakeup() is None


# -- flows ---------------------------------------------------------------------------------------------------------


def _flow(server: str, *, to: str = "10.96.0.53", number: int = 53, of: Protocol = Protocol.UDP) -> Flow:
    client = address("10.244.0.3")
    return Flow(of, client, 4000, address(to), number, address(server), 5353, client, 4000, id=1)


def test_flows_to_every_real_server_are_kept_whatever_its_conditions() -> None:
    """CT-03: a local one, and one that serves while it terminates because nothing is ready."""
    going = endpoint("10.244.1.8", ready=False, terminating=True)
    node = FakeNode()
    node.hear_all([DNS], [endpoint_slice("10.244.0.7", going, of="shop/dns", ports=DNS_PORTS)])
    kept = _flow("10.244.1.8")
    node.kernel.conntrack.flows += [_flow("10.244.0.7"), kept]
    node.hear(Changed(endpoint_slice(going, of="shop/dns", ports=DNS_PORTS)))
    assert node.kernel.conntrack.flows == [kept]


def test_a_port_that_equals_another_services_node_port_loses_no_valid_flow() -> None:
    """CT-06, DEV-22: frontends are exact addresses, so port 53 at a cluster IP is no node port 53."""
    other = service("shop/other", "10.96.0.54", type="NodePort", ports=[port(80, protocol="UDP", node_port=53)])
    node = FakeNode()
    before = endpoint_slice("10.244.0.9", of="shop/other", ports=DNS_PORTS)
    node.hear_all([DNS, other], [endpoint_slice("10.244.0.7", of="shop/dns", ports=DNS_PORTS), before])
    kept, stale = _flow("10.244.0.7"), _flow("10.244.0.9", to="192.168.60.1")
    node.kernel.conntrack.flows += [kept, stale]
    node.hear(Changed(endpoint_slice("10.244.0.10", of="shop/other", ports=DNS_PORTS)))
    assert node.kernel.conntrack.flows == [kept]


def test_cleaning_flows_touches_nothing_of_ipvs() -> None:
    """CT-09, GT-02: the real server is removed, its flows are deleted, and that is all."""
    node = FakeNode()
    node.hear_all([DNS], [endpoint_slice("10.244.0.7", "10.244.0.8", of="shop/dns", ports=DNS_PORTS)])
    node.kernel.conntrack.flows.append(_flow("10.244.0.7"))
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.0.8", of="shop/dns", ports=DNS_PORTS)))
    removed, deleted = node.operations()
    assert removed == "remove real server 10.244.0.7:5353 of 10.96.0.53:53/UDP"
    assert deleted.startswith("delete flow udp 10.244.0.3:4000")


# -- the process itself --------------------------------------------------------------------------------------------

_ADJUST = """
import sys
from types import SimpleNamespace
from ipvsagent.agent import Agent
from ipvsagent.config.types import Settings
log = SimpleNamespace(warning=lambda text, **fields: print(text))
Agent._protect_from_oom(SimpleNamespace(_settings=Settings(oom_score_adjust=int(sys.argv[1])), _log=log))
print(open("/proc/self/oom_score_adj").read().strip())
"""


@pytest.mark.parametrize(
    ("value", "expected"), [("1000", ["1000"]), ("5000", ["oom_score_adj not set"])], ids=["possible", "refused"]
)
def test_the_agent_tells_the_kernel_how_dispensable_it_is(value: str, expected: list[str]) -> None:
    """SYS-13, CFG-14: a value that the kernel refuses is logged, and the agent goes on."""
    ended = subprocess.run([sys.executable, "-c", _ADJUST, value], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[: len(expected)] == expected
