"""Whether the cluster knows this node by the agent's name."""

from __future__ import annotations

import pytest

from ipvsagent.planner.node_name import unknown_node

CONSEQUENCE = (
    ": no endpoint counts as local, and load balancers send no traffic to this node; start the agent with the name of"
    " its Node (`NODE_NAME`, `--node-name` or `hostnameOverride`)"
)


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("worker-7", ["worker-6.example.org", "worker-7.example.org"], "worker-7.example.org"),
        ("worker-7.example.org", ["worker-6", "worker-7"], "worker-7"),
        ("worker-7.internal", ["worker-7.example.org"], "worker-7.example.org"),
        (
            "ip-10-0-0-7",
            ["ip-10-0-0-7.eu-west-1.compute.internal", "ip-10-0-0-70"],
            "ip-10-0-0-7.eu-west-1.compute.internal",
        ),
        ("wroker-7", ["worker-7", "control-plane"], "worker-7"),
    ],
)
def test_the_near_miss_is_named(name: str, known: list[str], meant: str) -> None:
    """DEV-65: a node registered by its long name and an agent with the short one, and the other way round."""
    assert unknown_node(name, known) == f"is none of the cluster's nodes (did you mean `{meant}`?){CONSEQUENCE}"


def test_without_a_near_miss_none_is_named() -> None:
    """DEV-65."""
    assert unknown_node("localhost", ["worker-7", "worker-8"]) == f"is none of the cluster's nodes{CONSEQUENCE}"


@pytest.mark.parametrize("known", [[], ["worker-7"], ["worker-7", "worker-7.example.org"]])
def test_a_node_that_is_known_or_of_which_nothing_is_known_is_in_order(known: list[str]) -> None:
    """DEV-65: a folder of manifests need not hold any Node."""
    assert unknown_node("worker-7", known) == ""
