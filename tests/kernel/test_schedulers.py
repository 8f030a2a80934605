"""Every scheduler with its flags: the kernel takes it, and it forwards."""

from __future__ import annotations

from functools import partial

from ipvsagent.config.values import SCHEDULERS
from kernel.manifests import endpoint_slice, service
from kernel.node import Node
from kernel.processes import wait_for

VIP = "10.96.0.10"
FLAGS: tuple[tuple[str, list[str] | None, str], ...] = (  # as configured, and as ipvsadm prints them
    ("sh", ["flag-1"], " -b sh-fallback"),
    ("sh", ["flag-1", "flag-2"], " -b sh-fallback,sh-port"),
    ("mh", None, " -b mh-port"),
    ("mh", ["flag-1"], " -b mh-fallback"),
    ("mh", ["flag-1", "flag-2"], " -b mh-fallback,mh-port"),
    ("mh", [], ""),
    ("wrr", ["flag-3"], " -b flag-3"),
)


def _shows(node: Node, line: str) -> bool:
    return line in node.ipvsadm()


def test_every_scheduler_and_its_flags_are_taken_by_the_kernel_one_reload_after_the_other(node: Node) -> None:
    """VS-02, VS-03, CFG-20, DEV-16: of one virtual server, which serves with each."""
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1", "p2"))
    node.start_agent()
    node.wait_for_service(f"{VIP}:80/tcp", "p1", "p2")
    plain = [(name, None, " -b mh-port" if name == "mh" else "") for name in SCHEDULERS]
    for scheduler, flags, shown in (*plain, *FLAGS):
        node.configure(ipvs={"scheduler": scheduler, "schedulerFlags": flags})
        wait_for(partial(_shows, node, f"-A -t {VIP}:80 -s {scheduler}{shown}"), f"{scheduler} {flags} is in force")
        assert node.ask("client", "tcp", VIP, 80).pod in ("p1", "p2")
