"""A kernel from which a module was taken: in the guest whose iptables consist of modules."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernel.manifests import endpoint_slice, service
from kernel.node import NOTHING, REFUSED, SHORT_SECONDS, Node
from kernel.processes import wait_for

pytestmark = pytest.mark.needs_guest("uml", reason="its iptables consist of modules that can be unloaded")

VIP, VIP_6 = "10.96.0.78", "fd00:96::78"
UNUSED = 81


@pytest.fixture
def take_module() -> Iterator[Callable[[str], None]]:
    """Unloads a module and keeps the kernel from loading it again."""
    block = Path("/etc/modprobe.d/ipvsagent-test.conf")
    block.parent.mkdir(exist_ok=True)

    def unloaded(module: str) -> bool:
        """Namespaces of earlier tests may still be on their way out."""
        return subprocess.run(["modprobe", "--remove", module], check=False, capture_output=True).returncode == 0

    def take(module: str) -> None:
        wait_for(lambda: unloaded(module), f"{module} is unloaded")
        block.write_text(f"install {module} /bin/false\n", encoding="ascii")

    yield take
    block.unlink(missing_ok=True)


def _start(node: Node) -> None:
    """Start the agent on a Service of two families."""
    node.manifests.write(
        "web", service("web", VIP, VIP_6), endpoint_slice("web", "p1"), endpoint_slice("web", "p1", ipv6=True)
    )
    node.start_agent_and_wait()


def test_without_a_table_for_ipv6_only_ipv4_is_served(node: Node, take_module: Callable[[str], None]) -> None:
    """DEV-68, DEV-81: the kernel lacks table `mangle`, and IPv4 does not suffer."""
    take_module("ip6table_mangle")
    _start(node)
    assert node.outcome("client", "tcp", VIP, 80) == "p1"
    assert list(node.table()) == [f"{VIP}:80/tcp"]


def test_without_reject_other_ports_of_a_vip_are_closed(node: Node, take_module: Callable[[str], None]) -> None:
    """DEV-81, IPT-75: clients hear nothing instead of a refusal; the other family refuses."""
    take_module("ip6t_REJECT")
    _start(node)
    assert node.outcome("client", "tcp", VIP_6, 80) == "p1"
    assert node.outcome("client", "tcp", VIP_6, UNUSED, patience=SHORT_SECONDS) == NOTHING
    assert node.outcome("client", "tcp", VIP, UNUSED) == REFUSED
