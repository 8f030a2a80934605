"""What an API server fills in, for objects from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipvsagent.model.address import Protocol
from ipvsagent.model.events import Event, SourceProblems
from ipvsagent.model.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Kind,
    ObjectKey,
    Service,
    ServicePort,
    ServiceType,
    TrafficPolicy,
)
from ipvsagent.source.decode import NotUsed, Unusable, Usable, decode_value
from ipvsagent.source.manifests import ManifestSource, read_objects
from support.builders import addresses

KEY = ObjectKey("default", "web")

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.0.11]}]
---
"""
ENDPOINTS = """\
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 10.244.0.11}], ports: [{port: 8080}]}]
---
"""
UNREAD = "Endpoints default/web: is not read; add an EndpointSlice for its Service, which has none"


def service(spec: dict[str, Any], **other: Any) -> tuple[Service, list[str]]:
    """The Service `web` from a file, and its problems."""
    found = decode_value(Kind.SERVICE, {"metadata": {"name": "web"}, "spec": spec, **other}, with_defaults=True)
    assert isinstance(found, Usable)
    assert isinstance(found.object, Service)
    return found.object, [f"{p.field} {p.reason}" for p in found.problems]


def test_a_service_of_nothing_but_an_address_and_a_port_has_every_default() -> None:
    """DEV-61, SVC-05, SVC-07, SVC-13: SetDefaults_Service."""
    made, problems = service({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]})
    assert problems == []
    assert made == Service(
        key=KEY,
        type=ServiceType.CLUSTER_IP,
        cluster_ips=addresses("10.96.0.10"),
        ports=(ServicePort("", Protocol.TCP, 80, 0),),
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_timeout_seconds=0,
    )


@pytest.mark.parametrize(
    ("spec", "cluster_ips"),
    [
        ({"clusterIPs": ["10.96.0.10"]}, ("10.96.0.10",)),
        ({"clusterIP": "", "clusterIPs": ["fd00:96::10"]}, ("fd00:96::10",)),
        ({"clusterIPs": ["10.96.0.10", "fd00:96::10"]}, ("10.96.0.10", "fd00:96::10")),
        ({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"]}, ("10.96.0.10", "fd00:96::10")),
        ({"clusterIPs": ["10.96.0.10", "fd00:96::10"], "ipFamilies": ["IPv4"]}, ("10.96.0.10", "fd00:96::10")),
        ({"clusterIP": "fd00:96::10"}, ("fd00:96::10",)),
        ({"clusterIP": "10.96.0.10", "ipFamilies": ["IPv4"]}, ("10.96.0.10",)),
    ],
    ids=str,
)
def test_cluster_ips_and_families_follow_from_each_other(spec: dict[str, Any], cluster_ips: tuple[str, ...]) -> None:
    """DEV-61, SVC-04: families are those of the addresses, and the first address is `clusterIP`."""
    made, problems = service({**spec, "ports": [{"port": 80}]})
    assert problems == []
    assert made.cluster_ips == addresses(*cluster_ips)


@pytest.mark.parametrize(
    "config", [None, {}, {"clientIP": None}, {"clientIP": {}}, {"clientIP": {"timeoutSeconds": None}}]
)
def test_client_affinity_lasts_three_hours(config: Any) -> None:
    """DEV-61, SVC-07."""
    made, _ = service({"clusterIP": "10.96.0.10", "sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
    assert made.affinity_timeout_seconds == 10800


def test_a_load_balancer_address_without_mode_is_a_vip() -> None:
    """DEV-61, SVC-09."""
    made, _ = service(
        {"clusterIP": "10.96.0.10", "type": "LoadBalancer"},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
    )
    assert made.load_balancer_ips == addresses("203.0.113.5")


@pytest.mark.parametrize("given", [{}, {"name": None}, {"name": ""}, {"protocol": None}, {"protocol": "TCP"}], ids=str)
def test_a_port_of_a_slice_has_the_empty_name_and_tcp(given: dict[str, Any]) -> None:
    """DEV-61, EP-05: SetDefaults_EndpointPort."""
    tree = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, **given}],
        "endpoints": [{"addresses": ["10.244.0.11"]}],
    }
    found = decode_value(Kind.ENDPOINT_SLICE, tree, with_defaults=True)
    assert isinstance(found, Usable)
    assert isinstance(found.object, EndpointSlice)
    assert found.object.ports == (EndpointPort("", Protocol.TCP, 8080),)
    assert found.object.endpoints == (
        Endpoint(addresses("10.244.0.11")[0], ready=True, serving=True, terminating=False),
    )


def test_a_cluster_ip_that_nobody_chose_is_reported() -> None:
    """DEV-61, SVC-02: an API server would choose one; without it the Service cannot be served."""
    found = decode_value(
        Kind.SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, with_defaults=True
    )
    assert isinstance(found, Unusable)
    assert [str(p) for p in found.problems] == [
        "Service default/web: spec.clusterIP is not set, and no API server has chosen one; the Service is not used"
    ]


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName"}, None], ids=str)
def test_a_service_that_needs_no_cluster_ip_is_not_reported(spec: dict[str, Any] | None) -> None:
    """SVC-02, SVC-03."""
    found = decode_value(Kind.SERVICE, {"metadata": {"name": "web"}, "spec": spec}, with_defaults=True)
    assert found == NotUsed(Kind.SERVICE, KEY)


def test_ports_that_nobody_chose_are_reported() -> None:
    """DEV-61, SVC-15, SVC-16."""
    _, problems = service(
        {"clusterIP": "10.96.0.10", "type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30081}]}
    )
    assert problems == ["spec.ports[0].nodePort is not set, and no API server has chosen one; no node port is served"]
    _, problems = service({"clusterIP": "10.96.0.10", "type": "LoadBalancer", "externalTrafficPolicy": "Local"})
    assert problems == [
        "spec.healthCheckNodePort is not set, and no API server has chosen one; no health check is served"
    ]


def test_objects_of_an_api_server_get_no_defaults() -> None:
    """SVC-02, EP-05: what it left out means something."""
    found = decode_value(Kind.SERVICE, {"metadata": {"name": "web"}, "spec": {"clusterIPs": ["10.96.0.10"]}})
    assert found == NotUsed(Kind.SERVICE, KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SERVICE + ENDPOINTS, [UNREAD]),
        (SERVICE + SLICE + ENDPOINTS, []),
        (ENDPOINTS, []),
        (SERVICE.replace("10.96.0.10", "None") + ENDPOINTS, []),
        (SERVICE + ENDPOINTS.replace("v1", "example.org/v1", 1), []),
        (SERVICE + "{kind: Endpoints, metadata: 5}", []),
    ],
    ids=["alone", "with a slice", "without Service", "headless", "another API", "without a name"],
)
def test_endpoints_without_a_slice_are_reported(tmp_path: Path, text: str, expected: list[str]) -> None:
    """DEV-61: a cluster has a controller that makes slices of them."""
    (tmp_path / "web.yaml").write_text(text)
    _, problems = read_objects([tmp_path])
    assert [str(p) for p in problems] == expected


def test_a_report_of_endpoints_ends_with_a_slice(tmp_path: Path) -> None:
    """DEV-61: also if the slice is in another file, and again when it goes."""
    events: list[Event] = []
    source = ManifestSource(tmp_path, events.append)

    def reported() -> list[list[str]]:
        events.clear()
        source.scan()
        return [[str(p) for p in e.problems] for e in events if isinstance(e, SourceProblems)]

    (tmp_path / "web.yaml").write_text(SERVICE + ENDPOINTS)
    assert reported() == [[UNREAD]]
    (tmp_path / "slice.yaml").write_text(SLICE)
    assert reported() == [[]]
    (tmp_path / "slice.yaml").unlink()
    assert reported() == []  # two looks have to find it gone
    assert reported() == [[UNREAD]]
