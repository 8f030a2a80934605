"""`ipvsagent plan` says what `ipvsagent run` does, in words that the real tools read."""

from __future__ import annotations

import pytest

from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import wait_for

PORTS = [port(80, node_port=30080, name="web"), port(53, "UDP", node_port=30053, name="dns"), port(9, "SCTP", name="s")]


def write_services(node: Node) -> None:
    """Services of many kinds, in both families."""
    node.manifests.write(
        "web",
        service(
            "web",
            "10.96.0.10",
            "fd00:96::10",
            ports=PORTS,
            type="LoadBalancer",
            sessionAffinity="ClientIP",
            externalIPs=["203.0.113.5", "2001:db8::5"],
            loadBalancerSourceRanges=["192.168.60.0/24", "fd00:60::/64"],
        )
        | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"ip": "2001:db8::9"}]}}},
        endpoint_slice("web", "p1", "p2", "remote", ports=PORTS),
        endpoint_slice("web", "p1", "p2", "remote", ipv6=True, ports=PORTS),
    )
    node.manifests.write("empty", service("empty", "10.96.0.11"))


@pytest.mark.usefixtures("every_variant")
def test_the_programmed_node_is_what_plan_prints(node: Node) -> None:
    """VS-01 to VS-06, SET, IPT: virtual servers, addresses and set entries, equal line by line."""
    write_services(node)
    planned = {
        output: sorted(node.call(*node.plan_words(output)).stdout.splitlines())
        for output in ("ipvsadm", "addresses", "ipset", "iptables", "ip6tables")
    }
    assert [line for line in planned["ipvsadm"] if "--sctp-service [2001:db8::9]:9" in line]
    node.start_agent()
    wait_for(lambda: node.ipvsadm() == planned["ipvsadm"], "the virtual servers are those that plan prints")
    wait_for(lambda: node.addresses() == planned["addresses"], "the addresses are those that plan prints")
    entries = [line for line in node.sets() if line.startswith("add KUBE-")]
    notes = [line for line in node.sets() if line.startswith("add IPVSAGENT-")]
    assert notes  # the agent's to itself, about which packets know nothing
    assert entries == [line for line in planned["ipset"] if line.startswith("add ")]
    for program in ("iptables", "ip6tables"):
        rules = [line for line in node.family_rules(program) if line.startswith("-A ")]
        assert sorted(rules) == [line for line in planned[program] if line.startswith("-A ")]


@pytest.mark.usefixtures("every_variant")
def test_what_plan_prints_can_be_loaded_by_the_tools(node: Node) -> None:
    """The formats are those of ipset restore, iptables-restore and ipvsadm-restore."""
    write_services(node)
    sets = node.call(*node.plan_words("ipset")).stdout
    node.run("ipset", "restore", stdin=sets)
    for program in ("iptables", "ip6tables"):
        rules = node.call(*node.plan_words(program)).stdout
        node.run(f"{program}-{node.variant}-restore", "--test", "--noflush", stdin=rules)
    servers = node.call(*node.plan_words("ipvsadm")).stdout
    node.run("ipvsadm", "-R", stdin=servers)
    assert node.ipvsadm() == sorted(servers.splitlines())
