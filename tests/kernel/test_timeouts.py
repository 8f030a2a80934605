"""How long an idle connection through a VIP is remembered."""

from __future__ import annotations

from kernel.manifests import endpoint_slice, service
from kernel.node import Node
from kernel.processes import wait_for

VIP = "10.96.0.10"
WEB = f"{VIP}:80/tcp"
KERNEL_SECONDS = 3  # instead of the kernel's 900
KEEPALIVE = {"time": 20, "intvl": 10, "probes": 1}  # instead of 7200, 75 and 9


def test_an_idle_connection_outlives_the_keepalive_time_of_the_host(node: Node) -> None:
    """SYS-08, DEV-37: with timers shortened; without it, IPVS would forget the connection first."""
    for name, value in KEEPALIVE.items():
        node.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv4/tcp_keepalive_{name}")
    node.run("ipvsadm", "--set", str(KERNEL_SECONDS), "0", "0")
    node.manifests.write("web", service("web", VIP), endpoint_slice("web", "p1"))
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    assert node.run("ipvsadm", "-L", "--timeout").split()[-3] == "30"
    with node.connect("client", "tcp", VIP, 80) as connection:
        first = connection.ask()
        assert remaining_seconds(node) > KERNEL_SECONDS
        wait_for(lambda: remaining_seconds(node) < 30 - 2 * KERNEL_SECONDS, "it was idle for long enough")
        left = remaining_seconds(node)
        assert connection.ask() == first
        assert remaining_seconds(node) > left, "IPVS has seen the request on the connection that it knew"


def remaining_seconds(node: Node) -> int:
    """After how much more idle time IPVS forgets its one connection."""
    flows = [line.split() for line in node.run("ipvsadm", "-Lnc").splitlines()]
    (left,) = [f[1] for f in flows if "ESTABLISHED" in f]
    minutes, _, seconds = left.partition(":")
    return 60 * int(minutes) + int(seconds)
