"""Check that the cluster has a Node with the name that the agent uses (DEV-65).

If the agent's name differs from that of its Node object, no endpoint is local, the node has no zone, and no load
balancer sends traffic to it. No single object is wrong, so nothing else would report this.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


def unknown_node(name: str, known: Collection[str]) -> str:
    """Return why this node's name is wrong; empty if the cluster has a node with that name, or if no node is known.

    Args:
        name: the agent's node name.
        known: names of the cluster's nodes.
    """
    if not known or name in known:
        return ""
    close = _near_miss(name, known)
    remedy = f" (did you mean `{close}`?)" if close else ""
    return (
        f"is none of the cluster's nodes{remedy}: no endpoint counts as local, and load balancers send no traffic to"
        " this node; start the agent with the name of its Node (`NODE_NAME`, `--node-name` or `hostnameOverride`)"
    )


def _near_miss(name: str, known: Collection[str]) -> str:
    """Return the most likely node: the same host with or without its domain, otherwise the most similar name."""
    host = name.partition(".")[0]
    same_host = sorted(k for k in known if k.lower().partition(".")[0] == host)
    if same_host:
        return same_host[0]
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return close[0] if close else ""
