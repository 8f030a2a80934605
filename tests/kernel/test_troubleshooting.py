"""The commands of docs/guides/troubleshooting.md that look at the kernel work, and show what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab.topology import POD_ADDRESSES, POD_PORT

from kernel.manifests import endpoint_slice, port, service, with_ingress
from kernel.node import Node

PAGE = Path(__file__).parents[2] / "docs/guides/troubleshooting.md"
VIP, LOAD_BALANCER = "10.96.0.10", "203.0.113.10"
NAMED = {
    "VIP:PORT": f"{VIP}:80",
    "POD,tcp:PORT,POD": f"{POD_ADDRESSES['p1']},tcp:{POD_PORT},{POD_ADDRESSES['p1']}",
    ":NODEPORT": ":30080",
    "VIP": VIP,
}
"""The names of the page, and what they stand for here."""
SHOWS = {
    "ipvsadm -Ln": f"{VIP}:80",
    "ipvsadm-save -n": f"-A -t {VIP}:80",
    "ip -brief address show kube-ipvs0": f"{VIP}/32",
    "ipset list -t": "Name: KUBE-CLUSTER-IP",
    "ipset list KUBE-LOAD-BALANCER-SOURCE-CIDR": "192.168.60.0/24",
    "iptables-save": "-A KUBE-SERVICES",
    "ip6tables-save": "-A KUBE-SERVICES",
    "iptables-save -c | grep KUBE-IPVS-FILTER": "REJECT",
    "iptables-save -c -t nat | grep MASQUERADE": "KUBE-POSTROUTING",
}
"""What must be in the output of some of them."""


def commands() -> list[str]:
    """Every command of the page for the kernel's tables, once."""
    text = PAGE.read_text(encoding="utf-8").replace("\\|", "|")
    found = re.findall(r"`((?:ipvsadm(?:-save)?|ipset|ip6?tables-save|ip|conntrack)(?: [^`]*)?)`", text)
    return [command for command in dict.fromkeys(found) if command != "ipvsadm"]


@pytest.mark.usefixtures("every_variant")
def test_every_command_for_the_kernels_tables_works(node: Node) -> None:
    """In the network of the node; `iptables-save` is that of the variant which the agent's log names."""
    ports = [port(80, node_port=30080)]
    node.manifests.write(
        "web",
        with_ingress(
            service("web", VIP, ports=ports, type="LoadBalancer", loadBalancerSourceRanges=["192.168.60.0/24"]),
            LOAD_BALANCER,
        ),
        endpoint_slice("web", "p1", ports=ports),
    )
    agent = node.start_agent_and_wait()
    node.wait_for_service(f"{VIP}:80/tcp", "p1")
    assert "iptables variant chosen" in agent.stderr
    asked = commands()
    assert SHOWS.keys() <= set(asked)
    assert len(asked) > 12
    for command in asked:
        words = re.sub("|".join(NAMED), lambda found: NAMED[found[0]], command)
        words = re.sub(r"\b(ip6?tables)-save\b", rf"\1-{node.variant}-save", words)
        shown = node.run("sh", "-ec", words)
        assert SHOWS.get(command, "") in shown, command
