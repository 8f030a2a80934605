"""What a Service becomes: virtual servers, VIPs and set entries (sections 1, 3, 5 and 6 of the specification)."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family
from ipvsagent.planner.facts import NodeFacts
from scenarios.facts import bound, entries, plan, real_servers, sets_in_use, virtual_servers
from support.builders import NODE, addresses, endpoint, endpoint_slice, port, service


def test_cluster_ip_service_becomes_one_virtual_server_an_address_and_two_entries() -> None:
    """VS-01, VS-02, ADR-03, ADR-08, SET-02, SET-17."""
    state = plan(service(), endpoint_slice("10.244.0.11"))
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]
    assert state.virtual_servers[0].settings == ("rr", 0, 0)
    assert bound(state) == ["10.96.0.10"]
    assert sets_in_use(state) == {
        "KUBE-CLUSTER-IP": ["10.96.0.10,tcp:80"],
        "KUBE-IPVS-IPS": ["10.96.0.10"],
    }


def test_ports_share_one_address() -> None:
    """SVC-05: one virtual server a port and protocol, one address."""
    web = service(
        ports=[port(80, name="http"), port(53, name="dns", protocol="UDP"), port(53, name="d", protocol="SCTP")]
    )
    state = plan(web)
    assert virtual_servers(state) == ["10.96.0.10:53/UDP", "10.96.0.10:53/SCTP", "10.96.0.10:80/TCP"]
    assert entries(state, "KUBE-CLUSTER-IP") == ["10.96.0.10,udp:53", "10.96.0.10,sctp:53", "10.96.0.10,tcp:80"]
    assert bound(state) == ["10.96.0.10"]


def test_session_affinity_makes_every_virtual_server_persistent() -> None:
    """SVC-07, VS-03."""
    web = service(affinity_timeout_seconds=10800, type="NodePort", ports=[port(80, node_port=30080)])
    state = plan(web)
    assert {v.persistence_timeout_seconds for v in state.virtual_servers} == {10800}


@pytest.mark.parametrize(("scheduler", "flags"), [("rr", 0), ("sh", 0), ("mh", 0x10)])
def test_scheduler_is_the_configured_one_and_mh_hashes_ports(scheduler: str, flags: int) -> None:
    """VS-02, VS-03, DEV-16."""
    state = plan(service(), settings=Settings(scheduler=scheduler))
    assert state.virtual_servers[0].settings == (scheduler, flags, 0)


def test_node_port_answers_on_every_node_address_of_the_family() -> None:
    """VS-01, ADR-05, SVC-16, SET-10: a family that the Service lacks gets nothing."""
    web = service(type="NodePort", ports=[port(80, node_port=30080)])
    node = NodeFacts(name="node-1", node_port_addresses=addresses("192.168.60.1", "10.1.1.1", "fd00:60::1"))
    state = plan(web, node=node)
    assert virtual_servers(state) == ["10.1.1.1:30080/TCP", "10.96.0.10:80/TCP", "192.168.60.1:30080/TCP"]
    assert bound(state) == ["10.96.0.10"]
    assert entries(state, "KUBE-NODE-PORT-TCP") == ["30080"]


@pytest.mark.parametrize(
    ("protocol", "policy", "expected"),
    [
        ("TCP", "Cluster", {"KUBE-NODE-PORT-TCP": ["30080"]}),
        ("TCP", "Local", {"KUBE-NODE-PORT-TCP": ["30080"], "KUBE-NODE-PORT-LOCAL-TCP": ["30080"]}),
        ("UDP", "Cluster", {"KUBE-NODE-PORT-UDP": ["30080"]}),
        ("UDP", "Local", {"KUBE-NODE-PORT-UDP": ["30080"], "KUBE-NODE-PORT-LOCAL-UDP": ["30080"]}),
        ("SCTP", "Cluster", {"KUBE-NODE-PORT-SCTP-HASH": ["192.168.60.1,sctp:30080"]}),
        (
            "SCTP",
            "Local",
            {
                "KUBE-NODE-PORT-SCTP-HASH": ["192.168.60.1,sctp:30080"],
                "KUBE-NODE-PORT-LOCAL-SCTP-HASH": ["192.168.60.1,sctp:30080"],
            },
        ),
    ],
)
def test_node_port_entries_by_protocol_and_policy(protocol: str, policy: str, expected: dict[str, list[str]]) -> None:
    """SET-10 to SET-15."""
    web = service(type="NodePort", external_policy=policy, ports=[port(80, protocol=protocol, node_port=30080)])
    found = {k: v for k, v in sets_in_use(plan(web)).items() if "NODE-PORT" in k}
    assert found == expected


def test_without_node_address_there_is_no_node_port_but_the_health_check_port_stays() -> None:
    """SET-35, DEV-34, SVC-15, SET-16."""
    web = service(
        type="LoadBalancer",
        external_policy="Local",
        ports=[port(80, node_port=30080)],
        health_check_node_port=32000,
    )
    state = plan(web, node=NodeFacts(name="node-1"))
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]
    assert entries(state, "KUBE-NODE-PORT-TCP") == []
    assert entries(state, "KUBE-HEALTH-CHECK-NODE-PORT") == ["32000"]


def test_hairpin_entries_of_every_local_endpoint_whatever_its_state() -> None:
    """SET-01."""
    state = plan(
        service(),
        endpoint_slice(
            endpoint("10.244.0.11", node="node-1"),
            endpoint("10.244.0.12", node="node-1", ready=False),
            endpoint("10.244.1.11", node="node-2"),
        ),
    )
    assert entries(state, "KUBE-LOOP-BACK") == [
        "10.244.0.11,tcp:8080,10.244.0.11",
        "10.244.0.12,tcp:8080,10.244.0.12",
    ]


def test_ipv6_uses_the_sets_of_its_family() -> None:
    """SVC-04, SET-02: set names of IPv6."""
    state = plan(service("shop/web", "fd00:96::10"), endpoint_slice(endpoint("fd00:244::11", node="node-1")))
    assert sets_in_use(state) == {
        "KUBE-6-CLUSTER-IP": ["fd00:96::10,tcp:80"],
        "KUBE-6-IPVS-IPS": ["fd00:96::10"],
        "KUBE-6-LOOP-BACK": ["fd00:244::11,tcp:8080,fd00:244::11"],
    }
    assert real_servers(state, "[fd00:96::10]:80/TCP") == ["[fd00:244::11]:8080"]


def test_a_family_that_the_node_cannot_serve_is_left_out() -> None:
    """SYN-01."""
    node = NodeFacts(name="node-1", families=(Family.IPV4,))
    state = plan(service("shop/web", "10.96.0.10", "fd00:96::10"), node=node)
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]


def test_order_of_real_servers_differs_between_nodes_but_not_between_runs() -> None:
    """DEV-39: shuffled per node by a stable seed."""
    from ipvsagent.planner.services import plan_service

    piece = endpoint_slice(*(f"10.244.0.{i}" for i in range(1, 40)))

    def order(node_name: str) -> list[str]:
        made = plan_service(service(), [piece], node=NodeFacts(name=node_name), settings=Settings())
        return [str(r) for r in made.frontends[0].virtual_server.real_servers]

    assert order("node-1") == order("node-1")
    assert order("node-1") != order("node-2")
    assert sorted(order("node-1")) == sorted(order("node-2"))


def test_node_without_name_has_no_local_endpoints() -> None:
    """EP-09: an endpoint without nodeName is not local either."""
    state = plan(service(), endpoint_slice(endpoint("10.244.0.11", node="")), node=NodeFacts(name=""))
    assert entries(state, "KUBE-LOOP-BACK") == []
    assert NODE.name == "node-1"
