"""The desired state of a node from all objects at once, sorted, for `ipvsagent plan`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Family, Network
from ipvsagent.model.objects import EndpointSlice, Node, ObjectKey, Problem, Service
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DesiredState, RealServer, SetEntry, VirtualServer
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.planner.rules import plan_rules
from ipvsagent.planner.services import plan_service
from ipvsagent.planner.sets import NOTES, set_specs


def plan_all(
    services: Iterable[Service], slices: Iterable[EndpointSlice], *, facts: NodeFacts, settings: Settings
) -> Desired:
    """Plan every Service from scratch."""
    owned: defaultdict[ObjectKey, list[EndpointSlice]] = defaultdict(list)
    for piece in slices:
        owned[piece.service].append(piece)
    desired = Desired()
    for service in services:
        plan = plan_service(service, owned[service.key], node=facts, settings=settings)
        desired.replace(service.key, plan)
    return desired


def pod_network(node: Node | None, family: Family) -> Network | None:
    """Return the node's pod CIDR of a family (LOC-02)."""
    return next((n for n in node.pod_networks if n.family is family), None) if node else None


def plan_rule_sets(
    settings: Settings, node: Node | None, families: Iterable[Family], *, random_fully: bool = True
) -> tuple[RuleSet, ...]:
    """Return the constant rules of each family.

    Args:
        random_fully: whether iptables supports ``--random-fully`` (IPT-05).
    """
    return tuple(plan_rules(settings, f, pod_network(node, f), random_fully=random_fully) for f in families)


def whole_state(desired: Desired, *, rules: tuple[RuleSet, ...], problems: Iterable[Problem] = ()) -> DesiredState:
    """Return everything that the kernel should hold, sorted so that equal states are equal values.

    The agent's own notes are left out, because they do not affect packets.
    """
    return DesiredState(
        virtual_servers=tuple(sorted((_sorted(v) for v in desired.virtual_servers.values()), key=_server_order)),
        addresses=tuple(sorted(desired.addresses, key=lambda a: a.sort_key)),
        sets=tuple(spec for r in rules for spec in set_specs(r.family) if spec.name not in NOTES),
        entries=tuple(sorted((e for e in desired.entries if e.set_name not in NOTES), key=_entry_order)),
        rules=rules,
        problems=tuple(sorted({*problems, *desired.problems()})),
    )


def _sorted(virtual_server: VirtualServer) -> VirtualServer:
    servers = tuple(sorted(virtual_server.real_servers, key=_real_server_order))
    return VirtualServer(
        virtual_server.key,
        virtual_server.scheduler,
        virtual_server.flags,
        virtual_server.persistence_timeout_seconds,
        servers,
    )


def _real_server_order(server: RealServer) -> tuple[bytes, int]:
    return server.address, server.port


def _server_order(virtual_server: VirtualServer) -> tuple[tuple[int, bytes], int, int]:
    key = virtual_server.key
    return key.address.sort_key, key.port, key.protocol


def _entry_order(entry: SetEntry) -> tuple[str, bytes, int, int, bytes, int]:
    return (
        entry.set_name,
        entry.address or b"",
        entry.port,
        entry.protocol or 0,
        entry.other_address or b"",
        entry.other_prefix_length or 0,
    )
