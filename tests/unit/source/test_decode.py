"""Objects from the wire: nulls, bad fields, other people's objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.objects import EndpointPort, EndpointSlice, Kind, Node, Service, ServicePort, ServiceType
from ipvsagent.source.decode import NotUsed, Unusable, Usable, decode_json, decode_value
from support.builders import addresses, key

Json = dict[str, Any]


def service(spec: Json | None = None, **more: Any) -> Json:
    """A Service as the API server sends it."""
    base = {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": 80, "protocol": "TCP"}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "0d1c",
            "resourceVersion": "17",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": base | (spec or {}),
        "status": {"loadBalancer": {}},
    } | more


def endpoint_slice(endpoints: list[Json] | None = None, **more: Any) -> Json:
    """An EndpointSlice as the API server sends it."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-x2x",
            "namespace": "shop",
            "generation": 3,
            "labels": {"kubernetes.io/service-name": "web"},
            "ownerReferences": [{"kind": "Service", "name": "web"}],
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints if endpoints is not None else [{"addresses": ["10.244.0.11"]}],
    } | more


def used(kind: Kind, value: Json) -> Any:
    """Decode through JSON and through plain values; both must agree and be usable without problems."""
    result, problems = partly_used(kind, value)
    assert problems == []
    return result


def partly_used(kind: Kind, value: Json) -> tuple[Any, list[str]]:
    """The object and its problems as text."""
    result = decode_json(kind, msgspec.json.encode(value))
    assert result == decode_value(kind, value)
    assert isinstance(result, Usable)
    return result.object, [str(p) for p in result.problems]


def unusable(kind: Kind, value: Json) -> list[str]:
    """The problems of an object that cannot be used."""
    result = decode_json(kind, msgspec.json.encode(value))
    assert isinstance(result, Unusable)
    return [str(p) for p in result.problems]


def test_a_service_is_decoded_with_the_defaults_of_the_api() -> None:
    """SVC-02, SVC-05, SVC-13."""
    assert used(Kind.SERVICE, service()) == Service(
        key=key("shop/web"),
        type=ServiceType.CLUSTER_IP,
        cluster_ips=addresses("10.96.0.10"),
        ports=(ServicePort("", Protocol.TCP, 80),),
        created_at="2026-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    "value",
    [
        service({"clusterIP": "None", "clusterIPs": ["None"]}),
        service({"clusterIP": "", "clusterIPs": None}),
        service({"type": "ExternalName", "externalName": "example.org"}),
        service(metadata={"name": "web", "labels": {"service.kubernetes.io/service-proxy-name": "other"}}),
    ],
    ids=["headless", "without cluster IP", "ExternalName", "another proxy's"],
)
def test_services_that_do_not_concern_us_are_not_used(value: Json) -> None:
    """SVC-01 to SVC-03."""
    assert isinstance(decode_value(Kind.SERVICE, value), NotUsed)


def test_dual_stack_cluster_ips_one_a_family() -> None:
    """SVC-04."""
    value = service({"clusterIPs": ["10.96.0.10", "fd00:96::10"], "ipFamilies": ["IPv4", "IPv6"]})
    assert used(Kind.SERVICE, value).cluster_ips == addresses("10.96.0.10", "fd00:96::10")


def test_load_balancer_addresses_count_by_ip_mode() -> None:
    """SVC-09: hostnames and ipMode Proxy give nothing."""
    ingress = [
        {"ip": "203.0.113.5"},
        {"ip": "203.0.113.6", "ipMode": "VIP"},
        {"ip": "203.0.113.7", "ipMode": "Proxy"},
        {"hostname": "lb.example.org"},
    ]
    found = used(Kind.SERVICE, service(status={"loadBalancer": {"ingress": ingress}}))
    assert found.load_balancer_ips == addresses("203.0.113.5", "203.0.113.6")


@pytest.mark.parametrize(
    ("config", "seconds"),
    [(None, 10800), ({"clientIP": None}, 10800), ({"clientIP": {"timeoutSeconds": 60}}, 60)],
)
def test_session_affinity_timeout_has_the_default_of_the_api(config: Json | None, seconds: int) -> None:
    """SVC-07."""
    value = service({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
    assert used(Kind.SERVICE, value).affinity_timeout_seconds == seconds


BAD_FIELDS: list[tuple[Json, str]] = [
    (
        {"ports": [{"port": 80, "nodePort": 70000}]},
        "spec.ports[0].nodePort 70000 is outside 1-65535; this node port is ignored",
    ),
    ({"ports": [{"port": 0}]}, "spec.ports[0].port 0 is outside 1-65535; this port is ignored"),
    (
        {"ports": [{"port": 80, "protocol": "ICMP"}]},
        "spec.ports[0].protocol `ICMP` is none of TCP, UDP, SCTP; this port is ignored",
    ),
    ({"ports": [{"port": 80}, {"port": 80}]}, "spec.ports[1] 80/TCP is listed twice; this port is ignored"),
    ({"externalIPs": ["127.0.0.1"]}, "spec.externalIPs[0] 127.0.0.1 is a loopback address; it is ignored"),
    ({"externalIPs": ["1.2.3"]}, "spec.externalIPs[0] '1.2.3' is not an IP address; it is ignored"),
    ({"externalIPs": ["169.254.1.1"]}, "spec.externalIPs[0] 169.254.1.1 is a link-local address; it is ignored"),
    (
        {"externalIPs": ["224.0.0.1"]},
        "spec.externalIPs[0] 224.0.0.1 is a multicast or broadcast address; it is ignored",
    ),
    (
        {"externalIPs": ["::ffff:127.0.0.1"]},
        "spec.externalIPs[0] ::ffff:127.0.0.1 is a loopback address; it is ignored",
    ),
    (
        {"loadBalancerSourceRanges": ["10.0.0.0/33"]},
        "spec.loadBalancerSourceRanges[0] '10.0.0.0/33' is not a CIDR; it lets no client in",
    ),
    (
        {"externalTrafficPolicy": "Foo"},
        "spec.externalTrafficPolicy `Foo` is none of Cluster, Local; Local is used",
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds 0 is outside 1-86400; 10800 is used",
    ),
    (
        {"healthCheckNodePort": -1},
        "spec.healthCheckNodePort -1 is outside 1-65535; no health check is served",
    ),
    (
        {"clusterIPs": ["10.96.0.10", "10.96.0"], "ipFamilies": ["IPv4", "IPv6"]},
        "spec.clusterIPs[1] '10.96.0' is not an IP address; it is ignored",
    ),
]


@pytest.mark.parametrize(("spec", "words"), BAD_FIELDS, ids=[words for _, words in BAD_FIELDS])
def test_a_bad_field_is_named_and_the_rest_of_the_service_is_used(spec: Json, words: str) -> None:
    """SVC-08, SVC-10: the object, the field, what follows."""
    found, problems = partly_used(Kind.SERVICE, service(spec))
    assert problems == [f"Service shop/web: {words}"]
    assert found.cluster_ips == addresses("10.96.0.10")


def test_a_service_without_a_usable_cluster_ip_cannot_be_used() -> None:
    """SVC-04."""
    assert unusable(Kind.SERVICE, service({"clusterIP": "10.96.0", "clusterIPs": None})) == [
        "Service shop/web: spec.clusterIP '10.96.0' is not an IP address; it is ignored"
    ]


def test_a_field_of_the_wrong_type_names_its_path() -> None:
    """The others go on; this object is not used."""
    assert unusable(Kind.SERVICE, service({"ports": [{"port": "80"}]})) == [
        "Service shop/web: spec.ports[0].port expected `int`, got `str`; the object is not used"
    ]


def test_an_object_without_a_name_cannot_be_used() -> None:
    """A problem is all that is left of it."""
    assert unusable(Kind.SERVICE, service(metadata={"namespace": "shop"})) == [
        "Service without a name: metadata object missing required field `name`; the object is not used"
    ]


def test_text_that_is_not_json_cannot_be_used() -> None:
    """Half a line of a watch."""
    assert isinstance(decode_json(Kind.SERVICE, b'{"metadata": {"na'), Unusable)
    assert isinstance(decode_json(Kind.SERVICE, b"\xff\xfe"), Unusable)


def test_a_slice_is_decoded_with_nulls_resolved() -> None:
    """EP-05 to EP-10."""
    value = endpoint_slice(
        [
            {"addresses": ["10.244.0.11"], "conditions": {"ready": None}, "nodeName": None, "hints": None},
            {
                "addresses": ["10.244.0.12", "10.244.0.99"],
                "conditions": {"ready": False, "serving": True, "terminating": True},
                "nodeName": "node-1",
                "targetRef": {"kind": "Pod", "name": "web-1"},
                "hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "node-1"}]},
            },
            {"addresses": None},
        ]
    )
    found = used(Kind.ENDPOINT_SLICE, value)
    assert isinstance(found, EndpointSlice)
    assert found.family is Family.IPV4
    assert found.service == key("shop/web")
    assert found.generation == 3
    first, second = found.endpoints
    assert (first.ready, first.serving, first.terminating, first.node_name) == (True, True, False, "")
    assert (second.ready, second.serving, second.terminating, second.node_name) == (False, True, True, "node-1")
    assert (second.zone_hints, second.node_hints) == (("a",), ("node-1",))


def test_slice_ports_without_name_or_number_are_skipped() -> None:
    """EP-05: the empty name is a name, nil is not."""
    ports = [{"name": None, "port": 1}, {"name": "a", "port": None}, {"name": "b", "port": 2}, {"name": "", "port": 3}]
    assert used(Kind.ENDPOINT_SLICE, endpoint_slice(ports=ports)).ports == (
        EndpointPort("b", Protocol.TCP, 2),
        EndpointPort("", Protocol.TCP, 3),
    )
    assert used(Kind.ENDPOINT_SLICE, endpoint_slice(ports=None, endpoints=None)).ports == ()


def test_an_endpoint_of_the_other_family_is_ignored_and_named() -> None:
    """EP-02."""
    found, problems = partly_used(
        Kind.ENDPOINT_SLICE, endpoint_slice([{"addresses": ["fd00::1"]}, {"addresses": ["10.244.0.11"]}])
    )
    assert [str(e.address) for e in found.endpoints] == ["10.244.0.11"]
    assert problems == [
        "EndpointSlice shop/web-x2x: endpoints[0].addresses[0] fd00::1 is not an IPv4 address as the slice's "
        "addressType says; it is ignored"
    ]


@pytest.mark.parametrize(
    "value",
    [
        endpoint_slice(addressType="FQDN"),
        endpoint_slice(metadata={"name": "x", "namespace": "shop"}),
        endpoint_slice(metadata={"name": "x", "labels": {"kubernetes.io/service-name": ""}}),
        endpoint_slice(
            metadata={
                "name": "x",
                "labels": {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""},
            }
        ),
    ],
    ids=["FQDN", "without labels", "empty owner", "headless"],
)
def test_slices_that_do_not_concern_us_are_not_used(value: Json) -> None:
    """EP-01, EP-02."""
    assert isinstance(decode_value(Kind.ENDPOINT_SLICE, value), NotUsed)


def test_a_slice_of_an_unknown_address_type_cannot_be_used() -> None:
    """EP-02."""
    assert isinstance(decode_value(Kind.ENDPOINT_SLICE, endpoint_slice(addressType="IPX")), Unusable)


def test_a_node_is_decoded() -> None:
    """SYN-03, HC-03, LOC-02: InternalIPs go before ExternalIPs."""
    value = {
        "metadata": {
            "name": "node-1",
            "labels": {"topology.kubernetes.io/zone": "a"},
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00:244::/64"], "taints": [{"key": "t"}]},
        "status": {
            "addresses": [
                {"type": "ExternalIP", "address": "198.51.100.1"},
                {"type": "Hostname", "address": "node-1"},
                {"type": "InternalIP", "address": "192.168.60.1"},
            ]
        },
    }
    found = used(Kind.NODE, value)
    assert isinstance(found, Node)
    assert found.addresses == addresses("192.168.60.1", "198.51.100.1")
    assert [str(n) for n in found.pod_networks] == ["10.244.0.0/24", "fd00:244::/64"]
    assert (found.zone, found.deleting, found.taint_keys) == ("a", True, ("t",))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
field_names = st.sampled_from(
    [
        "metadata",
        "spec",
        "status",
        "ports",
        "endpoints",
        "addressType",
        "addresses",
        "conditions",
        "name",
        "namespace",
        "labels",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "externalIPs",
        "type",
        "port",
        "nodePort",
        "protocol",
        "loadBalancer",
        "ingress",
        "ip",
        "hints",
        "forZones",
        "nodeName",
        "podCIDRs",
        "taints",
    ]
)
objects = st.recursive(
    anything, lambda inner: st.dictionaries(field_names, inner | st.lists(inner, max_size=3), max_size=6), max_leaves=25
)


@settings(max_examples=300)
@given(st.sampled_from(Kind), objects)
def test_nothing_that_arrives_raises(kind: Kind, value: object) -> None:
    """No input may crash the agent."""
    assert isinstance(decode_value(kind, value), Usable | NotUsed | Unusable)
    assert isinstance(decode_json(kind, msgspec.json.encode(value)), Usable | NotUsed | Unusable)


paths = st.sampled_from(
    [
        ("spec", "ports"), ("spec", "ports", 0, "port"), ("spec", "clusterIPs"), ("spec", "clusterIPs", 0),
        ("spec", "type"), ("metadata", "labels"), ("metadata", "name"), ("status", "loadBalancer"), ("spec",),
        ("endpoints",), ("endpoints", 0, "addresses"), ("endpoints", 0, "addresses", 0), ("ports", 0, "name"),
        ("addressType",), ("metadata", "generation"), ("metadata", "creationTimestamp"),
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(paths, anything)
def test_any_value_in_any_field_of_a_good_object_does_not_raise(path: tuple[str | int, ...], value: object) -> None:
    """No input may crash the agent."""
    for kind, whole in ((Kind.SERVICE, service()), (Kind.ENDPOINT_SLICE, endpoint_slice())):
        place: Any = whole
        try:
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
        except (KeyError, IndexError):
            continue
        assert isinstance(decode_value(kind, whole), Usable | NotUsed | Unusable)
