"""`ipvsagent doctor` on a real node: a healthy one, and one that is broken in many ways, each found and remedied."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from lab.namespaces import Namespace
from lab.topology import NODE_NAME

from apiserver.server import ApiServer
from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.doctor.examination import examine
from ipvsagent.doctor.finding import Finding, Level
from ipvsagent.doctor.gather import read_node
from ipvsagent.model.address import Network
from kernel.breakages import IPTABLES, VARIANT, VIP, WAYS, Broken
from kernel.manifests import endpoint_slice, port, service
from kernel.manifests import node as node_manifest
from kernel.node import NOTHING, SHORT_SECONDS, Node
from kernel.processes import AgentServer
from support.api_cluster import kubeconfig

PROGRAM = str(Path(sys.executable).with_name("ipvsagent"))
NODE_PORT = 30080
SETTINGS = Settings(
    hostname_override=NODE_NAME, local_detection=LocalDetection(cluster_networks=(Network.parse("10.244.0.0/16"),))
)
_COMMAND = re.compile(r"`([^`]+)`")


@pytest.fixture(scope="module")
def node(agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all: the agent has prepared it, and was stopped again."""
    made = Node(agent_server, tmp_path_factory.mktemp("doctor"), VARIANT)
    ports = (port(node_port=NODE_PORT),)
    made.manifests.write("web", service("web", VIP, type="NodePort", ports=ports), endpoint_slice("web", "p1"))
    agent = made.start_agent()
    made.wait_for_service(f"{VIP}:80/tcp", "p1")
    made.stop_agent(agent)
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with the machine's kernel, and with files of its own."""
    made = tmp_path / "root"
    made.mkdir()
    for name in ("proc", "sys", "lib"):
        (made / name).symlink_to(f"/{name}")
    return made


def diagnose(node: Node, root: Path, settings: Settings = SETTINGS, access: Path | None = None) -> list[Finding]:
    """What doctor finds, without those that it is content with."""
    with node.topology.node.inside():
        findings = examine(read_node(settings, str(access or ""), root=root))
    return [f for f in findings if f.level is not Level.OK]


def troubles(findings: list[Finding], check: str) -> list[Finding]:
    """Those of one check."""
    return [f for f in findings if f.check == check]


def shell(node: Node, command: str) -> None:
    """Run a shell command on the node, if there is one."""
    if command:
        node.run("sh", "-ec", command)


@contextmanager
def broken(node: Node, root: Path, way: Broken) -> Iterator[None]:
    """The node is broken in a way inside the block."""
    with ExitStack() as undo:
        if way.file:
            path, text = way.file
            (root / path).parent.mkdir(parents=True)
            (root / path).write_text(text, encoding="ascii")
        if way.program:
            undo.enter_context(_running(way.program))
        shell(node, way.breaks)
        undo.callback(shell, node, way.mends)
        yield


@contextmanager
def _running(program: str) -> Iterator[None]:
    """A program that looks like another one."""
    process = subprocess.Popen([program, "infinity"], executable="/bin/sleep")
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.also_in_qemu(reason="doctor reads the rules of nf_tables there")
def test_a_healthy_node_has_no_failure(node: Node, root: Path) -> None:
    """It reports only what it cannot ask without an API server."""
    assert {f.check for f in diagnose(node, root)} == {
        "api",
        "node-name",
        "rbac",
        "service-schedulers",
        "vip-of-other-node",
    }
    result = node.call("doctor", "--config", str(node.configuration), "-o", "json")
    assert result.code == 0, result.stdout
    answer = json.loads(result.stdout)
    assert answer["level"] == "warn"
    assert answer["counts"]["fail"] == 0


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_what_is_broken_is_found_with_its_remedy(node: Node, root: Path, way: Broken) -> None:
    """The finding names check, level, fact and remedy; where the remedy is a command, it works."""
    with broken(node, root, way):
        found = [f for f in troubles(diagnose(node, root), way.check) if way.what in f.what]
        assert [f.level for f in found] == [way.level]
        assert way.remedy in found[0].remedy
        if way.remedy_works:
            command = next(c for c in _COMMAND.findall(found[0].remedy) if way.remedy in c)
            shell(node, command)
            assert not [f for f in troubles(diagnose(node, root), way.check) if way.what in f.what]


@pytest.mark.also_in_qemu(reason="doctor reads the rules of nf_tables there")
def test_a_policy_that_drops_packets_to_vips_is_found_and_the_remedy_lets_them_pass(node: Node, root: Path) -> None:
    """IPVS takes packets after filter INPUT."""
    try:
        shell(node, f"{IPTABLES} -P INPUT DROP")
        assert node.outcome("p2", "tcp", VIP, 80, patience=SHORT_SECONDS) == NOTHING
        found = troubles(diagnose(node, root), "input-vip")
        assert [f.level for f in found] == [Level.FAIL]
        assert "IPv4 packets to Service addresses are dropped in INPUT: policy of INPUT is DROP" in found[0].what
        shell(node, _COMMAND.findall(found[0].remedy)[0].replace("SERVICE_CIDR", "10.96.0.0/12"))
        assert node.ask("p2", "tcp", VIP, 80).pod == "p1"
        assert not troubles(diagnose(node, root), "input-vip")
    finally:
        shell(node, f"{IPTABLES} -P INPUT ACCEPT; {IPTABLES} -D INPUT -d 10.96.0.0/12 -j ACCEPT || true")


@pytest.mark.also_in_qemu(reason="doctor reads the rules of nf_tables there")
def test_a_rule_that_drops_node_ports_is_found_and_the_remedy_lets_them_pass(node: Node, root: Path) -> None:
    """The rule is quoted; Services inside are not concerned."""
    rule = "INPUT -p tcp -m tcp --dport 30000:32767 -j DROP"
    try:
        shell(node, f"{IPTABLES} -A {rule}")
        found = diagnose(node, root)
        assert not troubles(found, "input-vip")
        (finding,) = troubles(found, "input-node-port")
        assert finding.level is Level.WARN
        assert f"IPv4 packets to NodePorts are dropped in INPUT: -A {rule}" in finding.what
        shell(node, _COMMAND.findall(finding.remedy)[0])
        assert node.ask("client", "tcp", "192.168.60.1", NODE_PORT).pod == "p1"
        assert not troubles(diagnose(node, root), "input-node-port")
    finally:
        shell(node, f"{IPTABLES} -D {rule}; {IPTABLES} -D INPUT -p tcp --dport 30000:32767 -j ACCEPT || true")


@pytest.mark.also_in_qemu(reason="doctor reads the rules of nf_tables there")
def test_a_host_port_before_services_is_found_and_the_remedy_gives_the_vip_back(node: Node, root: Path) -> None:
    """The portmap plugin's chain takes a VIP's port, because a VIP is a local address."""
    table = f"{IPTABLES} -t nat"
    jump = "PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"
    try:
        shell(
            node,
            f"{table} -N CNI-HOSTPORT-DNAT; {table} -I {jump}; "
            f"{table} -A CNI-HOSTPORT-DNAT -p tcp --dport 80 -j DNAT --to-destination 10.244.0.13:8080",
        )
        assert node.ask("client", "tcp", VIP, 80).pod == "p3"
        (finding,) = troubles(diagnose(node, root), "host-port")
        assert finding.level is Level.FAIL
        assert f"{VIP}:80/TCP" in finding.what
        remove = _COMMAND.findall(finding.remedy)[0]
        shell(node, f"{remove}; {remove.replace(' -D ', ' -A ')}")
        assert node.ask("client", "tcp", VIP, 80).pod == "p1"
        assert not troubles(diagnose(node, root), "host-port")
    finally:
        shell(node, f"{table} -D {jump}; {table} -F CNI-HOSTPORT-DNAT; {table} -X CNI-HOSTPORT-DNAT")


def test_an_interface_of_another_kind_with_the_name_of_the_dummy_is_found(root: Path) -> None:
    """The remedy frees the name."""
    where = Namespace()
    try:
        where.run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
        with where.inside():
            (finding,) = troubles(examine(read_node(SETTINGS, root=root)), "dummy-interface")
        assert finding.level is Level.FAIL
        assert "is of kind bridge, not dummy" in finding.what
        where.run(*_COMMAND.findall(finding.remedy)[0].split())
        with where.inside():
            (finding,) = troubles(examine(read_node(SETTINGS, root=root)), "dummy-interface")
        assert finding.level is Level.OK
    finally:
        where.close()


def _without_scheduler_nq(root: Path) -> None:
    """A kernel that seems to have one scheduler, and those that are loaded."""
    subprocess.run(["modprobe", "-r", "ip_vs_nq"], check=True)
    release = os.uname().release
    (root / "lib").unlink()
    (root / "lib/modules" / release).mkdir(parents=True)
    (root / "lib/modules" / release / "modules.dep").write_text("kernel/net/netfilter/ipvs/ip_vs_wlc.ko:\n")


def test_a_scheduler_that_a_service_asks_for_and_this_kernel_lacks_is_found(
    node: Node, root: Path, api: ApiServer
) -> None:
    """DEV-15: the Services are named, and what they get."""
    _without_scheduler_nq(root)
    asking = service("asking", "10.96.0.77")
    asking["metadata"]["annotations"] = {"ipvsagent.io/scheduler": "nq"}
    api.put(asking)
    found = diagnose(node, root, access=kubeconfig(root / "kubeconfig", api.url))
    (finding,) = troubles(found, "service-schedulers")
    assert finding.level is Level.WARN
    assert "scheduler `nq` is not known to this kernel; Services that request it get `rr`: " in finding.what
    assert "asking" in finding.what
    assert "wlc" in finding.remedy


def test_a_scheduler_that_this_kernel_lacks_is_found(node: Node, root: Path) -> None:
    """DEV-35: the remedy names those that there are."""
    _without_scheduler_nq(root)
    (finding,) = troubles(diagnose(node, root, Settings(scheduler="nq")), "scheduler")
    assert finding.level is Level.FAIL
    assert "scheduler `nq` is not known to this kernel" in finding.what
    assert "wlc" in finding.remedy


def test_without_privileges_everything_that_can_be_looked_at_still_is(node: Node) -> None:
    """What cannot be read is a finding, not a traceback; the exit code reports the missing capability."""
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", PROGRAM, "doctor", "-o", "json")
    done = node.topology.node.attempt(*words)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    findings = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
    assert findings["capabilities"]["level"] == "fail"
    assert "NET_ADMIN" in findings["capabilities"]["remedy"]
    assert findings["ipvs-owner"]["what"].startswith("not checked: the IPVS table: not permitted")
    assert "run as root" in findings["ipvs-owner"]["remedy"]
    assert findings["ipvs-sysctls"]["level"] == "ok"


@pytest.fixture
def api(node: Node) -> Iterator[ApiServer]:
    """An API server on the node's loopback interface."""
    with node.topology.node.inside():
        server = ApiServer()
    with server:
        server.put(node_manifest())
        yield server


def test_an_api_server_that_answers_and_allows_everything_is_fine(node: Node, root: Path, api: ApiServer) -> None:
    """No problem is left to report."""
    assert diagnose(node, root, access=kubeconfig(root / "kubeconfig", api.url)) == []


def test_missing_permissions_and_a_vip_of_another_node_are_found(node: Node, root: Path, api: ApiServer) -> None:
    """Both come from the API server."""
    api.denied = {("watch", "endpointslices"), ("create", "events")}
    other = node_manifest()
    other["metadata"] = {"name": "node-2"}
    other["status"] = {"addresses": [{"type": "InternalIP", "address": VIP}]}
    api.put(other)
    found = diagnose(node, root, access=kubeconfig(root / "kubeconfig", api.url))
    assert [(f.check, f.level) for f in found] == [
        ("vip-of-other-node", Level.FAIL),
        ("rbac", Level.FAIL),
        ("rbac", Level.WARN),
    ]
    assert f"Service address {VIP} is the address of node node-2" in found[0].what
    assert f"remove {VIP} from `externalIPs`" in found[0].remedy
    assert "watch endpointslices.discovery.k8s.io" in found[1].what
    assert "ClusterRole" in found[1].remedy


def test_an_api_server_that_does_not_answer_is_found(node: Node, root: Path) -> None:
    """A refused connection."""
    found = diagnose(node, root, access=kubeconfig(root / "kubeconfig", "http://127.0.0.1:9"))
    (finding,) = troubles(found, "api")
    assert finding.level is Level.FAIL
    assert "API server http://127.0.0.1:9" in finding.what
    assert "kubeconfig" in finding.remedy
