"""Random worlds: objects as an API server might send them, well formed and not, and a node with its settings."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import NodePortAddresses
from ipvsagent.model.address import Address, Network
from ipvsagent.model.objects import EndpointSlice, Kind, KubernetesObject, Node, ObjectKey, Service
from ipvsagent.source.decode import Usable, decode_value
from oracle.planner import World
from support.builders import addresses

Manifest = dict[str, Any]  # JSON

NODE_ADDRESSES = addresses("192.168.60.1", "10.244.0.1", "fd00:60::1")
"""What the node's interfaces have in any case: its own addresses, and that of a bridge for pods."""

# Few values, so that they meet: the node's own addresses, other nodes' ones, cluster ranges, and shared VIPs.
VIPS_4 = ["198.51.100.7", "198.51.100.8", "192.168.60.1", "192.168.60.2", "10.244.7.7", "10.96.0.1", "172.18.0.1"]
VIPS_6 = ["2001:db8::7", "fd00:60::1", "fd00:60::2", "fd00:244::7", "fd00:96::1"]
POD_ADDRESSES_4 = ["10.244.0.11", "10.244.0.12", "10.244.1.11", "192.168.60.1"]
POD_ADDRESSES_6 = ["fd00:244::11", "fd00:244:1::11"]
RANGES = ["192.0.2.0/24", " 192.168.60.0/24", "10.1.2.3/8", "203.0.113.9/32", "0.0.0.0/0", "fd00:60::/64", "::/0"]
BAD_RANGES = ["192.0.2.1", "10.0.0.0/33", "", "junk/8"]
BAD_ADDRESSES = ["", "junk", "127.0.0.1", "224.0.0.1", "0.0.0.0", "fe80::1", "::ffff:10.0.0.1", " 198.51.100.7 "]
NAMES = ["a", "b", "c"]
TYPES = [*("ClusterIP", "NodePort", "LoadBalancer", None) * 2, "ExternalName"]
WEIGHTS = ["0", "3", "3", "7", "65535", "-1", "heavy"]
JUNK: list[object] = [None, "", "junk", -1, 0, 70000, True, [], {}, [None], [{}], {"x": 1}, 1.5, "127.0.0.1"]


def rarely(strategy: st.SearchStrategy[Any], otherwise: object = None) -> st.SearchStrategy[Any]:
    """A field that is absent or plain three times out of four."""
    return st.one_of(st.just(otherwise), st.just(otherwise), st.just(otherwise), strategy)


SELDOM_0 = st.sampled_from([1, 1, 1, 0])
"""The least length of a list without which little happens."""


def lists(values: list[str], longest: int) -> st.SearchStrategy[list[str]]:
    """Up to so many of these values, in any order, twice too."""
    return st.lists(st.sampled_from(values), max_size=longest)


MISSING_SCHEDULERS = frozenset({"nq"})
"""What the node's kernel lacks; Services ask for it all the same."""

SERVICE_ANNOTATIONS = {
    "scheduler": ["rr", "sh", "mh", "nq", "wrr", "lcc", ""],
    "scheduler-flags": ["sh-port", "mh-port,mh-fallback", "flag-1, flag-3", "sh-port,mh-port", "junk", ""],
    "local": ["true", "false", "junk"],
    "skip-load-balancer-ips": ["true", "false"],
}
ROUTER_NAMES = {
    "scheduler": "scheduler",
    "scheduler-flags": "schedflags",
    "local": "local",
    "skip-load-balancer-ips": "skiplbips",
}


@st.composite
def service_annotations(draw: st.DrawFn) -> dict[str, object]:
    """Annotations of a Service, under our names and kube-router's, and what others write."""
    found: dict[str, object] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    for name in draw(st.lists(st.sampled_from(list(SERVICE_ANNOTATIONS)), max_size=3)):
        full = draw(st.sampled_from([f"ipvsagent.io/{name}", f"kube-router.io/service.{ROUTER_NAMES[name]}"]))
        found[full] = draw(st.sampled_from(SERVICE_ANNOTATIONS[name]))
    return found


service_ports = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["", "http", "dns"]),
        "protocol": st.sampled_from(["TCP", "TCP", "UDP", "SCTP", None]),
        "port": st.sampled_from([80, 53, 30080, 443]),
        "nodePort": st.sampled_from([None, 0, 30080, 30053, 80]),
    }
)


@st.composite
def services(draw: st.DrawFn) -> Manifest:
    """A Service with any of the fields that are read."""
    name = draw(st.sampled_from(NAMES))
    number = NAMES.index(name) + 1
    ip_4, ip_6 = f"10.96.0.{number}", f"fd00:96::{number}"
    families, ips = draw(
        st.sampled_from(
            [
                (["IPv4"], [ip_4]),
                (["IPv6"], [ip_6]),
                (["IPv4", "IPv6"], [ip_4, ip_6]),
                (["IPv6", "IPv4"], [ip_6, ip_4]),
                (None, [ip_4]),
            ]
        )
    )
    modes = st.sampled_from([None, "VIP", "Proxy"])
    ingress = st.fixed_dictionaries({"ip": st.sampled_from([*VIPS_4, *VIPS_6, None]), "ipMode": modes})
    seconds = st.sampled_from([{}, {"clientIP": {}}, {"clientIP": {"timeoutSeconds": 600}}])
    return {
        "metadata": {
            "name": name,
            "namespace": draw(st.sampled_from(["shop", "shop", "default"])),
            "creationTimestamp": draw(st.sampled_from(["2025-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00", None])),
            "labels": draw(rarely(rarely(st.just({"service.kubernetes.io/service-proxy-name": "x"})))),
            "annotations": draw(st.none() | service_annotations()),
        },
        "spec": {
            "type": draw(st.sampled_from(TYPES)),
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ipFamilies": families,
            "ports": draw(st.lists(service_ports, min_size=1, max_size=3)),
            "externalIPs": draw(rarely(lists([*VIPS_4, *VIPS_6, *BAD_ADDRESSES], 3))),
            "loadBalancerSourceRanges": draw(rarely(lists([*RANGES, *BAD_RANGES], 2))),
            "internalTrafficPolicy": draw(st.sampled_from([None, "Cluster", "Local"])),
            "externalTrafficPolicy": draw(st.sampled_from([None, "Cluster", "Local", "Local"])),
            "sessionAffinity": draw(st.sampled_from([None, "None", "ClientIP"])),
            "sessionAffinityConfig": draw(seconds),
            "healthCheckNodePort": draw(st.sampled_from([None, 0, 31000])),
        },
        "status": {"loadBalancer": {"ingress": draw(rarely(st.lists(ingress, max_size=2)))}},
    }


@st.composite
def endpoints(draw: st.DrawFn, values: list[str]) -> Manifest:
    """An endpoint with nulls, hints and conditions of any kind."""
    condition = st.sampled_from([None, True, True, False])
    zones = st.lists(st.sampled_from(["zone-a", "zone-b"]), max_size=2)
    nodes = st.lists(st.sampled_from(["node-1", "node-2"]), max_size=2)
    hints = st.builds(
        lambda z, n: {"forZones": [{"name": x} for x in z], "forNodes": [{"name": x} for x in n]}, zones, nodes
    )
    return {
        "addresses": draw(st.lists(st.sampled_from([*values, *values, *BAD_ADDRESSES[:2]]), max_size=2)),
        "conditions": draw(
            st.fixed_dictionaries({"ready": condition, "serving": condition, "terminating": condition}) | st.none()
        ),
        "nodeName": draw(st.sampled_from(["node-1", "node-1", "node-2", None, "Node-1"])),
        "hints": draw(st.one_of(st.none(), hints)),
    }


@st.composite
def slices(draw: st.DrawFn) -> Manifest:
    """A slice of some Service, or of none."""
    family = draw(st.sampled_from(["IPv4", "IPv4", "IPv6", "FQDN"]))
    ports = st.fixed_dictionaries(
        {
            "name": st.sampled_from(["", "", "http", "dns", None]),
            "protocol": st.sampled_from(["TCP", "TCP", "UDP", "SCTP", None]),
            "port": st.sampled_from([8080, 5353, 0, None]),
        }
    )
    values = POD_ADDRESSES_6 if family == "IPv6" else POD_ADDRESSES_4
    owner = {"kubernetes.io/service-name": draw(st.sampled_from([*NAMES, *NAMES, "kubernetes"]))}
    return {
        "metadata": {
            "name": draw(st.sampled_from(["one", "two", "three"])),
            "namespace": draw(st.sampled_from(["shop", "shop", "default"])),
            "generation": draw(st.sampled_from([None, 1, 2])),
            "labels": draw(rarely(st.just({}), owner)),
            "annotations": draw(st.none() | st.sampled_from(WEIGHTS).map(lambda w: {"ipvsagent.io/weight": w})),
        },
        "addressType": family,
        "ports": draw(st.lists(ports, max_size=2)),
        "endpoints": draw(st.lists(endpoints(values), max_size=4)),
    }


@st.composite
def nodes(draw: st.DrawFn) -> Manifest:
    """This node or another one."""
    name = draw(st.sampled_from(["node-1", "node-2"]))
    last = name[-1]
    reported = {
        "InternalIP": [f"192.168.60.{last}", f"fd00:60::{last}", f"192.168.61.{last}"],
        "ExternalIP": [f"203.0.113.{last}"],
        "Hostname": [name],
    }
    kinds = draw(st.lists(st.sampled_from(list(reported)), max_size=4))
    return {
        "metadata": {"name": name, "labels": draw(st.sampled_from([{"topology.kubernetes.io/zone": "zone-a"}, None]))},
        "spec": {},
        "status": {"addresses": [{"type": k, "address": draw(st.sampled_from(reported[k]))} for k in kinds]},
    }


@st.composite
def damaged(draw: st.DrawFn, objects: st.SearchStrategy[Manifest]) -> Manifest:
    """An object, one in six with something that does not belong where it stands."""
    item = draw(objects)
    if draw(st.sampled_from(range(6))):
        return item
    at: Any = item
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw(st.sampled_from(JUNK))
        return item


ALL_SETTINGS = st.builds(
    Settings,
    bind_address=rarely(st.sampled_from(addresses("192.168.60.1", "172.18.0.1", "fd00:60::1"))),
    scheduler=st.sampled_from(["rr", "wlc", "sh", "mh"]),
    scheduler_flags=rarely(st.sampled_from([0, 0x8, 0x18])),
    strict_local_policy=st.booleans(),
    allow_external_ips=st.sampled_from([True, True, False]),
    node_port_addresses=st.one_of(
        st.just(NodePortAddresses()),
        st.just(NodePortAddresses(primary=True)),
        st.builds(
            NodePortAddresses,
            st.lists(st.sampled_from(["192.168.60.0/24", "10.0.0.0/8", "fd00:60::/64", "0.0.0.0/0"]), max_size=2).map(
                lambda texts: tuple(Network.parse(t) for t in texts)
            ),
        ),
    ),
    local_detection=st.sampled_from(
        [
            LocalDetection(),
            LocalDetection(cluster_networks=(Network.parse("10.244.0.0/16"), Network.parse("fd00:244::/32"))),
        ]
    ),
)
INTERFACE_ADDRESSES = st.lists(
    st.sampled_from(addresses("172.18.0.1", "198.51.100.7", "fe80::1", "127.0.0.2", "2001:db8::7")), unique=True
).map(lambda more: (*NODE_ADDRESSES, *more))


def decoded(
    kind: Kind, manifests: Iterable[Manifest], *, with_defaults: bool = False
) -> dict[ObjectKey, KubernetesObject]:
    """The objects that the decoder lets through; of those with the same key the last one counts."""
    results = [decode_value(kind, m, with_defaults=with_defaults) for m in manifests]
    return {r.object.key: r.object for r in results if isinstance(r, Usable)}


def world_of(
    service_manifests: Iterable[Manifest],
    slice_manifests: Iterable[Manifest],
    node_manifests: Iterable[Manifest],
    settings: Settings,
    interface_addresses: tuple[Address, ...],
) -> World:
    """A world of decoded objects."""
    return World(
        [o for o in decoded(Kind.SERVICE, service_manifests).values() if isinstance(o, Service)],
        [o for o in decoded(Kind.ENDPOINT_SLICE, slice_manifests).values() if isinstance(o, EndpointSlice)],
        [o for o in decoded(Kind.NODE, node_manifests).values() if isinstance(o, Node)],
        settings,
        interface_addresses=interface_addresses,
        missing_schedulers=MISSING_SCHEDULERS,
    )


@st.composite
def families_of_objects(draw: st.DrawFn) -> tuple[list[Manifest], list[Manifest]]:
    """Services, and slices of which most fit one of them: left to chance, hardly any would have an endpoint."""
    made = draw(st.lists(services(), min_size=draw(SELDOM_0), max_size=4))
    pieces = draw(st.lists(slices(), min_size=draw(SELDOM_0), max_size=5))
    for piece in pieces:
        if made and draw(st.sampled_from([True, True, True, False])):
            _fit(piece, draw(st.sampled_from(made)))
    return [draw(damaged(_copies(m))) for m in made], [draw(damaged(_copies(p))) for p in pieces]


def _fit(piece: Manifest, owner: Manifest) -> None:
    """Let a slice belong to a Service, whatever its family, with all of its ports."""
    metadata = piece["metadata"]
    metadata["namespace"] = owner["metadata"]["namespace"]
    metadata["labels"] = {"kubernetes.io/service-name": owner["metadata"]["name"]}
    piece["ports"] = [{"name": p["name"], "protocol": p["protocol"], "port": 8080} for p in owner["spec"]["ports"]]


def _copies(item: Manifest) -> st.SearchStrategy[Manifest]:
    """A strategy for an object that may be altered without harm to others."""
    return st.builds(copy.deepcopy, st.just(item))


WORLDS = st.builds(
    lambda found, nodes, chosen, present: world_of(found[0], found[1], nodes, chosen, present),
    families_of_objects(),
    st.lists(damaged(nodes()), max_size=3),
    ALL_SETTINGS,
    INTERFACE_ADDRESSES,
)
"""Anything that may come, as far as the decoder lets it through."""
