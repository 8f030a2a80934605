"""What somebody may do to the kernel state behind the agent's back."""

from __future__ import annotations

import os
from typing import NamedTuple

VARIANT = "legacy" if os.environ.get("IN_GUEST") == "uml" else "nft"


class Drift(NamedTuple):
    """Something that somebody does to the kernel state.

    Args:
        part: what of the state it changes: ipvs, addresses, sets, rules or setting.
        command: for the shell on the node.
        of_one_service: whether the requests to other Services do not notice.
        counted: whether it changes a number that is looked at each second.
    """

    name: str
    part: str
    command: str
    of_one_service: bool = False
    counted: bool = False

    @property
    def bar_seconds(self) -> int:
        """How long it may last: what neither the kernel tells nor a count is found by the rolling check alone."""
        told = self.part == "addresses" or (self.part == "rules" and VARIANT == "nft")
        return 2 if told or self.counted else 5


def drifts(vip: str, vip_6: str) -> list[Drift]:
    """All that is tried; what can be done to one Service is done to the one with these addresses.

    Args:
        vip: of a Service with port 80/TCP on the pods p1 and p2.
        vip_6: its other address.
    """
    iptables, ip6tables = f"iptables-{VARIANT}", f"ip6tables-{VARIANT}"
    jump = "PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES"
    flush_all = f"for t in nat filter mangle; do {iptables} -t $t -F; done"
    return [
        Drift("all virtual servers cleared", "ipvs", "ipvsadm -C", counted=True),
        Drift("a virtual server removed", "ipvs", f"ipvsadm -D -t {vip}:80", of_one_service=True, counted=True),
        Drift("an IPv6 virtual server removed", "ipvs", f"ipvsadm -D -t [{vip_6}]:80", of_one_service=True),
        Drift("a real server removed", "ipvs", f"ipvsadm -d -t {vip}:80 -r 10.244.0.11:8080", of_one_service=True),
        Drift("a real server added", "ipvs", f"ipvsadm -a -t {vip}:80 -r 10.244.0.99:8080 -m", of_one_service=True),
        Drift("a weight changed", "ipvs", f"ipvsadm -e -t {vip}:80 -r 10.244.0.11:8080 -m -w 7", of_one_service=True),
        Drift("a scheduler changed", "ipvs", f"ipvsadm -E -t {vip}:80 -s lc", of_one_service=True),
        Drift("persistence switched on", "ipvs", f"ipvsadm -E -t {vip}:80 -s rr -p 100", of_one_service=True),
        Drift("the dummy interface deleted", "addresses", "ip link delete kube-ipvs0"),
        Drift("an address removed", "addresses", f"ip address delete {vip}/32 dev kube-ipvs0", of_one_service=True),
        # `ip` gives up against an agent that is quicker.
        Drift("all addresses flushed", "addresses", "ip address flush dev kube-ipvs0 || true"),
        Drift("a set flushed", "sets", "ipset flush KUBE-CLUSTER-IP", counted=True),
        Drift("all sets flushed", "sets", "ipset flush", counted=True),
        Drift(
            "a set entry removed", "sets", f"ipset del KUBE-CLUSTER-IP {vip},tcp:80", of_one_service=True, counted=True
        ),
        Drift(
            "a set entry added",
            "sets",
            "ipset add KUBE-CLUSTER-IP 10.96.0.99,tcp:99",
            of_one_service=True,
            counted=True,
        ),
        Drift("a chain flushed", "rules", f"{iptables} -t nat -F KUBE-SERVICES"),
        Drift("a chain's order changed", "rules", f"{iptables} -t nat -I KUBE-SERVICES -j ACCEPT"),
        Drift("a jump removed", "rules", f"{iptables} -t nat -D {jump}"),
        Drift("an IPv6 chain flushed", "rules", f"{ip6tables} -t nat -F KUBE-SERVICES"),
        Drift("a table flushed", "rules", f"{iptables} -t nat -F"),
        Drift("rules and sets gone", "rules", f"{flush_all}; ipset destroy KUBE-CLUSTER-IP"),
        Drift("a kernel setting changed", "setting", "echo 0 > /proc/sys/net/ipv4/vs/conntrack"),
    ]
