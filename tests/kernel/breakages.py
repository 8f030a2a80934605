"""Ways of breaking a node, and what `ipvsagent doctor` is to say of each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ipvsagent.doctor.finding import Level

VARIANT = "legacy" if os.environ.get("IN_GUEST") == "uml" else "nft"
IPTABLES = f"iptables-{VARIANT}"
VIP = "10.96.0.10"


@dataclass(frozen=True)
class Broken:
    """A way of breaking a node.

    Args:
        breaks: shell command that does it, run on the node.
        mends: shell command that undoes it.
        program: a program of this path runs meanwhile.
        file: its path and text, where doctor looks for files.
        check: which check finds it.
        what: words of the finding.
        remedy: words of the remedy.
        remedy_works: the first command of the remedy makes the finding vanish.
    """

    name: str
    check: str
    level: Level
    what: str
    remedy: str
    breaks: str = ""
    mends: str = ""
    program: str = ""
    file: tuple[str, str] | None = None
    remedy_works: bool = False


def _sysctl(name: str, check: str, what: str, *, broken: str, right: str) -> Broken:
    return Broken(
        name,
        check,
        Level.WARN,
        what,
        f"sysctl -w {name}={right}",
        breaks=f"sysctl -qw {name}={broken}",
        mends=f"sysctl -qw {name}={right}",
        remedy_works=True,
    )


WAYS = (
    Broken(
        "a virtual server of somebody else",
        "ipvs-owner",
        Level.WARN,
        "1 virtual servers do not belong to the agent: 10.99.9.9:443/TCP",
        "ipvs.excludeCIDRs",
        breaks="ipvsadm -A -t 10.99.9.9:443 -s rr",
        mends="ipvsadm -D -t 10.99.9.9:443",
    ),
    Broken(
        "keepalived",
        "ipvs-owner",
        Level.WARN,
        "keepalived runs (pid ",
        "stop it",
        program="/usr/sbin/keepalived",
    ),
    Broken(
        "a running kube-proxy",
        "kube-proxy",
        Level.FAIL,
        "kube-proxy runs (pid ",
        "kubectl -n kube-system delete daemonset kube-proxy",
        program="/usr/local/bin/kube-proxy",
    ),
    Broken(
        "k3s with its own kube-proxy",
        "kube-proxy",
        Level.WARN,
        "k3s (pid ",
        "disable-kube-proxy: true",
        program="/usr/local/bin/k3s server",
    ),
    Broken(
        "chains of iptables mode",
        "leftover-iptables-mode",
        Level.FAIL,
        f"2 IPv4 chains of kube-proxy's iptables mode are left ({VARIANT}): nat KUBE-SEP-A, nat KUBE-SVC-A",
        "kube-proxy --cleanup",
        breaks=f"{IPTABLES} -t nat -N KUBE-SVC-A; {IPTABLES} -t nat -N KUBE-SEP-A",
        mends=f"{IPTABLES} -t nat -X KUBE-SVC-A; {IPTABLES} -t nat -X KUBE-SEP-A",
    ),
    Broken(
        "chains of kube-router",
        "leftover-kube-router",
        Level.FAIL,
        f"1 IPv4 chains of kube-router are left ({VARIANT}): filter KUBE-ROUTER-INPUT",
        "kube-router --cleanup-config",
        breaks=f"{IPTABLES} -N KUBE-ROUTER-INPUT",
        mends=f"{IPTABLES} -X KUBE-ROUTER-INPUT",
    ),
    Broken(
        "MetalLB without strict ARP",
        "strict-arp",
        Level.WARN,
        "MetalLB's speaker runs",
        "ipvs.strictARP: true",
        program="/speaker",
    ),
    Broken(
        "systemd-networkd that takes every interface",
        "network-manager",
        Level.FAIL,
        "systemd-networkd manages kube-ipvs0 with /etc/systemd/network/99-all.network",
        "Unmanaged=yes",
        program="/lib/systemd/systemd-networkd",
        file=("etc/systemd/network/99-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n"),
    ),
    Broken(
        "NetworkManager without an exception",
        "network-manager",
        Level.WARN,
        "NetworkManager is not configured to leave kube-ipvs0 alone",
        "unmanaged-devices=interface-name:kube-ipvs0",
        program="/usr/sbin/NetworkManager",
        file=("etc/NetworkManager/conf.d/cali.conf", "[keyfile]\nunmanaged-devices=interface-name:cali*\n"),
    ),
    _sysctl("net.ipv4.vs.conn_reuse_mode", "conn-reuse-mode", "conn_reuse_mode is 0 on kernel ", broken="0", right="1"),
    _sysctl("net.ipv4.vs.expire_nodest_conn", "ipvs-sysctls", "expire_nodest_conn is 0", broken="0", right="1"),
    _sysctl(
        "net.ipv4.vs.run_estimation",
        "estimation",
        "run_estimation is 0, but `ipvs.estimation` is auto",
        broken="0",
        right="1",
    ),
    _sysctl("net.ipv4.vs.conntrack", "ipvs-sysctls", "nothing is masqueraded", broken="0", right="1"),
    _sysctl("net.ipv4.ip_forward", "forwarding", "net.ipv4.ip_forward is 0", broken="0", right="1"),
    _sysctl("net.ipv6.conf.all.forwarding", "forwarding", "IPv6 Services", broken="0", right="1"),
    Broken(
        "strict reverse path filtering with two uplinks",
        "rp-filter",
        Level.WARN,
        "rp_filter is strict on br0, second, and the node has 2 uplinks",
        "sysctl -w net.ipv4.conf.all.rp_filter=2",
        breaks="ip link add second type bridge; ip address add 192.168.70.1/24 dev second; "
        "sysctl -qw net.ipv4.conf.all.rp_filter=1",
        mends="ip link del second; sysctl -qw net.ipv4.conf.all.rp_filter=0",
        remedy_works=True,
    ),
    Broken(
        "bridged packets pass no rules",
        "bridge-netfilter",
        Level.WARN,
        "bridge-nf-call-iptables are off: on bridge br0 a pod",
        "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1",
        breaks="sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        mends="sysctl -qw net.bridge.bridge-nf-call-iptables=1",
    ),
    Broken(
        "a TCP timeout below keepalive",
        "ipvs-timeouts",
        Level.WARN,
        "IPVS forgets an idle TCP connection after 60 s, but the host's keepalive takes 7875 s",
        "ipvsadm --set 7875 0 0",
        breaks="ipvsadm --set 60 0 0",
        mends="ipvsadm --set 7875 0 0",
    ),
    Broken(
        "NodeLocal DNSCache on the cluster DNS address",
        "vip-elsewhere",
        Level.WARN,
        f"Service addresses are also on interface `nodelocaldns`: {VIP}",
        "-localip 169.254.20.10",
        breaks=f"ip link add nodelocaldns type dummy; ip address add {VIP}/32 dev nodelocaldns",
        mends="ip link del nodelocaldns",
    ),
    Broken(
        "a VIP on the loopback interface",
        "vip-elsewhere",
        Level.WARN,
        f"Service addresses are also on interface `lo`: {VIP}",
        f"ip address del {VIP} dev lo",
        breaks=f"ip address add {VIP}/32 dev lo",
        mends=f"ip address del {VIP}/32 dev lo",
    ),
    Broken(
        "a set that is nearly full",
        "ipset-fill",
        Level.WARN,
        "ipset `KUBE-DOCTOR` holds 2 of 2 entries",
        "keep `ipvsagent run` running",
        breaks="ipset create KUBE-DOCTOR hash:ip maxelem 2; ipset add KUBE-DOCTOR 1.1.1.1; "
        "ipset add KUBE-DOCTOR 1.1.1.2",
        mends="ipset destroy KUBE-DOCTOR",
    ),
    Broken(
        "a tunnel that is larger than the uplink",
        "mtu",
        Level.WARN,
        "interface `flannel.1` (vxlan) has MTU 1500, but the uplink's 1500 leaves only 1450",
        "MTU to 1450 or less",
        breaks="ip link add flannel.1 mtu 1500 type vxlan id 1 dstport 8472 local 192.168.60.1",
        mends="ip link del flannel.1",
    ),
)
