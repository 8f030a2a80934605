"""What the planner must know about this node, from the objects of the cluster and the addresses in the kernel."""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.config.values import NodePortAddresses
from ipvsagent.kernel.api import Addresses
from ipvsagent.model.address import Family
from ipvsagent.model.objects import Node, ObjectKey
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.planner.facts import (
    KUBERNETES_API,
    NodeFacts,
    api_server_addresses,
    choose_node_port_addresses,
    health_check_addresses,
    infrastructure_addresses,
    node_ips,
    usable_node_addresses,
)
from ipvsagent.planner.node_name import unknown_node
from ipvsagent.reconciler.objects.cache import ObjectCache


def own_node(objects: ObjectCache, node_name: str) -> Node | None:
    """Return this node's object; None if it is not known."""
    return objects.nodes.get(ObjectKey("", node_name))


def unknown_own_node(objects: ObjectCache, node_name: str) -> str:
    """Return a message, with the most similar name, if the cluster has no Node for this node; else empty (DEV-65)."""
    if not objects.nodes_listed:
        return ""
    return unknown_node(node_name, {*objects.cluster_addresses, *(n.name for n in objects.nodes.values())})


def read_facts(
    addresses: Addresses, objects: ObjectCache, *, node_name: str, families: tuple[Family, ...], settings: Settings
) -> NodeFacts:
    """Collect the facts (SYN-03, NP-01 to NP-07).

    Raises:
        KernelError: the addresses could not be listed.
    """
    listed = addresses.list_addresses()
    present = [a.address for a in listed if a.link_name != DUMMY_INTERFACE]
    usable = usable_node_addresses(present)
    node = own_node(objects, node_name)
    internal = node_ips(node.addresses if node else (), settings.bind_address)
    # With `primary`, a node without a Node object serves no NodePorts. Before Nodes are listed, the object may exist,
    # and a restart must not remove what the previous agent served.
    answering = settings.node_port_addresses
    if answering.primary and not internal and not objects.nodes_listed:
        answering = NodePortAddresses()
    others = {a for n in objects.nodes.values() if n is not node for a in n.addresses}
    others |= {a for name, found in objects.cluster_addresses.items() if name != node_name for a in found}
    return NodeFacts(
        name=node_name,
        zone=node.zone if node else "",
        families=families,
        addresses=usable,
        node_port_addresses=choose_node_port_addresses(answering, usable, internal_addresses=internal),
        health_check_addresses=health_check_addresses(
            answering, present, internal_addresses=internal, families=families
        ),
        internal_addresses=internal,
        other_node_addresses=frozenset(others),
        api_server_addresses=api_server_addresses(objects.slices_of(KUBERNETES_API)),
        infrastructure_addresses=infrastructure_addresses(objects.infrastructure.values()),
    )
