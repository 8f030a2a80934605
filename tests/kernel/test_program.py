"""The installed program as an operator starts it: that it works, and what it says when it cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel.manifests import endpoint_slice, service
from kernel.node import Node
from kernel.processes import PATIENCE_SECONDS, wait_for

PROGRAM = str(Path(sys.executable).with_name("ipvsagent"))
VIP = "10.96.0.10"
WEB = f"{VIP}:80/tcp"
_KERNEL_HELPER = Path("/proc/sys/kernel/modprobe")


def call(node: Node, *words: str, prefix: tuple[str, ...] = (), path: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program on the node to its end.

    Args:
        prefix: words before it, such as `setpriv`, instead of those that confine it.
        path: the program search path, if it is to be another one.
    """
    environment = {**os.environ, "PATH": path} if path else None
    return node.topology.node.attempt(*(prefix or node.confining_words), PROGRAM, *words, env=environment)


def complaint(done: subprocess.CompletedProcess[str], code: int) -> list[str]:
    """The lines of stderr that are no log lines, after a look at exit code and stdout."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith(("error: ", "hint: "))]


def test_the_program_runs_until_sigterm_and_cleans_up(node: Node) -> None:
    """CLN-09: the console script, from start to cleanup."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    with (
        node.topology.node.inside(),
        (node.folder / "stderr").open("wb") as stderr,
        subprocess.Popen([*node.confining_words, PROGRAM, *node.run_words], stderr=stderr) as agent,
    ):
        try:
            node.wait_for_service(WEB, "p1")
            assert node.ask("client", "tcp", VIP, 80).pod == "p1"
        finally:
            agent.terminate()
            assert agent.wait(PATIENCE_SECONDS) == 0
    assert node.ask("client", "tcp", VIP, 80).pod == "p1"
    cleanup = call(node, "cleanup")
    assert cleanup.returncode == 0, cleanup.stderr
    assert f"removed virtual server {VIP}:80/TCP" in cleanup.stdout
    assert node.table() == {}


def test_without_capabilities_it_says_what_it_needs(node: Node) -> None:
    """Nothing is tried, and exit code 1."""
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    for words in (node.run_words, ["cleanup"]):
        error, hint = complaint(call(node, *words, prefix=bare), 1)
        assert error == "error: this process may not change the node's network"
        assert hint.startswith("hint: run as root")
    assert node.table() == {}


def test_without_the_iptables_programs_it_says_which_package_is_missing(node: Node) -> None:
    """IPT-01: no rules, no service; nothing is left half done."""
    before = node.state()
    error, hint = complaint(call(node, *node.run_words, path=str(node.folder)), 1)
    assert "iptables" in error
    assert hint == "hint: install the package `iptables`"
    assert node.state() == before


def test_without_ip_vs_in_the_kernel_it_says_so(node: Node) -> None:
    """VS-13: a kernel without IPVS cannot be served."""
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /lib/modules && exec "$@"', "sh")
    with kernel_without_ipvs():
        error, hint = complaint(call(node, *node.run_words, prefix=hidden), 1)
        cleanup = call(node, "cleanup", prefix=hidden)
    assert "`ip_vs`" in error
    assert hint.startswith("hint: ")
    assert (cleanup.returncode, cleanup.stdout) == (0, "nothing to remove\n"), cleanup.stderr


def test_a_broken_file_is_reported_once_and_the_good_ones_work(node: Node) -> None:
    """Bad input costs what is in it, not the node's Services."""
    node.manifests.write_text("broken.yaml", "kind: Service\n  metadata: [\n")
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    agent = node.start_agent()
    node.wait_for_service(WEB, "p1")
    node.manifests.write("other", service("other", "10.96.0.11"), endpoint_slice("other", "p2"))
    node.wait_for_service("10.96.0.11:80/tcp", "p2")
    lines = [line for line in agent.stderr.splitlines() if "broken.yaml" in line]
    assert len(lines) == 1, agent.stderr
    assert "error" in lines[0] or "warning" in lines[0]
    node.manifests.write_text("broken.yaml", "")
    node.manifests.write("broken", service("mended", "10.96.0.12"), endpoint_slice("mended", "p3"))
    node.wait_for_service("10.96.0.12:80/tcp", "p3")


def test_a_configuration_that_breaks_while_it_runs_is_refused_and_the_old_one_stays(node: Node) -> None:
    """CFG: a running agent survives any edit of its file."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    agent = node.start_agent()
    node.wait_for_service(WEB, "p1")
    node.configure(ipvs={"scheduler": "lcc"})
    wait_for(lambda: "new configuration refused" in agent.stderr, "the new configuration is refused")
    assert "`lcc` is not a scheduler" in agent.stderr
    assert node.table()[WEB].scheduler == "rr"
    node.configure(ipvs={"scheduler": "lc"})
    wait_for(lambda: node.table()[WEB].scheduler == "lc", "the next one is followed")


@pytest.mark.parametrize(("field", "server"), [("healthzBindAddress", "health"), ("metricsBindAddress", "metrics")])
def test_an_unavailable_port_ends_the_start_if_that_is_configured(node: Node, field: str, server: str) -> None:
    """CFG-06, HC-06, HC-26: exit code 1, and the address by name."""
    with node.namespace("node").inside():
        taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        node.configure(bindAddressHardFail=True, **{field: where})
        result = node.call(*node.run_words)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert (result.code, errors) == (
        1,
        [f"error: the {server} server does not listen: {where}: Address already in use"],
    )


def test_a_wrong_configuration_at_the_start_is_wrong_usage(node: Node) -> None:
    """Exit code 2, with every problem in a line of its own."""
    node.configure(ipvs={"scheduler": "lcc", "strictArp": True})
    result = node.call(*node.run_words)
    assert result.code == 2
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) == 2, result.stderr


def test_a_missing_folder_of_manifests_is_named(node: Node) -> None:
    """Exit code 1, and the folder's name."""
    node.manifests.remove("node")
    node.manifests.path.rmdir()
    result = node.call(*node.run_words)
    assert result.code == 1
    assert f"error: {node.manifests.path} is not a folder" in result.stderr


@contextmanager
def kernel_without_ipvs() -> Iterator[None]:
    """Unload IPVS, and keep the kernel from loading it again by itself."""
    if "IN_GUEST" not in os.environ:
        pytest.skip("unloads IPVS, which only a guest can do without")
    helper = _KERNEL_HELPER.read_text(encoding="ascii")
    subprocess.run(("modprobe", "-qa", "nfnetlink", "nf_tables", "ip_set", "dummy"), check=False)  # as elsewhere
    wait_for(_unload_ipvs, "nothing uses IPVS any more")
    _KERNEL_HELPER.write_text("/bin/false", encoding="ascii")
    try:
        yield
    finally:
        _KERNEL_HELPER.write_text(helper, encoding="ascii")


def _unload_ipvs() -> bool:
    modules = [line.split()[0] for line in Path("/proc/modules").read_text(encoding="ascii").splitlines()]
    loaded = [name for name in modules if name.startswith("ip_vs_")] + [n for n in modules if n == "ip_vs"]
    return not loaded or not subprocess.run(["modprobe", "-r", *loaded], capture_output=True, check=False).returncode
