"""From settings to a values file for the Helm chart.

A values file is the same for all nodes. What belongs to the one node whose configuration was converted is left out, and
each omission is reported.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ipvsagent.config.types import Settings
from ipvsagent.config.values import SocketAddress
from ipvsagent.config.write import fields_that_differ
from ipvsagent.model.address import Address

_CHART_OOM_SCORE = -997  # the lowest score that needs no further capability; the chart's default
_WIDTH = 100


class Omission(NamedTuple):
    """A field that the values file leaves out or changes, and why.

    Args:
        path: the field's name in the configuration.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def helm_values(settings: Settings) -> tuple[str, tuple[Omission, ...]]:
    """Write the shortest values file that gives these settings on every node (DEV-87).

    Returns:
        The file, in which comments name the omissions, and the omissions.
    """
    shared, omissions = _shared_by_all_nodes(settings)
    text = "".join(_comments(omissions)) + (
        "# Add `apiServer.host`: an address of the API server that is not a Service IP.\n"
    )
    lines = fields_that_differ(shared)
    text += "config:\n" + textwrap.indent(lines, "  ") if lines else "config: {}\n"
    return text, omissions


def _shared_by_all_nodes(settings: Settings) -> tuple[Settings, tuple[Omission, ...]]:
    found = list(_left_out(settings))
    score, least = settings.oom_score_adjust, Settings().oom_score_adjust
    shared = replace(
        settings,
        hostname_override="",
        kubeconfig="",
        bind_address=None,
        oom_score_adjust=least if score < _CHART_OOM_SCORE else score,
        health_listen=_on_every_node("healthzBindAddress", settings.health_listen, ("0.0.0.0", "::"), found),
        metrics_listen=_on_every_node("metricsBindAddress", settings.metrics_listen, ("127.0.0.1", "::1"), found),
    )
    found += _single_node_port_addresses(settings)
    return shared, tuple(found)


def _left_out(settings: Settings) -> Iterator[Omission]:
    name, file, address = settings.hostname_override, settings.kubeconfig, settings.bind_address
    if name:
        yield Omission(
            "hostnameOverride", f"left out: `{name}` is one node; the chart gives each agent its node's name"
        )
    if file:
        words = f"left out: `{file}` is kube-proxy's file; the agent uses its service account"
        yield Omission("clientConnection.kubeconfig", words)
    if address is not None:
        yield Omission("bindAddress", f"left out: `{address}` belongs to one node")
    score = settings.oom_score_adjust
    if score < _CHART_OOM_SCORE and score != Settings().oom_score_adjust:
        words = f"left out: {score} needs the capability SYS_RESOURCE; the chart uses {_CHART_OOM_SCORE}"
        yield Omission("oomScoreAdj", words)


def _on_every_node(path: str, listen: SocketAddress, defaults: tuple[str, str], found: list[Omission]) -> SocketAddress:
    """Return an address that every node has; the port stays."""
    address = listen.address
    if address.is_unspecified or address.is_loopback:
        return listen
    changed = SocketAddress(Address.parse(defaults[len(address) > 4]), listen.port)
    found.append(Omission(path, f"changed to `{changed}`: `{address}` belongs to one node"))
    return changed


def _single_node_port_addresses(settings: Settings) -> Iterator[Omission]:
    """Report ranges of one address: other nodes would serve no NodePorts on them."""
    for network in settings.node_port_addresses.networks:
        if network.prefix_length == network.family.bits and not network.address.is_loopback:
            yield Omission(
                "nodePortAddresses",
                f"`{network}` is kept, but only the node with this address serves NodePorts; "
                "write the network of all nodes, or `[primary]`",
            )


def _comments(omissions: Sequence[Omission]) -> Iterator[str]:
    for omission in omissions:
        for line in textwrap.wrap(str(omission), _WIDTH, break_on_hyphens=False, break_long_words=False):
            yield f"# {line}\n"
