"""Checks of the access to the API server."""

from __future__ import annotations

from collections.abc import Iterator

from ipvsagent.doctor.finding import Trouble, enumerate_few, fail, warn
from ipvsagent.doctor.snapshot import NodeSnapshot, Permission
from ipvsagent.planner.node_name import unknown_node

PERMISSIONS = (
    *(
        Permission(group, resource, verb)
        for group, resource in (("", "services"), ("discovery.k8s.io", "endpointslices"), ("", "nodes"))
        for verb in ("list", "watch")
    ),
    Permission("", "events", "create", needed=False),
)

_SLOW_SECONDS = 1.0


def api(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that the API server answers quickly: slow answers delay all changes."""
    if node.api_error:
        yield fail(
            node.api_error,
            "check the address and the credentials in the kubeconfig, and the network to the API server (not through "
            "its own Service, which works only while the agent runs)",
        )
    if node.api_seconds is not None and node.api_seconds > _SLOW_SECONDS:
        yield warn(
            f"API server {node.api_server} took {node.api_seconds:.1f} s for one request: changes are applied late",
            "check the API server's load (`apiserver_request_duration_seconds`) and the network to it",
        )


def rbac(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the agent's permissions at the API server."""
    needed = [str(p) for p in node.denied if p.needed]
    if needed:
        yield fail(
            f"not allowed at the API server: {enumerate_few(needed, 7)}",
            "bind a ClusterRole with these rules to the agent's service account; `system:node-proxier` has them",
        )
    useful = [str(p) for p in node.denied if not p.needed]
    if useful:
        yield warn(
            f"not allowed at the API server: {enumerate_few(useful)}; problems appear only in the log",
            "allow it in the agent's ClusterRole",
        )


def node_name(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that the cluster has a Node with this node's name (DEV-65)."""
    if unknown := unknown_node(node.name, node.nodes):
        what, _, remedy = unknown.partition("; ")
        if node.name_is_guess:  # the agent may have been given another name
            yield warn(
                f"this host's name `{node.name}` {what}, unless the agent has another name",
                f"run doctor with the agent's `NODE_NAME` or `--config`; if it has none, {remedy}",
            )
        else:
            yield fail(f"`{node.name}` {what}", remedy)
