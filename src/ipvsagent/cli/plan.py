"""``ipvsagent plan``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from ipvsagent import render
from ipvsagent.cli.settings import load_settings
from ipvsagent.config.types import Settings
from ipvsagent.errors import ConfigurationError
from ipvsagent.model.address import Address, Family, Network
from ipvsagent.model.objects import EndpointSlice, Node, Service
from ipvsagent.model.state import DesiredState
from ipvsagent.planner.facts import (
    NodeFacts,
    api_server_addresses,
    choose_node_port_addresses,
    infrastructure_addresses,
    node_ips,
    usable_node_addresses,
)
from ipvsagent.planner.plan import plan_all, plan_rule_sets, whole_state
from ipvsagent.source.manifests import read_objects


def run(options: argparse.Namespace) -> int:
    """Print the desired state; print problems with objects to stderr and use all other objects."""
    settings = load_settings(options.config)
    addresses = _node_addresses(options.node_addresses)
    objects, problems = read_objects(options.paths)
    name = options.node_name.strip().lower()
    nodes = [o for o in objects if isinstance(o, Node)]
    node = next((n for n in nodes if n.name == name), None)
    slices = [o for o in objects if isinstance(o, EndpointSlice)]
    services = [o for o in objects if isinstance(o, Service)]
    facts = replace(
        _facts(name, nodes, slices, addresses, settings), infrastructure_addresses=infrastructure_addresses(services)
    )
    desired = plan_all(
        services,
        slices,
        facts=facts,
        settings=settings,
    )
    state = whole_state(desired, rules=plan_rule_sets(settings, node, Family), problems=problems)
    for problem in state.problems:
        print(f"warning: {problem}", file=sys.stderr)
    for line in _lines(state, options.output):
        print(line)
    return 0


def _node_addresses(words: Iterable[str]) -> tuple[Address, ...]:
    """Read ``ADDR/LEN`` options; the length, as shown by `ip address`, is ignored."""
    found = []
    for word in words:
        try:
            Network.parse(word)
            found.append(Address.parse(word.partition("/")[0]))
        except ValueError as error:
            raise ConfigurationError([f"--node-address: {error}"]) from None
    return tuple(found)


def _facts(
    name: str,
    nodes: Sequence[Node],
    slices: Sequence[EndpointSlice],
    given: tuple[Address, ...],
    settings: Settings,
) -> NodeFacts:
    node = next((n for n in nodes if n.name == name), None)
    reported = node.addresses if node else given
    internal = node_ips(reported, settings.bind_address)
    addresses = usable_node_addresses(given or reported)
    others = {a for n in nodes if n is not node for a in n.addresses}
    return NodeFacts(
        name=name,
        zone=node.zone if node else "",
        addresses=addresses,
        node_port_addresses=choose_node_port_addresses(
            settings.node_port_addresses, addresses, internal_addresses=internal
        ),
        internal_addresses=internal,
        other_node_addresses=frozenset(others),
        api_server_addresses=api_server_addresses(slices),
    )


def _lines(state: DesiredState, output: str) -> Iterator[str]:
    match output:
        case "json":
            yield msgspec.json.format(msgspec.json.encode(render.json_value(state)), indent=2).decode()
        case "ipvsadm":
            yield from render.render_ipvsadm(state.virtual_servers)
        case "ipset":
            yield from render.render_ipset(state.sets, state.entries)
        case "addresses":
            yield from render.render_addresses(state)
        case "iptables" | "ip6tables":
            family = Family.IPV4 if output == "iptables" else Family.IPV6
            yield from render.render_rules(next(r for r in state.rules if r.family is family))
        case _:
            yield from render.render_table(state)
