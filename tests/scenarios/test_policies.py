"""Which policy is in force for which way in (sections 1 and 2 of the specification)."""

from __future__ import annotations

import msgspec
import pytest

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.objects import EndpointPort, EndpointSlice, Kind, Service
from ipvsagent.model.state import NoLocalEndpoints, TrafficPolicyKind
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.endpoints import eligible_endpoints, endpoints_of_port
from ipvsagent.planner.plan import plan_all
from ipvsagent.planner.services import plan_service
from ipvsagent.source.decode import Usable, decode_json
from scenarios.facts import entries, plan, real_servers, sets_in_use
from support.builders import NODE, endpoint, endpoint_slice, port, service

CLUSTER = "10.96.0.10:80/TCP"
NODE_PORT = "192.168.60.1:30080/TCP"
BALANCER = "203.0.113.5:80/TCP"
EXTERNAL = "198.51.100.7:80/TCP"
REMOTE = endpoint_slice(endpoint("10.244.1.11", node="node-2"))
LOCAL_AND_REMOTE = endpoint_slice(endpoint("10.244.0.11", node="node-1"), endpoint("10.244.1.11", node="node-2"))
BOTH = ["10.244.0.11:8080", "10.244.1.11:8080"]


def test_a_cluster_ip_forwards_to_every_ready_endpoint_wherever_it_runs() -> None:
    """EP-30, EP-23."""
    assert sorted(real_servers(plan(service(), LOCAL_AND_REMOTE), CLUSTER)) == BOTH


def test_external_policy_local_means_nothing_to_a_cluster_ip_service_without_external_ip() -> None:
    """SVC-12: not even for a load balancer IP that its status has."""
    state = plan(service(external_policy="Local", load_balancer_ips=["203.0.113.5"]), LOCAL_AND_REMOTE)
    assert sorted(real_servers(state, BALANCER)) == BOTH
    assert entries(state, "KUBE-LOAD-BALANCER") == ["203.0.113.5,tcp:80"]
    assert entries(state, "KUBE-LOAD-BALANCER-LOCAL") == []


def test_external_policy_local_counts_for_a_cluster_ip_service_with_external_ip() -> None:
    """SVC-12, EP-35: it then holds for all of its ways in from outside."""
    web = service(external_policy="Local", external_ips=["198.51.100.7"], load_balancer_ips=["203.0.113.5"])
    state = plan(web, LOCAL_AND_REMOTE)
    assert real_servers(state, EXTERNAL) == ["10.244.0.11:8080"]
    assert real_servers(state, BALANCER) == ["10.244.0.11:8080"]
    assert sorted(real_servers(state, CLUSTER)) == BOTH
    assert entries(state, "KUBE-LOAD-BALANCER-LOCAL") == ["203.0.113.5,tcp:80"]


@pytest.mark.parametrize("type_", ["NodePort", "LoadBalancer"])
@pytest.mark.parametrize(
    ("internal", "external", "at_cluster_ip", "at_node_port"),
    [
        ("Cluster", "Cluster", BOTH, BOTH),
        ("Cluster", "Local", BOTH, ["10.244.0.11:8080"]),
        ("Local", "Cluster", ["10.244.0.11:8080"], BOTH),
        ("Local", "Local", ["10.244.0.11:8080"], ["10.244.0.11:8080"]),
    ],
)
def test_the_two_policies_do_not_touch_each_other(
    type_: str, internal: str, external: str, at_cluster_ip: list[str], at_node_port: list[str]
) -> None:
    """SVC-12 to SVC-14, EP-30, EP-31, EP-34, EP-35."""
    web = service(type=type_, internal_policy=internal, external_policy=external, ports=[port(80, node_port=30080)])
    state = plan(web, LOCAL_AND_REMOTE)
    assert sorted(real_servers(state, CLUSTER)) == at_cluster_ip
    assert sorted(real_servers(state, NODE_PORT)) == at_node_port


@pytest.mark.parametrize(
    ("external_ips", "load_balancer_ips", "expected"),
    [
        ([], [], []),
        (["198.51.100.7"], [], ["10.244.1.11:8080"]),
        ([], ["203.0.113.5"], ["10.244.1.11:8080"]),
        (["2001:db8::7"], [], []),
        ([], ["2001:db8::5"], []),
    ],
    ids=["none", "external IP", "load balancer IP", "external IP of the other family", "load balancer IP of it"],
)
def test_internal_policy_local_falls_back_where_the_family_has_a_way_in_from_outside(
    external_ips: list[str], load_balancer_ips: list[str], expected: list[str]
) -> None:
    """SVC-14, EP-32, EP-33: reported for each family."""
    web = service(internal_policy="Local", external_ips=external_ips, load_balancer_ips=load_balancer_ips)
    assert real_servers(plan(web, REMOTE), CLUSTER) == expected


def test_a_way_in_from_outside_belongs_to_its_port_alone() -> None:
    """SVC-14, EP-32, EP-33: a node port of one port does not let another port fall back."""
    web = service(
        internal_policy="Local",
        type="NodePort",
        ports=[port(80, name="http", node_port=30080), port(81, name="admin")],
    )
    remote = endpoint_slice(
        endpoint("10.244.1.11", node="node-2"), ports=[_slice_port("http", 8080), _slice_port("admin", 8081)]
    )
    state = plan(web, remote)
    assert real_servers(state, "10.96.0.10:80/TCP") == ["10.244.1.11:8080"]
    assert real_servers(state, "10.96.0.10:81/TCP") == []


def test_an_unset_internal_policy_is_cluster() -> None:
    """SVC-13, EP-30."""
    web = _decoded_service({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]})
    assert sorted(real_servers(plan(web, LOCAL_AND_REMOTE), CLUSTER)) == BOTH


def test_the_annotation_for_source_ranges_is_not_read() -> None:
    """SVC-11: cloud controllers read it; here the field counts alone."""
    web = _decoded_service(
        {"type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
        annotations={"service.beta.kubernetes.io/load-balancer-source-ranges": "192.0.2.0/24"},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )
    found = sets_in_use(plan(web))
    assert found["KUBE-LOAD-BALANCER"] == ["203.0.113.5,tcp:80"]
    assert "KUBE-LOAD-BALANCER-FW" not in found
    assert "KUBE-LOAD-BALANCER-SOURCE-CIDR" not in found


@pytest.mark.parametrize("published", [True, False])
def test_addresses_that_are_not_ready_count_by_what_the_slice_says(published: bool) -> None:
    """SVC-18, SVC-06, EP-08: `publishNotReadyAddresses` of the Service itself changes nothing."""
    web = _decoded_service({"clusterIP": "10.96.0.10", "ports": [{"port": 80}], "publishNotReadyAddresses": published})
    pods = _decoded_slice(
        [
            {"addresses": ["10.244.0.11"], "conditions": {"ready": True, "serving": False, "terminating": True}},
            {"addresses": ["10.244.0.12"], "conditions": {"ready": False, "serving": True}},
        ]
    )
    assert real_servers(plan(web, pods), CLUSTER) == ["10.244.0.11:8080"]


def test_policy_local_uses_no_endpoint_that_has_no_node() -> None:
    """EP-09, EP-25: nobody knows where it runs; with a local one beside it, it gets nothing."""
    mixed = endpoint_slice("10.244.9.9", endpoint("10.244.0.11", node="node-1"))
    assert real_servers(plan(service(internal_policy="Local"), mixed), CLUSTER) == ["10.244.0.11:8080"]


def test_policy_local_has_nothing_on_a_node_without_name() -> None:
    """EP-09: the empty name is nobody's, not even that of endpoints without a node."""
    nameless = msgspec.structs.replace(NODE, name="")
    state = plan(service(internal_policy="Local"), endpoint_slice("10.244.9.9"), node=nameless)
    assert real_servers(state, CLUSTER) == []


def test_a_local_endpoint_that_is_neither_ready_nor_terminating_counts_as_none() -> None:
    """EP-25, EP-36: it stands in for nobody, so node port traffic falls back to the cluster's."""
    web = service(external_policy="Local", type="NodePort", ports=[port(80, node_port=30080)])
    starting = endpoint("10.244.0.11", node="node-1", ready=False)
    state = plan(web, endpoint_slice(starting, endpoint("10.244.1.11", node="node-2")))
    assert real_servers(state, NODE_PORT) == ["10.244.1.11:8080"]


@pytest.mark.parametrize(
    ("uses_cluster", "uses_local", "state", "expected"),
    [
        (True, False, "ready", True),
        (False, True, "ready", True),
        (False, True, "leaving", True),
        (False, True, "starting", False),
        (False, False, "ready", False),
    ],
)
def test_some_endpoint_elsewhere_counts_only_where_a_policy_could_use_it(
    uses_cluster: bool, uses_local: bool, state: str, expected: bool
) -> None:
    """EP-26: the one endpoint runs on another node; serving and terminating counts as ready does."""
    remote = endpoint("10.244.1.11", node="node-2", ready=state == "ready", terminating=state == "leaving")
    found = endpoints_of_port([endpoint_slice(remote)], port(80), Family.IPV4)
    eligible = eligible_endpoints(found, node_name="node-1", zone="", uses_cluster=uses_cluster, uses_local=uses_local)
    assert eligible.has_any is expected


def _slice_port(name: str, number: int) -> EndpointPort:
    return EndpointPort(name, Protocol.TCP, number)


def _decoded_service(
    spec: dict[str, object], *, annotations: dict[str, str] | None = None, status: object = None
) -> Service:
    """A Service `shop/web` from the API's JSON, which must come without problems."""
    metadata = {"name": "web", "namespace": "shop", "annotations": annotations or {}}
    found = decode_json(Kind.SERVICE, msgspec.json.encode({"metadata": metadata, "spec": spec, "status": status}))
    assert isinstance(found, Usable)
    assert isinstance(found.object, Service)
    assert not found.problems
    return found.object


def _decoded_slice(endpoints: list[dict[str, object]]) -> EndpointSlice:
    """An IPv4 slice of `shop/web` from the API's JSON, which must come without problems."""
    metadata = {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    tree = {
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": endpoints,
    }
    found = decode_json(Kind.ENDPOINT_SLICE, msgspec.json.encode(tree))
    assert isinstance(found, Usable)
    assert isinstance(found.object, EndpointSlice)
    assert not found.problems
    return found.object


INTERNAL = NoLocalEndpoints(TrafficPolicyKind.INTERNAL, Family.IPV4)
EXTERNAL_POLICY = NoLocalEndpoints(TrafficPolicyKind.EXTERNAL, Family.IPV4)
TERMINATING = endpoint_slice(endpoint("10.244.1.11", node="node-2", ready=False, serving=True, terminating=True))
UNFIT = endpoint_slice(endpoint("10.244.1.11", node="node-2", ready=False, serving=False))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("internal", "external", "expected"),
    [
        ("Cluster", "Cluster", {}),
        ("Local", "Cluster", {INTERNAL: 1}),
        ("Cluster", "Local", {EXTERNAL_POLICY: 1}),
        ("Local", "Local", {INTERNAL: 1, EXTERNAL_POLICY: 1}),
    ],
)
def test_a_service_without_local_endpoints_is_counted_by_the_policy_that_misses_them(
    internal: str, external: str, expected: dict[NoLocalEndpoints, int], *, strict: bool
) -> None:
    """EP-38, MET-08, DEV-12: of two policies the one that is Local, and once for all ports; DEV-11: strict or not."""
    web = service(
        type="NodePort",
        internal_policy=internal,
        external_policy=external,
        ports=[port(80, name="http", node_port=30080), port(81, name="admin", node_port=30081)],
    )
    remote = endpoint_slice(
        endpoint("10.244.1.11", node="node-2"), ports=[_slice_port("http", 8080), _slice_port("admin", 8081)]
    )
    settings = Settings(strict_local_policy=strict)
    assert plan_all([web], [remote], facts=NODE, settings=settings).no_local_endpoints == expected


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([], {}),
        ([UNFIT], {}),
        ([LOCAL_AND_REMOTE], {}),
        ([REMOTE], {INTERNAL: 1}),
        ([TERMINATING], {INTERNAL: 1}),
    ],
    ids=["no endpoint", "none that serves", "a local one", "remote ones only", "one that ends and serves"],
)
def test_only_endpoints_that_could_serve_elsewhere_make_local_ones_missing(
    slices: list[EndpointSlice], expected: dict[NoLocalEndpoints, int]
) -> None:
    """EP-38, EP-26."""
    web = service(internal_policy="Local")
    assert plan_all([web], slices, facts=NODE, settings=Settings()).no_local_endpoints == expected


def test_the_count_of_services_without_local_endpoints_follows_each_change() -> None:
    """EP-38, MET-08: up with a Service that lacks them, down when it gets one, changes its policy or goes."""
    desired = Desired()
    web, shop = service(internal_policy="Local"), service("shop/shop", "10.96.0.11", internal_policy="Local")
    remote_of_shop = endpoint_slice(endpoint("10.244.1.11", node="node-2"), of="shop/shop")
    counts = []
    for planned, slices in (
        (web, [REMOTE]),
        (shop, [remote_of_shop]),
        (web, [LOCAL_AND_REMOTE]),
        (service(internal_policy="Local", affinity_timeout_seconds=60), [REMOTE]),
        (service(), [REMOTE]),
    ):
        desired.replace(planned.key, plan_service(planned, slices, node=NODE, settings=Settings()))
        counts.append(desired.no_local_endpoints[INTERNAL])
    desired.replace(shop.key, None)
    assert [*counts, desired.no_local_endpoints[INTERNAL]] == [1, 2, 1, 2, 1, 0]
