"""The agent with exactly what the chart's container has, and what each of its capabilities is needed for.

`make test-kernel-confined` runs all other tests of this folder that way, too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from lab.topology import CLUSTER_NETWORKS, NODE_ADDRESS, NODE_ADDRESS_6

from chart.rendering import Values, configuration, render
from confinement.container import (
    AGENT,
    MODULES,
    capabilities_of,
    capability_number,
    program_words,
    rendered_container,
    values_for,
)
from confinement.volume import ConfigMapVolume
from guests import NFT_MARK
from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node, answer
from kernel.processes import AgentServer, wait_for

SAME_CONTAINER = pytest.mark.quick_in("uml", reason="the container is the same for both variants of iptables")
VARIANTS = {"legacy": (), "nft": (NFT_MARK,)}
VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
WEB = f"{VIP}:80/tcp"
PORTS = [port(80, node_port=30080, name="http"), port(53, "UDP", name="dns")]
SETTING = "/proc/sys/net/ipv4/vs/conntrack"
CASES = [(v, c, name) for v in VARIANTS for c in (AGENT, MODULES) for name in capabilities_of(values_for(v), c)]


@pytest.fixture(params=[pytest.param(variant, marks=marks) for variant, marks in VARIANTS.items()])
def confined(request: pytest.FixtureRequest, agent_server: AgentServer, tmp_path: Path) -> Iterator[Node]:
    """A node whose agent is confined, with each iptables variant; without Services."""
    made = Node(agent_server, tmp_path, request.param, confined=True)
    yield made
    made.close()


def serve_web(node: Node, *pods: str) -> None:
    """Have a dual-stack Service with these pods behind it."""
    node.manifests.write(
        "web",
        service("web", VIP, VIP_6, ports=PORTS, type="NodePort"),
        endpoint_slice("web", *pods, ports=PORTS),
        endpoint_slice("web", *pods, ipv6=True, ports=PORTS),
    )


def wait_for_web(node: Node, *pods: str) -> None:
    """Wait until all of it is served."""
    for name in (WEB, f"[{VIP_6}]:80/tcp", f"{VIP}:53/udp", f"{NODE_ADDRESS}:30080/tcp"):
        node.wait_for_service(name, *pods)


@SAME_CONTAINER
def test_the_process_has_what_the_chart_says_and_nothing_more(confined: Node) -> None:
    """Capabilities, seccomp, no new privileges, the user, and a root that cannot be written."""
    agent = confined.start_agent_and_wait()
    lines = Path(f"/proc/{agent.pid}/status").read_text(encoding="ascii").splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    held = sum(1 << capability_number(c) for c in capabilities_of(values_for(confined.variant), AGENT))
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[kind][0], 16) == held, kind
    assert {int(status[kind][0], 16) for kind in ("CapInh", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert status["Uid"] == ["0"] * 4
    assert Path(f"/proc/{agent.pid}/oom_score_adj").read_text(encoding="ascii") == "-997\n"
    mounts = Path(f"/proc/{agent.pid}/mountinfo").read_text(encoding="ascii").splitlines()
    writable = {m.split()[4] for m in mounts if "rw" in m.split()[5].split(",")}
    assert {w for w in writable if not w.startswith(("/dev", "/proc"))} == {
        "/tmp",
        "/run/xtables.lock",
        "/host/proc/sys/net",
    }
    assert writable.isdisjoint({"/proc/sys", "/proc/sysrq-trigger", "/sys"})


@SAME_CONTAINER
@pytest.mark.parametrize(
    "attempt",
    [
        "touch /file",
        "touch /etc/ipvsagent/file",
        "touch /lib/modules/file",
        "touch /run/file",
        "echo 1 >/proc/sys/kernel/panic",
    ],
)
def test_nothing_of_the_container_can_be_written_that_the_chart_does_not_say(confined: Node, attempt: str) -> None:
    """The counterpart, in the same container, shows that the shell runs there."""
    may = f"{attempt} || touch /tmp/file"
    confined.run(*confined.confining_words, "sh", "-ec", may)
    done = confined.topology.node.attempt(*confined.confining_words, "sh", "-ec", attempt)
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


@pytest.mark.quick_in("uml", reason="test_the_agent_needs_each_of_its_capabilities has nft serve, confined")
def test_traffic_drift_stale_flows_and_cleanup_work(confined: Node) -> None:
    """SYS-01, DEV-01, CT-01, CLN-03: the agent's whole life, from the settings of the node to the removal of all."""
    before = confined.state()
    confined.topology.node.run("sh", "-c", f"echo 0 >{SETTING}")
    serve_web(confined, "p1")
    agent = confined.start_agent_and_wait()
    wait_for_web(confined, "p1")
    assert confined.run("cat", SETTING) == "1\n"
    for address, number in ((VIP, 80), (VIP_6, 80), (NODE_ADDRESS, 30080), (NODE_ADDRESS_6, 30080)):
        assert confined.ask("client", "tcp", address, number).pod == "p1"
    assert confined.ask("p1", "tcp", VIP, 80).pod == "p1"  # back to itself, masqueraded
    with confined.connect("client", "udp", VIP, 53) as flow:
        assert flow.ask().pod == "p1"
        serve_web(confined, "p2")
        wait_for(lambda: answer(flow) == "p2", "the flow has moved")
    right = confined.state()
    for program in ("iptables", "ip6tables"):
        confined.run(f"{program}-{confined.variant}", "-t", "nat", "-F")
    confined.run("ipvsadm", "-C")
    wait_for_web(confined, "p2")  # what still drained is gone for good
    wait_for(lambda: confined.rules() == list(right.rules), "the rules are put right")
    assert confined.state().sets == right.sets
    assert confined.ask("client", "tcp", VIP_6, 80).pod == "p2"
    confined.stop_agent(agent)
    result = confined.call("cleanup")
    assert result.code == 0, result.stderr
    after = confined.state()
    assert (after.virtual_servers, after.sets, after.links) == (before.virtual_servers, before.sets, before.links)
    assert not [line for line in after.rules if "KUBE" in line]
    assert "Read-only" not in agent.stderr
    assert "ermission denied" not in agent.stderr
    assert "not permitted" not in agent.stderr


def values_with(variant: str, scheduler: str) -> Values:
    """The chart's values for the network of these tests, with a scheduler."""
    return values_for(variant, clusterCIDR=list(CLUSTER_NETWORKS), ipvs={"scheduler": scheduler})


@SAME_CONTAINER
def test_another_scheduler_in_the_values_reaches_the_kernel_without_a_restart(confined: Node) -> None:
    """CFG-20: the pod's command on the rendered ConfigMap, which changes as by `helm upgrade --set`."""
    volume = ConfigMapVolume(confined.volume)

    def upgrade(scheduler: str) -> None:
        text = configuration(render(values_with(confined.variant, scheduler)))
        volume.put({"configuration.yaml": text})

    upgrade("rr")
    program, *words = rendered_container(values_with(confined.variant, "rr"), AGENT)["command"]
    assert program == "ipvsagent"
    serve_web(confined, "p1", "p2")
    agent = confined.start(*words, "--manifests", str(confined.manifests.path))
    wait_for_web(confined, "p1", "p2")
    with confined.connect("client", "tcp", VIP, 80) as held:
        pod = held.ask().pod
        for scheduler in ("wlc", "sed", "mh"):
            assert not confined.uses_only(scheduler)
            upgrade(scheduler)
            wait_for(partial(confined.uses_only, scheduler), f"every virtual server has `{scheduler}`")
            assert held.ask().pod == pod
    assert agent.stderr.count("first synchronisation done") == 1
    confined.stop_agent(agent)


def lose_the_network(node: Node) -> None:
    """Without NET_ADMIN nothing is tried."""
    result = node.call(*node.run_words)
    assert result.code == 1
    assert "error: this process may not change the node's network" in result.stderr
    assert node.table() == {}


def lose_the_rules(node: Node) -> None:
    """Without NET_RAW iptables-legacy has no socket to speak with the kernel, and nft none to ask for ipsets."""
    result = node.call(*node.run_words)
    assert result.code == 1
    assert re.search(r"error: not permitted: \w+ .*with iptables-(legacy|nft)", result.stderr)
    assert "NET_RAW" in result.stderr
    assert node.table() == {}


LOSSES: dict[str, Callable[[Node], None]] = {"NET_ADMIN": lose_the_network, "NET_RAW": lose_the_rules}
"""What fails in the agent without a capability; one that is not here has no reason to be in the chart."""


MORE_MARKS = {("nft", "NET_ADMIN"): (SAME_CONTAINER,)}
"""Without NET_ADMIN the agent ends before it asks for rules; NET_RAW is what the variants need for different things."""


@pytest.mark.parametrize(
    ("variant", "capability"),
    [
        pytest.param(v, name, id=f"{v}-{name}", marks=(*VARIANTS[v], *MORE_MARKS.get((v, name), ())))
        for v, c, name in CASES
        if c == AGENT
    ],
)
def test_the_agent_needs_each_of_its_capabilities(
    agent_server: AgentServer, tmp_path: Path, variant: str, capability: str
) -> None:
    """Without it a Service is not served; with it, it is."""
    node = Node(agent_server, tmp_path, variant, confined=True)
    try:
        serve_web(node, "p1")
        node.container = node.chart_container(without=capability)
        LOSSES[capability](node)
        node.container = node.chart_container()
        node.start_agent_and_wait()
        wait_for_web(node, "p1")
        assert node.ask("client", "tcp", VIP, 80).pod == "p1"
    finally:
        node.close()


@SAME_CONTAINER
@pytest.mark.parametrize("capability", sorted({name for _, c, name in CASES if c == MODULES}))
def test_the_init_container_needs_each_of_its_capabilities(confined: Node, capability: str) -> None:
    """Without it the modules stay away, and the scheduler with them; with it they are there."""
    words = rendered_container(values_for(confined.variant), MODULES)["command"]
    module = Path("/sys/module/ip_vs_nq")  # of no other test
    assert module.name in words
    for without, loaded in ((capability, False), ("", True)):
        subprocess.run(["modprobe", "-r", module.name], check=True)
        container = confined.chart_container(MODULES, without=without)
        confined.run(*program_words(container, confined.folder), *words)
        assert module.is_dir() is loaded
