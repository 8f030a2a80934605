"""What annotations of Services and EndpointSlices change (DEV-15, KR-30), from their JSON to the plan."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import EndpointSlice, Kind, Service
from ipvsagent.model.state import DesiredState
from ipvsagent.source.decode import Usable, decode_json
from scenarios.facts import bound, plan, problems, real_servers, virtual_servers
from support.builders import NODE

CLUSTER, EXTERNAL = "10.96.0.10:80/TCP", "198.51.100.7:80/TCP"
BALANCER, NODE_PORT = "198.51.100.8:80/TCP", "192.168.60.1:30080/TCP"
OURS, ROUTER = "ipvsagent.io/", "kube-router.io/service."
SPEC = {
    "type": "LoadBalancer",
    "clusterIP": "10.96.0.10",
    "externalIPs": ["198.51.100.7"],
    "ports": [{"port": 80, "nodePort": 30080}],
}
STATUS = {"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}}


def web(spec: object = SPEC, **annotations: object) -> Service:
    """A Service with every way in, and with annotations by their full names."""
    tree = {"metadata": {"name": "web", "namespace": "shop", "annotations": annotations}, "spec": spec}
    result = decode_json(Kind.SERVICE, msgspec.json.encode({**tree, "status": STATUS}))
    assert isinstance(result, Usable)
    assert isinstance(result.object, Service)
    assert not result.problems
    return result.object


def piece(name: str, *pods: tuple[str, str], weight: str | None = None) -> EndpointSlice:
    """A slice of the Service: addresses with their nodes."""
    metadata = {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    if weight is not None:
        metadata["annotations"] = {"ipvsagent.io/weight": weight}
    tree = {
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [address], "nodeName": node} for address, node in pods],
    }
    result = decode_json(Kind.ENDPOINT_SLICE, msgspec.json.encode(tree))
    assert isinstance(result, Usable)
    assert isinstance(result.object, EndpointSlice)
    assert not result.problems
    return result.object


HERE, THERE = ("10.244.0.11", "node-1"), ("10.244.1.11", "node-2")


def scheduling(state: DesiredState) -> dict[str, tuple[str, int]]:
    """Scheduler and flags of each virtual server, over node addresses of IPv4."""
    return {str(v.key): (v.scheduler, v.flags) for v in state.virtual_servers}


def weights(state: DesiredState, name: str) -> dict[str, int]:
    """The weights of a virtual server's real servers."""
    return {str(r): r.weight for v in state.virtual_servers if str(v.key) == name for r in v.real_servers}


@pytest.mark.parametrize("prefix", [OURS, ROUTER])
def test_a_service_chooses_the_scheduler_of_all_its_virtual_servers(prefix: str) -> None:
    """DEV-15, KR-01, KR-30: on every way in; the Service next to it keeps the cluster's."""
    state = plan([web(**{f"{prefix}scheduler": "sh"}), _other()], settings=Settings(scheduler="lc"))
    assert scheduling(state) == {
        CLUSTER: ("sh", 0),
        EXTERNAL: ("sh", 0),
        BALANCER: ("sh", 0),
        NODE_PORT: ("sh", 0),
        "10.96.0.11:80/TCP": ("lc", 0),
    }


def _other() -> Service:
    return replace(
        web({"clusterIP": "10.96.0.11", "ports": [{"port": 80}]}),
        key=web().key._replace(name="other"),
        load_balancer_ips=(),
    )


def test_without_annotations_a_service_has_the_clusters_scheduler_and_weight_1() -> None:
    """VS-02, VS-06: as before."""
    state = plan(web(), piece("one", HERE), settings=Settings(scheduler="mh", scheduler_flags=0x8))
    assert scheduling(state)[CLUSTER] == ("mh", 0x8)
    assert weights(state, CLUSTER) == {"10.244.0.11:8080": 1}


@pytest.mark.parametrize(
    ("annotations", "cluster", "wanted"),
    [
        ({"scheduler": "mh"}, Settings(), ("mh", 0x10)),
        ({"scheduler": "mh", "scheduler-flags": ""}, Settings(), ("mh", 0)),
        ({"scheduler": "mh", "scheduler-flags": "mh-port,mh-fallback"}, Settings(), ("mh", 0x18)),
        ({"scheduler": "sh", "scheduler-flags": " sh-fallback , sh-port "}, Settings(), ("sh", 0x18)),
        ({"scheduler": "sh", "scheduler-flags": "flag-2,flag-3"}, Settings(), ("sh", 0x30)),
        ({"scheduler-flags": "sh-port"}, Settings(scheduler="sh"), ("sh", 0x10)),
        ({"scheduler": "mh"}, Settings(scheduler="mh", scheduler_flags=0x8), ("mh", 0x8)),
        ({"scheduler": "sh"}, Settings(scheduler="mh", scheduler_flags=0x8), ("sh", 0)),
    ],
)
def test_flags_are_the_services_own_else_the_defaults_of_its_scheduler(
    annotations: dict[str, str], cluster: Settings, wanted: tuple[str, int]
) -> None:
    """DEV-15, DEV-16, VS-03: configured flags are for the configured scheduler; `mh` has its port flag by default."""
    state = plan(web(**{f"{OURS}{name}": text for name, text in annotations.items()}), settings=cluster)
    assert set(scheduling(state).values()) == {wanted}
    assert problems(state) == []


@pytest.mark.parametrize(
    ("scheduler", "flags", "wanted"),
    [("mh", "flag-1,flag-2", ("mh", 0x18)), ("mh", "flag-3", ("mh", 0x20)), ("sh", "flag-2", ("sh", 0))],
)
def test_kube_routers_flags_count_with_mh_alone(scheduler: str, flags: str, wanted: tuple[str, int]) -> None:
    """KR-02: `flag-2` on `sh` had no effect there; here it would spread one client over all real servers."""
    state = plan(web(**{f"{ROUTER}scheduler": scheduler, f"{ROUTER}schedflags": flags}))
    assert set(scheduling(state).values()) == {wanted}


def test_flags_of_another_scheduler_are_left_out_and_reported() -> None:
    """DEV-15: a flag means something else to each scheduler."""
    state = plan(web(**{f"{OURS}scheduler-flags": "sh-port"}), settings=Settings(scheduler="mh"))
    assert set(scheduling(state).values()) == {("mh", 0x10)}
    assert problems(state) == [
        "Service shop/web: metadata.annotations[ipvsagent.io/scheduler-flags] "
        "are flags of `sh`, but the scheduler is `mh`; they are ignored"
    ]


def test_a_scheduler_that_the_node_lacks_leaves_the_clusters_and_is_reported() -> None:
    """DEV-15: with the cluster's flags, since the Service's were meant for the other one."""
    asking = web(**{f"{ROUTER}scheduler": "nq", f"{OURS}scheduler-flags": "flag-1"})
    state = plan(asking, node=replace(NODE, missing_schedulers=frozenset({"nq"})))
    assert set(scheduling(state).values()) == {("rr", 0)}
    assert problems(state) == [
        "Service shop/web: metadata.annotations[kube-router.io/service.scheduler] "
        "`nq` is not available on this node (module `ip_vs_nq`); the cluster's scheduler `rr` is used"
    ]


@pytest.mark.parametrize("name", [f"{OURS}local", f"{ROUTER}local"])
def test_local_is_local_for_traffic_from_outside_and_cluster_within(name: str) -> None:
    """KR-03: both policies are overridden, the internal one by Cluster."""
    spec = {**SPEC, "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Cluster"}
    state = plan(web(spec, **{name: "true"}), piece("one", HERE, THERE))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080", "10.244.1.11:8080"]
    for outside in (EXTERNAL, BALANCER, NODE_PORT):
        assert real_servers(state, outside) == ["10.244.0.11:8080"]


@pytest.mark.parametrize("name", [f"{OURS}local", f"{ROUTER}local"])
def test_local_that_is_false_leaves_the_policies_alone(name: str) -> None:
    """KR-03: only `true` counts."""
    state = plan(web({**SPEC, "internalTrafficPolicy": "Local"}, **{name: "false"}), piece("one", HERE, THERE))
    assert real_servers(state, CLUSTER) == ["10.244.0.11:8080"]
    assert real_servers(state, NODE_PORT) == ["10.244.0.11:8080", "10.244.1.11:8080"]


@pytest.mark.parametrize(
    ("name", "text"),
    [(f"{OURS}skip-load-balancer-ips", "true"), (f"{ROUTER}skiplbips", ""), (f"{ROUTER}skiplbips", "false")],
)
def test_load_balancer_ips_are_not_served_where_they_are_skipped(name: str, text: str) -> None:
    """KR-06: kube-router's name counts by being there; all other ways in stay."""
    state = plan(web(**{name: text}))
    assert virtual_servers(state) == [CLUSTER, NODE_PORT, EXTERNAL]
    assert bound(state) == ["10.96.0.10", "198.51.100.7"]


def test_ours_counts_where_both_names_stand() -> None:
    """KR-30."""
    both = {f"{OURS}scheduler": "wrr", f"{ROUTER}scheduler": "sh", f"{OURS}skip-load-balancer-ips": "false"}
    state = plan(web(**both, **{f"{ROUTER}skiplbips": ""}))
    assert set(scheduling(state).values()) == {("wrr", 0)}
    assert BALANCER in virtual_servers(state)


def test_a_slices_weight_is_that_of_all_its_endpoints() -> None:
    """DEV-15: 0 is a weight like any other: nothing new goes there."""
    state = plan(
        web(),
        piece("heavy", HERE, THERE, weight="65535"),
        piece("plain", ("10.244.0.12", "node-1")),
        piece("resting", ("10.244.0.13", "node-1"), weight="0"),
    )
    assert weights(state, NODE_PORT) == {
        "10.244.0.11:8080": 65535,
        "10.244.0.12:8080": 1,
        "10.244.0.13:8080": 0,
        "10.244.1.11:8080": 65535,
    }


def test_an_endpoint_in_two_slices_has_the_weight_of_the_one_that_counts() -> None:
    """DEV-13, DEV-15: it is one real server, not two."""
    state = plan(web(), piece("a", HERE, weight="5"), piece("b", HERE, weight="2"))
    assert weights(state, CLUSTER) == {"10.244.0.11:8080": 2}
