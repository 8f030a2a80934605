"""Nodes from the API's JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from ipvsagent.model.address import Network
from ipvsagent.model.objects import Kind, Node
from ipvsagent.source.decode import decode_json
from support.builders import addresses


def decoded(tree: dict[str, Any]) -> Any:
    """What a Node `node-1` comes to."""
    metadata = {"name": "node-1", **tree.pop("metadata", {})}
    return decode_json(Kind.NODE, msgspec.json.encode({"metadata": metadata, **tree}))


def test_every_field_that_is_used_arrives() -> None:
    """SYN-03: InternalIPs in order, then ExternalIPs."""
    result = decoded(
        {
            "metadata": {
                "labels": {"topology.kubernetes.io/zone": "a"},
                "deletionTimestamp": "2026-01-31T12:00:00Z",
            },
            "spec": {
                "podCIDR": "10.200.0.0/24",
                "podCIDRs": ["10.200.0.0/24", "fd00:1::/64"],
                "taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}],
            },
            "status": {
                "addresses": [
                    {"type": "ExternalIP", "address": "203.0.113.1"},
                    {"type": "Hostname", "address": "node-1"},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "InternalIP", "address": "2001:db8::1"},
                ]
            },
        }
    )
    assert result.problems == ()
    assert result.object == Node(
        name="node-1",
        addresses=addresses("192.0.2.1", "2001:db8::1", "203.0.113.1"),
        zone="a",
        pod_networks=(Network.parse("10.200.0.0/24"), Network.parse("fd00:1::/64")),
        deleting=True,
        taint_keys=("ToBeDeletedByClusterAutoscaler",),
    )


def test_node_of_nulls_is_a_node() -> None:
    """A Node that was just registered has next to nothing."""
    assert decoded({"spec": None, "status": {"addresses": None}}).object == Node("node-1")


def test_single_pod_cidr_stands_in_for_the_list() -> None:
    """LOC-02."""
    assert decoded({"spec": {"podCIDR": "10.200.0.0/24"}}).object.pod_networks == (Network.parse("10.200.0.0/24"),)


def test_address_that_cannot_be_read_leaves_the_others() -> None:
    """SYN-03."""
    listed = [{"type": "InternalIP", "address": "x"}, {"type": "InternalIP", "address": "192.0.2.1"}]
    result = decoded({"status": {"addresses": listed}})
    assert result.object.addresses == addresses("192.0.2.1")
    assert [p.field for p in result.problems] == ["status.addresses[0].address"]
