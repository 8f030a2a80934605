"""Whether the cluster knows this node by the name that the agent goes by (DEV-65).

An agent with another name than its Node object takes no endpoint for local, has no zone, and no load balancer sends it
traffic: all of it silently, since nothing is wrong with any single object.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection


def unknown_node(name: str, known: Collection[str]) -> str:
    """Say why this node's name is wrong; empty if the cluster has a node of that name, or none at all is known.

    Args:
        name: the agent's.
        known: names of the cluster's nodes.
    """
    if not known or name in known:
        return ""
    close = _near_miss(name, known)
    remedy = f" (did you mean `{close}`?)" if close else ""
    return (
        f"is none of the cluster's nodes{remedy}: no endpoint counts as local, and load balancers are told to leave"
        " this node; start the agent with the name of its Node (`NODE_NAME`, `--node-name` or `hostnameOverride`)"
    )


def _near_miss(name: str, known: Collection[str]) -> str:
    """The node that is probably meant: the same host with or without its domain, else the most similar name."""
    host = name.partition(".")[0]
    same_host = sorted(k for k in known if k.lower().partition(".")[0] == host)
    if same_host:
        return same_host[0]
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return close[0] if close else ""
