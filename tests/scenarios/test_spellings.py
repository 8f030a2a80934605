"""Addresses and ranges in spellings that older API servers stored, and restrictions that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipvsagent.model.objects import EndpointSlice, Kind, KubernetesObject, Node, Service
from ipvsagent.source.decode import Usable, decode_json
from ipvsagent.source.manifests import read_objects
from scenarios.facts import bound, entries, plan, real_servers
from support.builders import NODE

MANIFEST = """\
apiVersion: v1
kind: Node
metadata: {name: worker-1}
status: {addresses: [{type: InternalIP, address: 192.168.060.001}]}
---
apiVersion: v1
kind: Service
metadata: {name: old, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.009.020
  clusterIPs: [10.96.009.020, "fd00:0096::00020"]
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, protocol: TCP}]
  externalIPs: [192.168.070.008, "::ffff:192.168.70.9"]
  loadBalancerSourceRanges: [010.030.000.000/16, "::ffff:172.16.0.0/108"]
status: {loadBalancer: {ingress: [{ip: 203.0.113.009}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: old-1, namespace: shop, labels: {kubernetes.io/service-name: old}}
addressType: IPv4
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.001.010]}, {addresses: ["::ffff:10.244.1.11"]}, {addresses: [10.244.1.12]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: old-2, namespace: shop, labels: {kubernetes.io/service-name: old}}
addressType: IPv6
ports: [{name: "", port: 8080, protocol: TCP}]
endpoints: [{addresses: ["FD00:0244:0:0::00011"]}, {addresses: ["fd00:244::12"]}]
"""


def decoded(kind: Kind, tree: dict[str, Any]) -> KubernetesObject:
    """An object as it comes from the API."""
    found = decode_json(kind, msgspec.json.encode(tree))
    assert isinstance(found, Usable)
    return found.object


def test_addresses_in_old_spellings_are_served(tmp_path: Path) -> None:
    """SVC-20: leading zeros, IPv4-mapped and long IPv6 addresses in every field that has addresses."""
    (tmp_path / "all.yaml").write_text(MANIFEST)
    objects, found = read_objects([tmp_path])
    assert found == []
    (node,) = [o for o in objects if isinstance(o, Node)]
    assert [str(a) for a in node.addresses] == ["192.168.60.1"]
    services = [o for o in objects if isinstance(o, Service)]
    state = plan(services, *[o for o in objects if isinstance(o, EndpointSlice)])
    assert state.problems == ()
    assert bound(state) == ["10.96.9.20", "192.168.70.8", "192.168.70.9", "203.0.113.9", "fd00:96::20"]
    pods = ["10.244.1.10:8080", "10.244.1.11:8080", "10.244.1.12:8080"]
    for address in ("10.96.9.20", "192.168.70.8", "192.168.70.9", "203.0.113.9"):
        assert sorted(real_servers(state, f"{address}:80/TCP")) == pods
    assert sorted(real_servers(state, "[fd00:96::20]:80/TCP")) == ["[fd00:244::11]:8080", "[fd00:244::12]:8080"]
    assert entries(state, "KUBE-LOAD-BALANCER-SOURCE-CIDR") == [
        "203.0.113.9,tcp:80,10.30.0.0/16",
        "203.0.113.9,tcp:80,172.16.0.0/12",
    ]


@pytest.mark.parametrize("address", ["192.168.060.002", "::ffff:192.168.60.2", "192.168.60.2"])
def test_an_address_of_another_node_is_refused_in_any_spelling(address: str) -> None:
    """SVC-20, ADR-04: another spelling is no way around the check."""
    tree = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], "externalIPs": [address]},
    }
    web = decoded(Kind.SERVICE, tree)
    node = decoded(
        Kind.NODE,
        {
            "metadata": {"name": "node-2"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.060.02"}]},
        },
    )
    assert isinstance(web, Service)
    assert isinstance(node, Node)
    facts = msgspec.structs.replace(NODE, other_node_addresses=frozenset(node.addresses))
    state = plan(web, node=facts)
    assert bound(state) == ["10.96.0.10"]
    assert [p.label for p in state.problems] == ["AddressRefused"]


@pytest.mark.parametrize(
    ("ranges", "let_in"),
    [
        (["203.000.113.000/24"], ["203.0.113.0/24"]),
        (["::ffff:10.0.0.0/104"], ["10.0.0.0/8"]),
        (["010.020.000.000/16"], ["10.20.0.0/16"]),
        (["10.0.0.0/8", "nonsense"], ["10.0.0.0/8"]),
        (["nonsense"], []),
        (["fd00::/8", "10.0.0.0/99"], []),
        (["10.0.0.1"], []),
        (["::ffff:0:0/96"], []),
        ([""], []),
    ],
    ids=str,
)
def test_the_restriction_stays_in_force_for_what_can_be_read(ranges: list[str], let_in: list[str]) -> None:
    """DEV-60, SVC-20: with no range that can be read, no client enters."""
    web = decoded(
        Kind.SERVICE,
        {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "clusterIP": "10.96.0.10",
                "type": "LoadBalancer",
                "ports": [{"port": 80}],
                "loadBalancerSourceRanges": ranges,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}},
        },
    )
    assert isinstance(web, Service)
    state = plan(web)
    assert entries(state, "KUBE-LOAD-BALANCER-FW") == ["203.0.113.5,tcp:80"]
    assert entries(state, "KUBE-LOAD-BALANCER-SOURCE-CIDR") == [f"203.0.113.5,tcp:80,{n}" for n in let_in]
    assert entries(state, "KUBE-LOAD-BALANCER-SOURCE-IP") == []
