"""Which of a node's addresses is the node's IP, and what follows where addresses are counted but not served."""

from __future__ import annotations

import msgspec

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.events import Changed
from ipvsagent.model.objects import EndpointPort, Node
from ipvsagent.planner.facts import node_ips
from ipvsagent.reconciler.node.facts import read_facts
from ipvsagent.reconciler.objects.cache import ObjectCache
from scenarios.facts import entries, plan, real_servers
from support.builders import NODE, addresses, endpoint, endpoint_slice, port, service
from support.fake_node import new_kernel

REMOTE = endpoint_slice(endpoint("10.244.1.11", node="node-2"))


def test_the_first_address_of_each_family_is_the_nodes_ip_unless_another_is_bound() -> None:
    """SYN-03: `bindAddress` replaces the one of its family."""
    reported = addresses("192.168.60.1", "fd00:60::1", "192.168.61.1", "203.0.113.1")
    assert node_ips(reported, None) == addresses("192.168.60.1", "fd00:60::1")
    assert node_ips(reported, addresses("10.1.1.1")[0]) == addresses("10.1.1.1", "fd00:60::1")
    assert node_ips((), None) == ()


def test_a_source_range_lets_node_processes_in_by_the_nodes_ip_alone() -> None:
    """SYN-03, LB-03: a range that holds a further address of the Node object says nothing of this node's IP."""
    cache = ObjectCache()
    cache.apply(Changed(Node("node-1", addresses("192.168.60.1", "203.0.113.1"))))
    facts = read_facts(
        new_kernel().addresses,
        cache,
        node_name="node-1",
        families=(Family.IPV4, Family.IPV6),
        settings=Settings(),
    )
    web = service(type="LoadBalancer", load_balancer_ips=["198.51.100.7"], source_ranges=["203.0.113.0/24"])
    assert entries(plan(web, node=facts), "KUBE-LOAD-BALANCER-SOURCE-IP") == []
    bound = msgspec.structs.replace(facts, internal_addresses=node_ips((), addresses("203.0.113.1")[0]))
    assert entries(plan(web, node=bound), "KUBE-LOAD-BALANCER-SOURCE-IP") == ["198.51.100.7,tcp:80,198.51.100.7"]


def test_external_ips_that_are_not_served_still_count_as_a_way_in() -> None:
    """SVC-08, SVC-14, EP-33: the feature gate takes no endpoint from the cluster IP."""
    web = service(external_ips=["198.51.100.7"], internal_policy="Local")
    state = plan(web, REMOTE, settings=Settings(allow_external_ips=False))
    assert real_servers(state, "10.96.0.10:80/TCP") == ["10.244.1.11:8080"]
    other_family = service(external_ips=["2001:db8::7"], internal_policy="Local")
    assert real_servers(plan(other_family, REMOTE), "10.96.0.10:80/TCP") == []


def test_a_refused_address_counts_as_a_way_in_too() -> None:
    """SVC-14, EP-33: the API server's address is not served here, and changes nothing about the cluster IP."""
    facts = msgspec.structs.replace(NODE, api_server_addresses=frozenset(addresses("198.51.100.7")))
    web = service(external_ips=["198.51.100.7"], internal_policy="Local")
    assert real_servers(plan(web, REMOTE, node=facts), "10.96.0.10:80/TCP") == ["10.244.1.11:8080"]


def test_of_one_services_ways_in_the_cluster_ip_has_precedence_over_its_node_port() -> None:
    """DEV-14: also where another of its ports comes first."""
    web = service(
        "shop/web",
        "192.168.60.1",
        ports=[port(80, name="a", node_port=30080), port(30080, name="b")],
        internal_policy="Local",
    )
    state = plan(web)
    assert entries(state, "KUBE-CLUSTER-IP") == ["192.168.60.1,tcp:80", "192.168.60.1,tcp:30080"]
    ports = [EndpointPort("a", Protocol.TCP, 8080), EndpointPort("b", Protocol.TCP, 8081)]
    local = endpoint_slice(endpoint("10.244.0.11", node="node-1"), ports=ports)
    assert real_servers(plan(web, local), "192.168.60.1:30080/TCP") == ["10.244.0.11:8081"]
