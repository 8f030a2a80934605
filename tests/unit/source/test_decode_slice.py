"""EndpointSlices from the API's JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.objects import Endpoint, EndpointPort, EndpointSlice, Kind, ObjectKey
from ipvsagent.source.decode import NotUsed, Unusable, Usable, decode_json
from support.builders import address

KEY = ObjectKey("shop", "web-abc")
OWNED = {"kubernetes.io/service-name": "web"}


def decoded(*, labels: Any = OWNED, **fields: Any) -> Any:
    """What an IPv4 slice `shop/web-abc` of the Service `web` comes to."""
    tree = {
        "metadata": {"name": "web-abc", "namespace": "shop", "labels": labels, "generation": 3},
        "addressType": "IPv4",
        **fields,
    }
    return decode_json(Kind.ENDPOINT_SLICE, msgspec.json.encode(tree))


def endpoint_slice(**fields: Any) -> EndpointSlice:
    """The slice, which must come without problems."""
    result = decoded(**fields)
    assert isinstance(result, Usable)
    assert result.problems == ()
    assert isinstance(result.object, EndpointSlice)
    return result.object


def test_every_field_that_is_used_arrives() -> None:
    """EP-01 to EP-10, DEV-13."""
    made = endpoint_slice(
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "", "port": 53, "protocol": "UDP"}],
        endpoints=[
            {
                "addresses": ["10.200.0.1", "10.200.0.99"],
                "conditions": {"ready": False, "serving": True, "terminating": True},
                "nodeName": "node-1",
                "hints": {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "node-1"}]},
            }
        ],
    )
    assert made == EndpointSlice(
        key=KEY,
        service=ObjectKey("shop", "web"),
        family=Family.IPV4,
        ports=(EndpointPort("http", Protocol.TCP, 8080), EndpointPort("", Protocol.UDP, 53)),
        endpoints=(
            Endpoint(
                address("10.200.0.1"),
                ready=False,
                serving=True,
                terminating=True,
                node_name="node-1",
                zone_hints=("a", "b"),
                node_hints=("node-1",),
            ),
        ),
        generation=3,
    )


@pytest.mark.parametrize("conditions", [None, {}, dict.fromkeys(("ready", "serving", "terminating"))])
def test_null_conditions_mean_ready_serving_and_not_terminating(conditions: Any) -> None:
    """EP-08."""
    made = endpoint_slice(endpoints=[{"addresses": ["10.200.0.1"], "conditions": conditions, "nodeName": None}])
    assert made.endpoints == (Endpoint(address("10.200.0.1"), ready=True, serving=True, terminating=False),)


def test_null_lists_are_empty() -> None:
    """A slice of a Service without endpoints says `endpoints: null`."""
    made = endpoint_slice(ports=None, endpoints=None)
    assert (made.ports, made.endpoints) == ((), ())


def test_null_hints_are_none() -> None:
    """EP-10."""
    hints = [None, {}, {"forZones": None, "forNodes": None}]
    made = endpoint_slice(endpoints=[{"addresses": [f"10.200.0.{i}"], "hints": h} for i, h in enumerate(hints, 1)])
    assert {(e.zone_hints, e.node_hints) for e in made.endpoints} == {((), ())}


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {"kubernetes.io/service-name": ""},
        {"kubernetes.io/service-name": None},
        {**OWNED, "service.kubernetes.io/headless": ""},
    ],
)
def test_slice_without_owner_or_of_a_headless_service_is_not_used(labels: Any) -> None:
    """EP-01."""
    assert decoded(labels=labels) == NotUsed(Kind.ENDPOINT_SLICE, KEY)


def test_slice_of_host_names_is_not_used() -> None:
    """EP-02."""
    assert decoded(addressType="FQDN") == NotUsed(Kind.ENDPOINT_SLICE, KEY)


@pytest.mark.parametrize("address_type", ["IPv5", "", None])
def test_slice_of_unknown_address_type_is_unusable(address_type: str | None) -> None:
    """EP-02."""
    result = decoded(addressType=address_type)
    assert isinstance(result, Unusable)
    assert [p.field for p in result.problems] == ["addressType"]


def test_port_without_name_or_number_is_skipped() -> None:
    """EP-05: a missing number does not mean all ports, and an empty name is a name."""
    ports = [{"name": None, "port": 1}, {"name": "a", "port": None}, {"name": "b", "port": 0}, {"name": "", "port": 4}]
    assert endpoint_slice(ports=ports).ports == (EndpointPort("", Protocol.TCP, 4),)


@pytest.mark.parametrize("port", [{"name": "a", "port": 65536}, {"name": "a", "port": 1, "protocol": "XTP"}])
def test_bad_port_leaves_the_others(port: dict[str, Any]) -> None:
    """EP-05."""
    result = decoded(ports=[port, {"name": "b", "port": 2}])
    assert result.object.ports == (EndpointPort("b", Protocol.TCP, 2),)
    assert len(result.problems) == 1


@pytest.mark.parametrize("text", ["x", "fd00::1", "127.0.0.1", "169.254.0.1", "224.0.0.1", "0.0.0.0"])
def test_endpoint_with_bad_address_leaves_the_others(text: str) -> None:
    """EP-02, EP-07: 127.0.0.1 as a real server would hand outside traffic to the node itself."""
    result = decoded(endpoints=[{"addresses": [text]}, {"addresses": []}, {"addresses": ["10.200.0.2"]}])
    assert result.object.endpoints == (Endpoint(address("10.200.0.2")),)
    assert [p.field for p in result.problems] == ["endpoints[0].addresses[0]"]


def test_names_that_repeat_are_held_once() -> None:
    """100,000 endpoints name a few nodes and zones."""
    endpoint = {"addresses": ["10.200.0.1"], "nodeName": "node-1", "hints": {"forZones": [{"name": "zone-a"}]}}
    first, second = (endpoint_slice(endpoints=[endpoint]).endpoints[0] for _ in range(2))
    assert first.node_name is second.node_name
    assert first.zone_hints[0] is second.zone_hints[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T00:00:00.25Z", 1767225600.25),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("yesterday", 0.0),
        (5, 0.0),
        (None, 0.0),
    ],
)
def test_the_time_of_what_changed_a_slice_is_read_from_its_annotation(text: object, seconds: float) -> None:
    """MET-10: it is no part of the object, and a wrong one is unknown, not a problem."""
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": text, "other": {"any": "thing"}}
    tree = {
        "metadata": {"name": "web-abc", "namespace": "shop", "labels": OWNED, "annotations": annotations},
        "addressType": "IPv4",
    }
    result = decode_json(Kind.ENDPOINT_SLICE, msgspec.json.encode(tree))
    assert isinstance(result, Usable)
    assert (result.triggered_at, result.problems) == (seconds, ())
