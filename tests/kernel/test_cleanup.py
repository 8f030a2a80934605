"""`ipvsagent cleanup` takes everything of ours and nothing of anybody else's."""

from __future__ import annotations

import pytest

from kernel.manifests import endpoint_slice, port, service
from kernel.node import KernelState, Node

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
PORTS = [port(80, node_port=30080)]
FOREIGN_VIRTUAL_SERVER = "-A -t 192.168.60.1:5000 -s rr"


def run_agent_for_a_while(node: Node) -> None:
    """Let an agent program a Service of both families, and stop it."""
    node.manifests.write(
        "web",
        service("web", VIP, VIP_6, ports=PORTS, type="NodePort"),
        endpoint_slice("web", "p1", ports=PORTS),
        endpoint_slice("web", "p1", ipv6=True, ports=PORTS),
    )
    agent = node.start_agent()
    for name in (f"{VIP}:80/tcp", f"[{VIP_6}]:80/tcp", "192.168.60.1:30080/tcp", "[fd00:60::1]:30080/tcp"):
        node.wait_for_service(name, "p1")
    node.stop_agent(agent)


def make_foreign_state(node: Node) -> None:
    """What another program might have on the node: virtual server, set, chain, rule."""
    node.run("ipvsadm", *FOREIGN_VIRTUAL_SERVER.split())
    node.run("ipvsadm", "-a", "-t", "192.168.60.1:5000", "-r", "10.244.0.12:8080", "-m")
    node.run("ipset", "create", "theirs", "hash:ip")
    node.run("ipset", "add", "theirs", "192.168.60.2")
    for program in (f"iptables-{node.variant}", f"ip6tables-{node.variant}"):
        node.run(program, "-t", "nat", "-N", "THEIRS")
        node.run(program, "-t", "nat", "-A", "THEIRS", "-m", "comment", "--comment", "KUBE-like", "-j", "RETURN")
        node.run(program, "-t", "nat", "-A", "PREROUTING", "-j", "THEIRS")
        node.run(program, "-A", "FORWARD", "-p", "tcp", "--dport", "9", "-j", "DROP")


def rules_without_policies(state: KernelState) -> list[str]:
    """Chains and rules, without the built-in chains, which come with a table and stay."""
    return [line for line in state.rules if line.startswith("-A") or (line.startswith(":") and "- [" in line)]


@pytest.mark.usefixtures("every_variant")
def test_cleanup_removes_all_of_ours_and_nothing_of_others(node: Node) -> None:
    """CLN-03 to CLN-06, DEV-28, DEV-30: virtual servers, interface, rules and sets, in both families."""
    make_foreign_state(node)
    before = node.state()
    run_agent_for_a_while(node)
    assert node.ask("client", "tcp", "192.168.60.1", 30080).pod == "p1"
    result = node.call("cleanup")
    assert result.code == 0, result.stderr
    after = node.state()
    assert after.virtual_servers == before.virtual_servers
    assert after.sets == before.sets
    assert after.links == before.links
    assert after.addresses == ()
    assert rules_without_policies(after) == rules_without_policies(before)
    assert node.ask("client", "tcp", "192.168.60.1", 5000).pod == "p2"


@pytest.mark.quick_in("uml", reason="it lists what the same code removes, which is shown with both variants")
@pytest.mark.usefixtures("every_variant")
def test_a_dry_run_lists_what_would_go_and_changes_nothing(node: Node) -> None:
    """CLN: what it lists is what the real run then removes."""
    make_foreign_state(node)
    run_agent_for_a_while(node)
    before = node.state()
    dry = node.call("cleanup", "--dry-run")
    assert dry.code == 0, dry.stderr
    assert node.state() == before
    lines = dry.stdout.splitlines()
    assert f"would remove virtual server {VIP}:80/TCP" in lines
    assert "would remove interface kube-ipvs0 with 2 addresses" in lines
    assert "would remove ipset KUBE-6-CLUSTER-IP" in lines
    assert f"would remove ip6tables-{node.variant} nat KUBE-SERVICES" in lines
    assert not [line for line in lines if "5000" in line or "theirs" in line.lower()]
    real = node.call("cleanup")
    assert [line.replace("would remove", "removed") for line in lines] == real.stdout.splitlines()


def test_a_second_cleanup_finds_nothing(node: Node) -> None:
    """CLN-01, CLN-08, DEV-30: repeatable, with a true exit status."""
    run_agent_for_a_while(node)
    assert node.call("cleanup").code == 0
    second = node.call("cleanup")
    assert (second.code, second.stdout, second.stderr) == (0, "nothing to remove\n", "")


def test_cleanup_of_a_node_that_never_ran_an_agent_finds_nothing(node: Node) -> None:
    """DEV-30."""
    assert node.call("cleanup").stdout == "nothing to remove\n"


def test_cleanup_all_takes_virtual_servers_of_others_too(node: Node) -> None:
    """CLN-03, on demand."""
    make_foreign_state(node)
    run_agent_for_a_while(node)
    result = node.call("cleanup", "--all")
    assert result.code == 0, result.stderr
    assert "removed virtual server 192.168.60.1:5000/TCP" in result.stdout.splitlines()
    assert node.ipvsadm() == []
    assert [line for line in node.sets() if "theirs" in line], "only virtual servers are taken"


def test_an_agent_may_start_again_after_cleanup(node: Node) -> None:
    """A node can be taken back at any time."""
    run_agent_for_a_while(node)
    assert node.call("cleanup").code == 0
    node.start_agent()
    node.wait_for_service(f"{VIP}:80/tcp", "p1")
    assert node.ask("p2", "tcp", VIP, 80).pod == "p1"


def test_the_agent_leaves_what_others_have_on_the_node_alone(node: Node) -> None:
    """DEV-28: a foreign virtual server, also on an address of the node, is neither removed nor changed."""
    make_foreign_state(node)
    before = node.state()
    run_agent_for_a_while(node)
    after = node.state()
    assert set(before.virtual_servers) <= set(after.virtual_servers)
    assert set(before.sets) <= set(after.sets)
    assert set(rules_without_policies(before)) <= set(rules_without_policies(after))
