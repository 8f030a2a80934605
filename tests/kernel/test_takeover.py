"""From kube-proxy in IPVS mode to the agent and back, with connections open and new ones coming all the time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kernel import kube_proxy
from kernel.load import Load
from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import wait_for

VIP, GONE = "10.96.0.10", "10.96.0.77"
PORTS = [port(80, node_port=30080)]


@pytest.mark.usefixtures("every_variant")
def test_the_agent_takes_over_and_gives_back(node: Node) -> None:
    """VS-07, VS-12, IPT-94: state adopted, leftovers replaced; kube-proxy finds its names again on the way back."""
    node.manifests.write(
        "web", service("web", VIP, ports=PORTS, type="NodePort"), endpoint_slice("web", "p1", "p2", ports=PORTS)
    )
    kube_proxy.write_virtual_servers(node, VIP, GONE)
    kube_proxy.write_sets_and_rules(node, VIP, GONE)
    with (
        ExitStack() as held,
        Load(node, "client", "tcp", "192.168.60.1", 30080) as from_outside,
        Load(node, "p3", "tcp", VIP, 80) as from_a_pod,
    ):
        loads = (from_outside, from_a_pod)
        connections = [
            held.enter_context(node.connect("client", "tcp", "192.168.60.1", 30080)),
            held.enter_context(node.connect("p3", "tcp", VIP, 80)),
            held.enter_context(node.connect("node", "tcp", VIP, 80)),
        ]
        pods = [connection.ask().pod for connection in connections]

        agent = node.start_agent()
        wait_for(lambda: "first synchronisation done" in agent.stderr, "the agent is in step")
        for load in loads:
            load.wait_for_more(count=10)
        assert [connection.ask().pod for connection in connections] == pods
        assert f"{GONE}:80/tcp" not in node.table()
        assert not node.has_address(GONE)
        assert not [line for line in node.family_rules("iptables") if GONE in line]
        assert node.ipvsadm() == sorted(node.call(*node.plan_words("ipvsadm")).stdout.splitlines())

        node.stop_agent(agent)
        kube_proxy.write_sets_and_rules(node, VIP, GONE)
        for load in loads:
            load.wait_for_more(count=10)
        assert [connection.ask().pod for connection in connections] == pods
        assert [line for line in node.family_rules("iptables") if GONE in line]
    assert [load.failures for load in loads] == [[], []]
    result = node.call("cleanup")
    assert result.code == 0, result.stderr
    assert not [line for line in node.rules() if "KUBE" in line]
    assert node.sets() == []
