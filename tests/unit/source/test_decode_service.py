"""Services from the API's JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ipvsagent.model.address import Network, Protocol
from ipvsagent.model.objects import Kind, ObjectKey, Service, ServicePort, ServiceType, TrafficPolicy
from ipvsagent.source.decode import NotUsed, Unusable, Usable, decode_json
from support.builders import address, addresses

KEY = ObjectKey("shop", "web")


def decoded(spec: dict[str, Any], *, metadata: dict[str, Any] | None = None, status: Any = None) -> Any:
    """What a Service `shop/web` with cluster IP 10.96.0.10 comes to."""
    tree = {
        "metadata": {"name": "web", "namespace": "shop", **(metadata or {})},
        "spec": {"clusterIP": "10.96.0.10", **spec},
        "status": status,
    }
    return decode_json(Kind.SERVICE, msgspec.json.encode(tree))


def service(spec: dict[str, Any], **other: Any) -> Service:
    """The Service, which must come without problems."""
    result = decoded(spec, **other)
    assert isinstance(result, Usable)
    assert [str(p) for p in result.problems] == []
    assert isinstance(result.object, Service)
    return result.object


def troubled(spec: dict[str, Any], **other: Any) -> tuple[Service, list[str]]:
    """The Service and its problems as text."""
    result = decoded(spec, **other)
    assert isinstance(result, Usable)
    assert isinstance(result.object, Service)
    return result.object, [str(p) for p in result.problems]


def test_every_field_that_is_used_arrives() -> None:
    """SVC-04 to SVC-10, SVC-15, SVC-16."""
    made = service(
        {
            "type": "LoadBalancer",
            "ipFamilies": ["IPv6", "IPv4"],
            "clusterIPs": ["fd00::10", "10.96.0.10"],
            "ports": [
                {"name": "http", "port": 80, "nodePort": 30080, "targetPort": "web"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "sig", "port": 5060, "protocol": "SCTP"},
            ],
            "externalIPs": ["192.0.2.1", "192.0.2.1", " ", "2001:db8::1"],
            "loadBalancerSourceRanges": [" 10.1.2.3/8 ", "2001:db8::/32"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 31000,
        },
        metadata={"creationTimestamp": "2026-01-31T12:00:00Z"},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example"}]}},
    )
    assert made == Service(
        key=KEY,
        type=ServiceType.LOAD_BALANCER,
        cluster_ips=addresses("fd00::10", "10.96.0.10"),
        ports=(
            ServicePort("http", Protocol.TCP, 80, 30080),
            ServicePort("dns", Protocol.UDP, 53),
            ServicePort("sig", Protocol.SCTP, 5060),
        ),
        external_ips=addresses("192.0.2.1", "2001:db8::1"),
        load_balancer_ips=addresses("203.0.113.7"),
        source_ranges=(Network.parse("10.0.0.0/8"), Network.parse("2001:db8::/32")),
        internal_policy=TrafficPolicy.LOCAL,
        external_policy=TrafficPolicy.LOCAL,
        affinity_timeout_seconds=60,
        health_check_node_port=31000,
        created_at="2026-01-31T12:00:00Z",
    )


def test_nulls_mean_the_defaults() -> None:
    """Null is a normal value wherever the API's Go type is a pointer, slice or map."""
    fields = ("type", "ipFamilies", "clusterIPs", "ports", "externalIPs", "loadBalancerSourceRanges")
    policies = ("sessionAffinity", "sessionAffinityConfig", "internalTrafficPolicy", "externalTrafficPolicy")
    made = service(dict.fromkeys((*fields, *policies, "healthCheckNodePort")), metadata={"labels": {"app": None}})
    assert made == Service(KEY, ServiceType.CLUSTER_IP, addresses("10.96.0.10"), ())


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None"},
        {"clusterIP": ""},
        {"clusterIP": None},
        {"type": "ExternalName", "clusterIP": "10.96.0.10"},
    ],
)
def test_headless_and_external_name_services_are_not_used(spec: dict[str, Any]) -> None:
    """SVC-02, SVC-03."""
    assert decoded(spec) == NotUsed(Kind.SERVICE, KEY)


@pytest.mark.parametrize("value", ["other-proxy", "", None])
def test_service_of_another_proxy_is_not_used_whatever_the_label_says(value: str | None) -> None:
    """SVC-01."""
    labels = {"service.kubernetes.io/service-proxy-name": value}
    assert decoded({}, metadata={"labels": labels}) == NotUsed(Kind.SERVICE, KEY)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIPs": ["10.96.0.10", "fd00::10"]}, ("10.96.0.10",)),
        ({"ipFamilies": ["IPv4", "IPv6"], "clusterIPs": ["10.96.0.10", "fd00::10"]}, ("10.96.0.10", "fd00::10")),
        ({"ipFamilies": ["IPv4"], "clusterIPs": ["10.96.0.10", "fd00::10"]}, ("10.96.0.10",)),
        ({"ipFamilies": ["IPv4", "IPv6"], "clusterIPs": ["10.96.0.10"]}, ("10.96.0.10",)),
        ({"ipFamilies": ["IPv4"]}, ("10.96.0.10",)),
    ],
)
def test_cluster_ips_are_those_that_the_families_name(spec: dict[str, Any], expected: tuple[str, ...]) -> None:
    """SVC-04: without `ipFamilies` only `clusterIP` counts."""
    assert service(spec).cluster_ips == addresses(*expected)


@pytest.mark.parametrize("text", ["10.96.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"])
def test_service_without_usable_cluster_ip_is_unusable(text: str) -> None:
    """A version known before stays in force, which it would not if the Service were taken for a headless one."""
    result = decoded({"clusterIP": text})
    assert isinstance(result, Unusable)
    assert result.key == KEY
    assert [p.field for p in result.problems] == ["spec.clusterIP"]


def test_cluster_ip_of_another_family_than_named_is_unusable() -> None:
    """SVC-04."""
    result = decoded({"ipFamilies": ["IPv6"], "clusterIPs": ["10.96.0.10"]})
    assert isinstance(result, Unusable)
    assert [str(p) for p in result.problems] == [
        "Service shop/web: spec.clusterIPs[0] 10.96.0.10 is not an IPv6 address as spec.ipFamilies says; it is ignored"
    ]


def test_node_port_out_of_range_leaves_its_port_in_service() -> None:
    """Each problem costs only the part that it concerns."""
    made, problems = troubled({"ports": [{"port": 80, "nodePort": 70000}, {"port": 81, "nodePort": 30081}]})
    assert made.ports == (ServicePort("", Protocol.TCP, 80), ServicePort("", Protocol.TCP, 81, 30081))
    assert problems == ["Service shop/web: spec.ports[0].nodePort 70000 is outside 1-65535; this node port is ignored"]


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ({"port": 0}, "spec.ports[0].port 0 is outside 1-65535; this port is ignored"),
        ({"port": 65536}, "spec.ports[0].port 65536 is outside 1-65535; this port is ignored"),
        (
            {"port": 80, "protocol": "ICMP"},
            "spec.ports[0].protocol `ICMP` is none of TCP, UDP, SCTP; this port is ignored",
        ),
    ],
)
def test_bad_port_leaves_the_others_in_service(port: dict[str, Any], problem: str) -> None:
    """SVC-05."""
    made, problems = troubled({"ports": [port, {"port": 443}]})
    assert made.ports == (ServicePort("", Protocol.TCP, 443),)
    assert problems == [f"Service shop/web: {problem}"]


def test_first_of_equal_ports_and_node_ports_counts() -> None:
    """SVC-05, SVC-16; the same number with another protocol is another port."""
    made, problems = troubled(
        {
            "ports": [
                {"name": "a", "port": 53, "protocol": "UDP", "nodePort": 30053},
                {"name": "b", "port": 53, "protocol": "TCP", "nodePort": 30053},
                {"name": "c", "port": 53, "protocol": "UDP"},
                {"name": "d", "port": 54, "protocol": "UDP", "nodePort": 30053},
            ]
        }
    )
    assert made.ports == (
        ServicePort("a", Protocol.UDP, 53, 30053),
        ServicePort("b", Protocol.TCP, 53, 30053),
        ServicePort("d", Protocol.UDP, 54),
    )
    assert problems == [
        "Service shop/web: spec.ports[2] 53/UDP is listed twice; this port is ignored",
        "Service shop/web: spec.ports[3].nodePort 30053/UDP is listed twice; this node port is ignored",
    ]


@pytest.mark.parametrize(
    "text", ["x", "127.0.0.1", "::1", "169.254.169.254", "fe80::1", "ff02::1", "0.0.0.0", "255.255.255.255"]
)
def test_address_that_is_never_served_is_ignored(text: str) -> None:
    """SVC-08: 127.0.0.1 bound as an external IP would take the node's own traffic."""
    made, problems = troubled({"externalIPs": [text, "192.0.2.1"]})
    assert made.external_ips == addresses("192.0.2.1")
    assert len(problems) == 1
    assert problems[0].startswith("Service shop/web: spec.externalIPs[0] ")


def test_load_balancer_address_in_proxy_mode_is_not_served_here() -> None:
    """SVC-09."""
    ingress = [{"ip": "203.0.113.1", "ipMode": "Proxy"}, {"ip": "203.0.113.2", "ipMode": "VIP"}, {"ip": None}]
    made = service({}, status={"loadBalancer": {"ingress": ingress}})
    assert made.load_balancer_ips == (address("203.0.113.2"),)


def test_source_range_that_cannot_be_read_lets_no_client_in() -> None:
    """SVC-10, DEV-60: the others stay in force."""
    made, problems = troubled({"loadBalancerSourceRanges": ["10.0.0.0/33", "10.0.0.1", "192.0.2.0/24"]})
    assert made.source_ranges == (Network.parse("192.0.2.0/24"),)
    assert made.source_ranges_unread
    assert [p.split()[2] for p in problems] == [
        "spec.loadBalancerSourceRanges[0]",
        "spec.loadBalancerSourceRanges[1]",
    ]


@pytest.mark.parametrize(
    "ranges",
    ["10.0.0.0/8", 5, True, {}, {"a": "10.0.0.0/8"}, [None], [5], [["10.0.0.0/8"]], [""], [" "], ["::ffff:0:0/96"]],
    ids=repr,
)
def test_source_ranges_that_are_none_at_all_close(ranges: object) -> None:
    """DEV-60: also those of the wrong type, which must not leave an older version without ranges in force."""
    made, problems = troubled({"loadBalancerSourceRanges": ranges})
    assert (made.source_ranges, made.source_ranges_unread) == ((), True)
    assert len(problems) == 1
    assert problems[0].startswith("Service shop/web: spec.loadBalancerSourceRanges")
    assert problems[0].endswith("; it lets no client in")


@pytest.mark.parametrize("ranges", [None, []])
def test_a_service_without_source_ranges_is_open(ranges: object) -> None:
    """SVC-10."""
    made = service({"loadBalancerSourceRanges": ranges})
    assert (made.source_ranges, made.source_ranges_unread) == ((), False)


def test_older_spellings_are_read_in_every_field_with_addresses() -> None:
    """SVC-20, SVC-04, SVC-08 to SVC-10."""
    made = service(
        {
            "clusterIP": "010.096.000.010",
            "clusterIPs": ["::ffff:10.96.0.10", "fd00:0000::00010"],
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": ["192.168.010.005", "192.168.10.5"],
            "loadBalancerSourceRanges": ["010.020.000.000/16", "::ffff:10.0.0.0/104"],
        },
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.007"}]}},
    )
    assert made.cluster_ips == addresses("10.96.0.10", "fd00::10")
    assert made.external_ips == addresses("192.168.10.5")
    assert made.load_balancer_ips == addresses("203.0.113.7")
    assert made.source_ranges == (Network.parse("10.20.0.0/16"), Network.parse("10.0.0.0/8"))


@pytest.mark.parametrize("config", [None, {}, {"clientIP": None}, {"clientIP": {"timeoutSeconds": None}}])
def test_session_affinity_without_timeout_lasts_three_hours(config: Any) -> None:
    """SVC-07."""
    made = service({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
    assert made.affinity_timeout_seconds == 10800


@pytest.mark.parametrize("seconds", [0, -1, 86401])
def test_affinity_timeout_out_of_range_is_replaced_by_the_default(seconds: int) -> None:
    """SVC-07."""
    config = {"clientIP": {"timeoutSeconds": seconds}}
    made, problems = troubled({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
    assert made.affinity_timeout_seconds == 10800
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("field", "attribute", "reading"),
    [
        ("type", "type", ServiceType.LOAD_BALANCER),
        ("internalTrafficPolicy", "internal_policy", TrafficPolicy.LOCAL),
        ("externalTrafficPolicy", "external_policy", TrafficPolicy.LOCAL),
        ("sessionAffinity", "affinity_timeout_seconds", 0),
    ],
)
def test_unknown_word_is_read_as_what_opens_least(field: str, attribute: str, reading: object) -> None:
    """DEV-60: a policy that cannot be read must not widen what it should narrow; the Service is served all the same."""
    made, problems = troubled({field: "Foo"})
    plain = Service(KEY, ServiceType.CLUSTER_IP, addresses("10.96.0.10"), ())
    assert made == msgspec.structs.replace(plain, **{attribute: reading})
    assert len(problems) == 1
    assert problems[0].startswith(f"Service shop/web: spec.{field} `Foo` is none of ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00Z"),
        (None, ""),
    ],
)
def test_creation_time_is_written_in_utc(text: str | None, expected: str) -> None:
    """The order of these texts decides which of two Services keeps an address (DEV-14)."""
    assert service({}, metadata={"creationTimestamp": text}).created_at == expected


def test_an_invalid_creation_time_is_ignored() -> None:
    """DEV-14."""
    made, problems = troubled({}, metadata={"creationTimestamp": "yesterday"})
    assert made.created_at == ""
    assert len(problems) == 1


def test_field_of_the_wrong_type_rejects_the_object_and_is_named() -> None:
    """The API server never sends one; in a manifest it is a slip that must not go unseen."""
    result = decoded({"ports": [{"port": "80"}]})
    assert isinstance(result, Unusable)
    assert [str(p) for p in result.problems] == [
        "Service shop/web: spec.ports[0].port expected `int`, got `str`; the object is not used"
    ]


def test_problems_of_one_object_are_limited() -> None:
    """A thousand bad addresses must not drown the problems of other objects."""
    _, problems = troubled({"externalIPs": ["x"] * 1000})
    assert len(problems) == 21
    assert problems[-1] == "Service shop/web: 980 more problems are not shown"
