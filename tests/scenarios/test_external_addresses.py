"""External IPs and addresses of load balancers, and the Services that claim them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipvsagent.config.types import ExternalAddresses, LocalDetection, Settings
from ipvsagent.model.address import Network
from ipvsagent.planner.facts import NodeFacts
from scenarios.facts import bound, entries, plan, problems, real_servers, sets_in_use, virtual_servers
from support.builders import NODE, addresses, endpoint, endpoint_slice, service


def test_external_ip_is_bound_and_entered_by_policy() -> None:
    """SVC-08, ADR-04, SET-03, SET-04."""
    cluster = sets_in_use(plan(service(external_ips=["198.51.100.7"])))
    assert cluster["KUBE-EXTERNAL-IP"] == ["198.51.100.7,tcp:80"]
    assert cluster["KUBE-IPVS-IPS"] == ["10.96.0.10", "198.51.100.7"]
    local = sets_in_use(plan(service(external_ips=["198.51.100.7"], external_policy="Local")))
    assert local["KUBE-EXTERNAL-IP-LOCAL"] == ["198.51.100.7,tcp:80"]
    assert "KUBE-EXTERNAL-IP" not in local


def test_external_ip_that_is_a_node_address_is_served_but_not_bound() -> None:
    """ADR-04, ADR-08."""
    state = plan(service(external_ips=["192.168.60.1"]))
    assert virtual_servers(state) == ["10.96.0.10:80/TCP", "192.168.60.1:80/TCP"]
    assert bound(state) == ["10.96.0.10"]
    assert entries(state, "KUBE-IPVS-IPS") == ["10.96.0.10"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.168.60.3", "is an address of another node"),
        ("192.168.60.4", "is an address of the API server"),
        ("10.244.7.7", "is in the cluster CIDR 10.244.0.0/16"),
    ],
)
@pytest.mark.parametrize("field", ["spec.externalIPs", "status.loadBalancer.ingress"])
def test_an_external_address_that_belongs_to_somebody_else_is_left_out_and_reported(
    address: str, words: str, field: str
) -> None:
    """DEV-36: taking it would cut this node off from its owner."""
    node = NodeFacts(
        name="node-1",
        other_node_addresses=frozenset(addresses("192.168.60.3")),
        api_server_addresses=frozenset(addresses("192.168.60.4")),
    )
    settings = Settings(local_detection=LocalDetection(cluster_networks=(Network.parse("10.244.0.0/16"),)))
    given = [address] if field == "spec.externalIPs" else []
    state = plan(
        service(external_ips=given, load_balancer_ips=[] if given else [address]), node=node, settings=settings
    )
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]
    assert bound(state) == ["10.96.0.10"]
    assert problems(state) == [f"Service shop/web: {field} {address} {words}; it is not served here"]


@pytest.mark.parametrize("field", ["spec.externalIPs", "status.loadBalancer.ingress"])
@pytest.mark.parametrize("own", [True, False], ids=["this node inside", "another node inside"])
def test_in_a_flat_network_an_address_in_the_cluster_cidr_is_served_and_reported(field: str, own: bool) -> None:
    """DEV-64: a CIDR that holds nodes does not tell pods from internal load balancers; facts still count."""
    node = NodeFacts(
        name="node-1",
        internal_addresses=addresses("10.0.0.11" if own else "192.168.60.1"),
        other_node_addresses=frozenset(addresses("192.168.60.3" if own else "10.0.0.12")),
        api_server_addresses=frozenset(addresses("10.0.0.2")),
    )
    settings = Settings(local_detection=LocalDetection(cluster_networks=(Network.parse("10.0.0.0/8"),)))
    given = ["10.0.0.2", "10.1.2.3"]
    external = field == "spec.externalIPs"
    web = service(external_ips=given if external else [], load_balancer_ips=[] if external else given)
    state = plan(web, node=node, settings=settings)
    assert virtual_servers(state) == ["10.1.2.3:80/TCP", "10.96.0.10:80/TCP"]
    assert [(p.label, p.reason) for p in state.problems] == [
        ("AddressRefused", "10.0.0.2 is an address of the API server; it is not served here"),
        (
            "DoubtfulAddress",
            "10.1.2.3 is in the cluster CIDR 10.0.0.0/8, which also contains nodes; it may belong to a pod;"
            " it is served",
        ),
    ]


@pytest.mark.parametrize("node_address", ["10.0.0.11", "192.168.60.1"], ids=["flat", "overlay"])
def test_an_address_that_the_operator_allows_may_lie_in_the_cluster_cidr(node_address: str) -> None:
    """DEV-64: `externalAddresses` says what the cluster CIDR only suggests."""
    allowed = ExternalAddresses((), (Network.parse("10.1.0.0/16"),))
    networks = LocalDetection(cluster_networks=(Network.parse("10.0.0.0/8"),))
    node = NodeFacts(name="node-1", internal_addresses=addresses(node_address))
    state = plan(
        service(load_balancer_ips=["10.1.2.3"]),
        node=node,
        settings=Settings(external_addresses=allowed, local_detection=networks),
    )
    assert virtual_servers(state) == ["10.1.2.3:80/TCP", "10.96.0.10:80/TCP"]
    assert problems(state) == []


def test_an_address_of_this_node_in_a_flat_network_is_no_matter_of_doubt() -> None:
    """ADR-04, DEV-64."""
    own = addresses("10.0.0.11", "10.0.0.99")
    node = NodeFacts(name="node-1", addresses=frozenset(own), internal_addresses=own[:1])
    settings = Settings(local_detection=LocalDetection(cluster_networks=(Network.parse("10.0.0.0/8"),)))
    state = plan(service(load_balancer_ips=["10.0.0.99"]), node=node, settings=settings)
    assert virtual_servers(state) == ["10.0.0.99:80/TCP", "10.96.0.10:80/TCP"]
    assert problems(state) == []


@pytest.mark.parametrize(
    ("internal", "external", "expected"),
    [
        ("Cluster", "Local", (["10.244.0.11:8080", "10.244.1.11:8080"], "KUBE-EXTERNAL-IP")),
        ("Local", "Local", (["10.244.0.11:8080"], "KUBE-EXTERNAL-IP-LOCAL")),
        ("Local", "Cluster", (["10.244.0.11:8080"], "KUBE-EXTERNAL-IP")),
        ("Cluster", "Cluster", (["10.244.0.11:8080", "10.244.1.11:8080"], "KUBE-EXTERNAL-IP")),
    ],
)
def test_a_services_own_cluster_ip_as_external_ip_keeps_the_endpoints_of_the_cluster_ip(
    internal: str, external: str, expected: tuple[list[str], str]
) -> None:
    """DEV-63: traffic from outside to endpoints on other nodes is masqueraded, or its replies would be lost."""
    web = service(external_ips=["10.96.0.10"], internal_policy=internal, external_policy=external)
    pods = endpoint_slice(endpoint("10.244.0.11", node="node-1"), endpoint("10.244.1.11", node="node-2"))
    state = plan(web, pods)
    chosen, set_name = expected
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]
    assert sorted(real_servers(state, "10.96.0.10:80/TCP")) == chosen
    assert [s for s in sets_in_use(state) if "EXTERNAL" in s] == [set_name]


def test_a_services_own_cluster_ip_as_load_balancer_ip_is_masqueraded_with_policy_cluster_inside() -> None:
    """DEV-63."""
    web = service(type="LoadBalancer", load_balancer_ips=["10.96.0.10"], external_policy="Local")
    assert "KUBE-LOAD-BALANCER-LOCAL" not in sets_in_use(plan(web))


def test_a_range_that_holds_the_loopback_placeholder_lets_no_node_in_that_has_no_address_of_the_family() -> None:
    """LB-03, DEV-62: kube-proxy takes 127.0.0.1 for the address of a node without one; here there is no placeholder."""
    web = service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"], source_ranges=["127.0.0.0/8", "64.0.0.0/2"])
    node = replace(NODE, internal_addresses=addresses("fd00:60::1"))
    state = plan(web, node=node)
    assert entries(state, "KUBE-LOAD-BALANCER-FW") == ["203.0.113.5,tcp:80"]
    assert entries(state, "KUBE-LOAD-BALANCER-SOURCE-IP") == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.96.0.53", "is the cluster IP of the API server or the cluster DNS"),
        ("10.96.7.7", "is in the Service CIDR 10.96.0.0/16"),
    ],
)
@pytest.mark.parametrize("field", ["spec.externalIPs", "status.loadBalancer.ingress"])
def test_a_cluster_ip_is_no_external_address_even_where_this_node_has_it(address: str, words: str, field: str) -> None:
    """DEV-36 (CVE-2020-8554): a DNS cache on the node has the cluster DNS's address on an interface."""
    node = NodeFacts(
        name="node-1",
        addresses=frozenset(addresses("10.96.0.53", "10.96.7.7")),
        infrastructure_addresses=frozenset(addresses("10.96.0.53")),
    )
    settings = Settings(service_networks=() if address == "10.96.0.53" else (Network.parse("10.96.0.0/16"),))
    given = [address] if field == "spec.externalIPs" else []
    state = plan(
        service(external_ips=given, load_balancer_ips=[] if given else [address]), node=node, settings=settings
    )
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]
    assert problems(state) == [f"Service shop/web: {field} {address} {words}; it is not served here"]


def test_external_addresses_can_be_limited_to_ranges_each_kind_to_its_own() -> None:
    """DEV-36 (CVE-2020-8554): an address outside is refused, of a family without a range, too."""
    web = service(
        "shop/web",
        "10.96.0.10",
        "fd00:96::10",
        external_ips=["198.51.100.7", "203.0.113.5", "2001:db8::7", "192.168.60.1"],
        load_balancer_ips=["198.51.100.8", "203.0.113.6"],
    )
    allowed = ExternalAddresses((Network.parse("198.51.100.0/24"),), (Network.parse("203.0.113.0/24"),))
    state = plan(web, settings=Settings(external_addresses=allowed))
    assert virtual_servers(state) == [
        "10.96.0.10:80/TCP",
        "198.51.100.7:80/TCP",
        "203.0.113.6:80/TCP",
        "[fd00:96::10]:80/TCP",
    ]
    words = "is in none of the allowed ranges"
    assert problems(state) == [
        f"Service shop/web: spec.externalIPs 192.168.60.1 {words}: 198.51.100.0/24; it is not served here",
        f"Service shop/web: spec.externalIPs 2001:db8::7 {words}: 198.51.100.0/24; it is not served here",
        f"Service shop/web: spec.externalIPs 203.0.113.5 {words}: 198.51.100.0/24; it is not served here",
        f"Service shop/web: status.loadBalancer.ingress 198.51.100.8 {words}: 203.0.113.0/24; it is not served here",
    ]


def test_all_external_addresses_are_allowed_by_default() -> None:
    """SVC-08, SVC-09: as kube-proxy does."""
    web = service(external_ips=["198.51.100.7"], load_balancer_ips=["203.0.113.6"])
    assert virtual_servers(plan(web)) == ["10.96.0.10:80/TCP", "198.51.100.7:80/TCP", "203.0.113.6:80/TCP"]


def test_an_external_address_of_this_node_is_served_whoever_else_claims_it() -> None:
    """ADR-04: a control plane node is both an API server's and this node's."""
    own = addresses("192.168.60.1")
    node = NodeFacts(name="node-1", addresses=frozenset(own), api_server_addresses=frozenset(own))
    state = plan(service(external_ips=["192.168.60.1"]), node=node)
    assert virtual_servers(state) == ["10.96.0.10:80/TCP", "192.168.60.1:80/TCP"]
    assert problems(state) == []


def test_external_ips_can_be_switched_off() -> None:
    """SVC-08: feature gate AllowServiceExternalIPs."""
    state = plan(service(external_ips=["198.51.100.7"]), settings=Settings(allow_external_ips=False))
    assert virtual_servers(state) == ["10.96.0.10:80/TCP"]


def test_load_balancer_ip_has_entries_for_policy_and_source_ranges() -> None:
    """SVC-09, SVC-10, LB-02, SET-05 to SET-07, SET-09."""
    web = service(
        type="LoadBalancer",
        load_balancer_ips=["203.0.113.5"],
        source_ranges=["192.0.2.0/24", "198.51.100.9/32", "fd00::/8"],
        external_policy="Local",
    )
    found = sets_in_use(plan(web))
    assert found["KUBE-LOAD-BALANCER"] == ["203.0.113.5,tcp:80"]
    assert found["KUBE-LOAD-BALANCER-LOCAL"] == ["203.0.113.5,tcp:80"]
    assert found["KUBE-LOAD-BALANCER-FW"] == ["203.0.113.5,tcp:80"]
    assert found["KUBE-LOAD-BALANCER-SOURCE-CIDR"] == [
        "203.0.113.5,tcp:80,192.0.2.0/24",
        "203.0.113.5,tcp:80,198.51.100.9",
    ]
    assert "KUBE-LOAD-BALANCER-SOURCE-IP" not in found


def test_source_range_that_holds_the_node_lets_node_processes_in() -> None:
    """LB-03, SET-08."""
    web = service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"], source_ranges=["192.168.60.0/24"])
    assert entries(plan(web), "KUBE-LOAD-BALANCER-SOURCE-IP") == ["203.0.113.5,tcp:80,203.0.113.5"]


@pytest.mark.parametrize("ranges", [[], ["0.0.0.0/0", "192.0.2.0/24"], ["fd00::/8"]])
def test_no_range_of_the_family_or_a_zero_one_leaves_the_vip_open(ranges: list[str]) -> None:
    """SVC-10."""
    web = service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"], source_ranges=ranges)
    assert entries(plan(web), "KUBE-LOAD-BALANCER-FW") == []


def test_load_balancer_addresses_that_let_nobody_in_are_reported() -> None:
    """DEV-60: on the object, besides the range that could not be read."""
    web = replace(service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"]), source_ranges_unread=True)
    (problem,) = plan(web).problems
    assert str(problem) == (
        "Service shop/web: spec.loadBalancerSourceRanges has no IPv4 range that can be read;"
        " IPv4 load balancer addresses let no client in"
    )
    assert plan(replace(web, load_balancer_ips=())).problems == ()


def test_ranges_of_the_other_family_alone_are_reported() -> None:
    """SVC-10, DEV-26: the VIP stays open, as with kube-proxy, but a problem is reported."""
    web = service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"], source_ranges=["fd00::/8"])
    (problem,) = plan(web).problems
    assert str(problem) == (
        "Service shop/web: spec.loadBalancerSourceRanges has no IPv4 range;"
        " IPv4 load balancer addresses are open to every client"
    )
    assert problem.label == "UnrestrictedAddress"
    assert plan(replace(web, load_balancer_ips=())).problems == ()
    assert plan(replace(web, source_ranges=())).problems == ()


def test_the_same_address_in_two_fields_is_one_virtual_server_with_the_entries_of_both() -> None:
    """VS-01: a load balancer IP that is also listed as external IP."""
    web = service(type="LoadBalancer", load_balancer_ips=["203.0.113.5"], external_ips=["203.0.113.5"])
    state = plan(web)
    assert virtual_servers(state) == ["10.96.0.10:80/TCP", "203.0.113.5:80/TCP"]
    assert entries(state, "KUBE-LOAD-BALANCER") == ["203.0.113.5,tcp:80"]
    assert entries(state, "KUBE-EXTERNAL-IP") == ["203.0.113.5,tcp:80"]


def test_of_two_services_on_one_address_and_port_the_older_one_wins() -> None:
    """DEV-14, SVC-19: the loser's entries go with its virtual server, and it is reported."""
    old = service("shop/old", "10.96.0.1", external_ips=["198.51.100.7"], created_at="2025-01-01T00:00:00Z")
    new = service("shop/new", "10.96.0.2", external_ips=["198.51.100.7"], external_policy="Local")
    state = plan([new, old], endpoint_slice("10.244.0.11", of="shop/old"), endpoint_slice("10.244.0.12", of="shop/new"))
    assert real_servers(state, "198.51.100.7:80/TCP") == ["10.244.0.11:8080"]
    assert entries(state, "KUBE-EXTERNAL-IP") == ["198.51.100.7,tcp:80"]
    assert entries(state, "KUBE-EXTERNAL-IP-LOCAL") == []
    assert problems(state) == [
        "Service shop/new: 198.51.100.7:80/TCP belongs to Service shop/old, which has precedence; "
        "it moves here when that one is removed"
    ]


def test_of_two_services_of_the_same_age_the_first_by_name_wins() -> None:
    """DEV-14."""
    state = plan(
        [
            service("shop/b", "10.96.0.2", external_ips=["198.51.100.7"]),
            service("shop/a", "10.96.0.1", external_ips=["198.51.100.7"]),
        ],
        endpoint_slice("10.244.0.12", of="shop/b"),
        endpoint_slice("10.244.0.11", of="shop/a"),
    )
    assert real_servers(state, "198.51.100.7:80/TCP") == ["10.244.0.11:8080"]


def test_a_cluster_ip_goes_before_an_older_external_ip() -> None:
    """DEV-14: nobody takes over another Service's cluster IP."""
    thief = service("shop/thief", "10.96.0.1", external_ips=["10.96.0.10"], created_at="2020-01-01T00:00:00Z")
    state = plan([thief, service()], endpoint_slice("10.244.0.11"), endpoint_slice("10.244.0.66", of="shop/thief"))
    assert real_servers(state, "10.96.0.10:80/TCP") == ["10.244.0.11:8080"]
