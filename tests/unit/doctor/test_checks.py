"""Each check on a healthy node and on nodes that are broken in one way."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from ipvsagent.config.types import Timeouts
from ipvsagent.doctor.checks.cluster import PERMISSIONS
from ipvsagent.doctor.examination import CHECKS, examine
from ipvsagent.doctor.finding import Level
from ipvsagent.doctor.snapshot import ConfigurationFile, ModuleState, NodeSnapshot
from ipvsagent.model.address import Address, Family, Network
from ipvsagent.model.kernel_parts import Extension, ExtensionKind
from ipvsagent.model.state import IpvsTimeouts, Link, LinkAddress, ObservedSet, SetType
from unit.doctor.snapshots import HEALTHY, NODE, SETTINGS, VIP, broken, running, saved, server, sysctls

WARN, FAIL = Level.WARN, Level.FAIL
HINT = "-A KUBE-IPTABLES-HINT -j RETURN"
RULES = HEALTHY.rules[1:]
PORTMAP = (
    "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
    "-A PREROUTING -j KUBE-SERVICES",
    "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 80,443 -j CNI-DN-1",
    "-A CNI-DN-1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.0.9:80",
)
OTHER_FOREIGN = server(Address.parse("10.9.9.9"), 443)


@dataclass(frozen=True)
class Case:
    """One way of breaking the node, and what is to be said of it."""

    check: str
    level: Level
    what: str
    remedy: str
    node: NodeSnapshot


def case(check: str, level: Level, what: str, remedy: str, **fields: Any) -> Case:
    """A case with some fields of the healthy node replaced."""
    return Case(check, level, what, remedy, broken(**fields))


def with_module(name: str, state: ModuleState, **fields: Any) -> dict[str, Any]:
    """The field of a node with one module in another state."""
    return {"modules": {**HEALTHY.modules, name: state}, **fields}


BAD = (
    case("modules", FAIL, "lacks `ip_vs`", "full kernel package", **with_module("ip_vs", ModuleState.MISSING)),
    case(
        "kernel-parts",
        FAIL,
        "IPv4: the kernel has no iptables match `set` (module `xt_set`, `CONFIG_NETFILTER_XT_SET`): IPv4 is not served",
        "full kernel package",
        lacking={Family.IPV4: (Extension(ExtensionKind.MATCH, "set"),)},
    ),
    case(
        "kernel-parts",
        WARN,
        "no iptables table `mangle` (module `ip6table_mangle`, `CONFIG_IP6_NF_MANGLE`): IPv6 is not served",
        "full kernel package",
        lacking={Family.IPV4: (), Family.IPV6: (Extension(ExtensionKind.TABLE, "mangle"),)},
    ),
    case(
        "kernel-parts",
        WARN,
        "IPv4: the kernel has no iptables target `REJECT`",
        "full kernel package",
        lacking={Family.IPV4: (Extension(ExtensionKind.TARGET, "REJECT"),)},
    ),
    case(
        "kernel-parts",
        FAIL,
        "no set type `hash:ip,port` (module `ip_set_hash_ipport`, `CONFIG_IP_SET_HASH_IPPORT`): nothing is served",
        "full kernel package",
        lacking_set_types=(SetType.HASH_IP_PORT,),
    ),
    case("scheduler", FAIL, "scheduler `rr` is not known", "(lc, wlc)", schedulers=("lc", "wlc")),
    case(
        "scheduler",
        WARN,
        "scheduler `mh` is not known to this kernel; `ipvs.schedulerFallback` selects `lc` instead",
        "or install module `ip_vs_mh`",
        settings=dataclasses.replace(SETTINGS, scheduler="mh", scheduler_fallback="lc"),
    ),
    case(
        "scheduler",
        WARN,
        "`ipvs.schedulerFallback`: scheduler `mh` is not known to this kernel: the fallback does not work",
        "set it to an available scheduler (lc, rr, wlc)",
        settings=dataclasses.replace(SETTINGS, scheduler_fallback="mh"),
    ),
    case(
        "scheduler",
        WARN,
        "module `ip_vs_mh` is not loaded, and the kernel's modules are not visible here",
        "`modules.hostPath` of the chart) and add `ip_vs_mh` to `modules.names`",
        settings=dataclasses.replace(SETTINGS, scheduler="mh"),
        modules_visible=False,
        in_pod=True,
    ),
    case(
        "scheduler",
        WARN,
        "module `ip_vs_mh` is not loaded",
        "`modprobe ip_vs_mh`",
        settings=dataclasses.replace(SETTINGS, scheduler="mh"),
        modules_visible=False,
    ),
    case(
        "service-schedulers",
        WARN,
        "scheduler `nq` is not known to this kernel; Services that request it get `rr`: shop/api, shop/web",
        "annotate them with an available scheduler (lc, rr, wlc), or install module `ip_vs_nq` (the full kernel "
        "package) on the host",
        service_schedulers={"lc": ("shop/a",), "nq": ("shop/api", "shop/web")},
        in_pod=True,
    ),
    case(
        "capabilities",
        WARN,
        "not loaded yet: ip_vs_sh",
        "add ip_vs_sh to `modules.names` of the chart",
        **with_module("ip_vs_sh", ModuleState.LOADABLE, capabilities=1 << 12, in_pod=True),
    ),
    case("capabilities", FAIL, "lacks the capability NET_ADMIN", "run as root", capabilities=1 << 16),
    case(
        "capabilities",
        WARN,
        "not loaded yet: ip_vs",
        "modprobe -a ip_vs`",
        **with_module("ip_vs", ModuleState.LOADABLE, capabilities=1 << 12),
    ),
    case("sysctls-writable", FAIL, "read-only", "$IPVSAGENT_NETWORK_SETTINGS", read_only_proc=True),
    case("iptables", FAIL, "(nft: not there)", "package `iptables`", rules=(), iptables_missing={"nft": "not there"}),
    case(
        "iptables-mix",
        WARN,
        "both variants of iptables hold rules: 1 legacy, 1 nft",
        "find the program that writes the rules of legacy (`iptables-legacy-save`)",
        rules=(saved("-A INPUT -j A"), saved(HINT, variant="nft", table="mangle")),
    ),
    case(
        "iptables-mix",
        FAIL,
        "`iptables.variant` is legacy, but kubelet uses nft",
        "`iptables.variant` to `auto` or `nft`",
        settings=dataclasses.replace(SETTINGS, iptables_variant="legacy"),
        rules=(saved(HINT, variant="nft", table="mangle"),),
    ),
    case("processes-visible", WARN, "not visible", "hostPID: true", host_processes_visible=False),
    case("kube-proxy", FAIL, "kube-proxy runs (pid 7)", "delete daemonset", **running("/usr/bin/kube-proxy", "--v=2")),
    case("kube-proxy", FAIL, "kube-proxy runs (pid 7)", "stops it on all nodes", **running("/usr/bin/kube-proxy")),
    case(
        "kube-proxy", WARN, "k3s (pid 7) runs a built-in kube-proxy", "disable-kube-proxy", **running("/bin/k3s server")
    ),
    case(
        "ipvs-owner",
        WARN,
        "1 virtual servers do not belong to the agent: 10.9.9.9:443/TCP",
        "`ipvsadm -D -t 10.9.9.9:443`",
        foreign=frozenset({OTHER_FOREIGN.key}),
    ),
    case("ipvs-owner", WARN, "ldirectord runs (pid 7)", "stop it", **running("/usr/sbin/ldirectord")),
    case(
        "leftover-iptables-mode",
        FAIL,
        "2 IPv6 chains of kube-proxy's iptables mode are left (nft): nat KUBE-SEP-B, nat KUBE-SVC-A",
        "kube-proxy --cleanup",
        rules=(saved("-A KUBE-SVC-A -j KUBE-SEP-B", "-A KUBE-SEP-B", family=Family.IPV6, variant="nft", table="nat"),),
    ),
    case(
        "leftover-nftables-mode",
        FAIL,
        "nftables table `ip6 kube-proxy`",
        "nft delete table ip6 kube-proxy",
        nft_tables=("ip nat", "ip6 kube-proxy"),
    ),
    case(
        "leftover-kube-router",
        FAIL,
        "filter KUBE-ROUTER-FORWARD",
        "--run-service-proxy=false",
        rules=(saved("-A KUBE-ROUTER-FORWARD -j ACCEPT"),),
    ),
    case(
        "input-vip",
        FAIL,
        "policy of INPUT is DROP",
        "`iptables-legacy -I INPUT -d SERVICE_CIDR -j ACCEPT`",
        rules=(saved("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", policy="DROP"), *RULES),
    ),
    case(
        "input-node-port",
        WARN,
        "-A INPUT -j REJECT",
        "--dport 30000:32767",
        rules=(saved("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "-A INPUT -j REJECT"),),
    ),
    case("host-port", FAIL, "10.96.0.10:80/TCP", "--dst-type LOCAL", rules=(saved(*PORTMAP, table="nat"),)),
    case(
        "dummy-interface", FAIL, "of kind bridge, not dummy", "ip link delete", links=(Link(3, "kube-ipvs0", "bridge"),)
    ),
    case(
        "network-manager",
        FAIL,
        "with /etc/systemd/network/10-all.network",
        "Unmanaged=yes",
        networkd_files=(ConfigurationFile("/etc/systemd/network/10-all.network", "[Match]\nName=*\n"),),
        **running("/lib/systemd/systemd-networkd"),
    ),
    case("network-manager", WARN, "NetworkManager", "unmanaged-devices", **running("/usr/sbin/NetworkManager")),
    case("strict-arp", WARN, "MetalLB's speaker runs (pid 7)", "ipvs.strictARP: true", **running("/speaker")),
    case(
        "vip-elsewhere",
        WARN,
        "`nodelocaldns`: 10.96.0.10",
        "-localip 169.254.20.10",
        addresses=(*HEALTHY.addresses, LinkAddress("nodelocaldns", VIP, 32)),
    ),
    case(
        "vip-elsewhere",
        WARN,
        "`eth0`: 10.96.0.10",
        "ip address del 10.96.0.10 dev eth0",
        addresses=(*HEALTHY.addresses, LinkAddress("eth0", VIP, 32)),
    ),
    case(
        "vip-of-other-node",
        FAIL,
        "10.96.0.10 is the address of node node-2",
        "from `externalIPs`",
        nodes={"node-1": (NODE,), "node-2": (VIP,)},
    ),
    case("mtu", WARN, "MTU 1500, but the uplink's 1500", "to 1450", mtu={"eth0": 1500, "flannel.1": 1500}),
    case(
        "rp-filter",
        WARN,
        "rp_filter is strict on eth0, and the node has 2 uplinks",
        "rp_filter=2",
        links=(*HEALTHY.links, Link(5, "eth1")),
        addresses=(*HEALTHY.addresses, LinkAddress("eth1", Address.parse("192.168.70.1"), 24)),
    ),
    case("bridge-netfilter", WARN, "on bridge cni0", "br_netfilter", links=(*HEALTHY.links, Link(5, "cni0", "bridge"))),
    case("forwarding", WARN, "ip_forward is 0", "ip_forward=1", **sysctls(net__ipv4__ip_forward="0")),
    case(
        "forwarding",
        WARN,
        "IPv6 Services",
        "forwarding=1",
        addresses=(LinkAddress("eth0", Address.parse("fd00::1"), 64),),
        **sysctls(net__ipv6__conf__all__forwarding="0"),
    ),
    case("conn-reuse-mode", WARN, "is 0 on kernel 6.1", "mode=1", **sysctls(net__ipv4__vs__conn_reuse_mode="0")),
    case("conn-reuse-mode", WARN, "delayed by 1 s", "conn_reuse_mode=0", kernel_release="5.4.0-1"),
    case("ipvs-sysctls", WARN, "masqueraded", "vs.conntrack=1", **sysctls(net__ipv4__vs__conntrack="0")),
    case(
        "estimation",
        WARN,
        "counters of 10003",
        "set `ipvs.estimation` to `off`",
        virtual_servers=(server(), server(real_servers=10000)),
    ),
    case(
        "estimation",
        WARN,
        "counters of 10002",
        "sets it at start; until then, run `sysctl -w net.ipv4.vs.run_estimation=0`",
        virtual_servers=tuple(server(port=n) for n in range(1, 5002)),
    ),
    case(
        "estimation",
        WARN,
        "counters of 10002",
        "5.15 or newer, where `ipvs.estimation` can switch it off",
        virtual_servers=tuple(server(port=n) for n in range(1, 5002)),
        sysctls={},
    ),
    case(
        "estimation",
        WARN,
        "`ipvs.estimation` is off, but this kernel has no",
        "to `auto`",
        settings=dataclasses.replace(SETTINGS, estimation="off"),
        sysctls={k: v for k, v in HEALTHY.sysctls.items() if not k.endswith("run_estimation")},
    ),
    case(
        "estimation",
        WARN,
        "run_estimation is 0, but `ipvs.estimation` is auto",
        "run_estimation=1",
        **sysctls(net__ipv4__vs__run_estimation="0"),
    ),
    case("ipvs-timeouts", WARN, "after 900 s", "ipvsadm --set 7875 0 0", timeouts=IpvsTimeouts(900, 120, 300)),
    case(
        "ipvs-timeouts",
        WARN,
        "after 600 s, but the host's keepalive takes 7875 s",
        "set `ipvs.tcpTimeout` to 7875s or more",
        settings=dataclasses.replace(SETTINGS, timeouts=Timeouts(tcp_seconds=600)),
    ),
    case("connection-table", WARN, "100000 connections", "conn_tab_bits=17", connections=100_000),
    case("conntrack-fill", WARN, "200000 of 262144", "524288", **sysctls(net__netfilter__nf_conntrack_count="200000")),
    case("conntrack-fill", FAIL, "262144 of 262144", "524288", **sysctls(net__netfilter__nf_conntrack_count="262144")),
    case(
        "ipset-fill",
        WARN,
        "holds 60000 of 65536",
        "ipvsagent run",
        ip_sets=(ObservedSet("KUBE-CLUSTER-IP", "hash:ip,port", Family.IPV4, max_elements=65536, entries=60000),),
    ),
    case("api", FAIL, "refused", "kubeconfig", api_error="API server x: refused", api_seconds=None),
    case("api", WARN, "took 3.0 s", "API server's load", api_seconds=3.0),
    case("rbac", FAIL, "watch endpointslices.discovery.k8s.io", "ClusterRole", denied=PERMISSIONS[3:4]),
    case("rbac", WARN, "create events", "allow it", denied=PERMISSIONS[-1:]),
    case(
        "node-name",
        FAIL,
        "`node-1` is none of the cluster's nodes (did you mean `node-1.example.org`?)",
        "start the agent with the name of its Node",
        nodes={"node-1.example.org": (NODE,), "node-2.example.org": ()},
    ),
    case("node-name", FAIL, "`x` is none of the cluster's nodes: no endpoint", "NODE_NAME", name="x"),
    case(
        "node-name",
        WARN,
        "this host's name `x` is none of the cluster's nodes: no endpoint",
        "run doctor with the agent's `NODE_NAME`",
        name="x",
        name_is_guess=True,
    ),
)

FINE = {
    "an older kernel has the older right value": broken(
        kernel_release="5.4.0-1", **sysctls(net__ipv4__vs__conn_reuse_mode="0")
    ),
    "a kernel without IPVS settings yet": broken(sysctls={}, timeouts=None, virtual_servers=()),
    "foreign virtual servers of excluded networks": broken(
        foreign=frozenset({OTHER_FOREIGN.key}),
        settings=dataclasses.replace(SETTINGS, exclude_networks=(Network.parse("10.9.0.0/16"),)),
    ),
    "MetalLB with strict ARP": broken(settings=dataclasses.replace(SETTINGS, strict_arp=True), **running("/speaker")),
    "k3s with its kube-proxy disabled": broken(**running("/bin/k3s server --disable-kube-proxy")),
    "a firewall that lets known sources in": broken(
        rules=(saved("-A INPUT -m set --match-set cluster src -j ACCEPT", policy="DROP"),)
    ),
    "a hostPort that comes behind Services": broken(rules=(saved(PORTMAP[1], PORTMAP[0], *PORTMAP[2:], table="nat"),)),
    "a hostPort on a port that no Service has": broken(
        rules=(saved(*PORTMAP, table="nat"),), virtual_servers=(server(port=53),)
    ),
    "a hostPort bound to one address": broken(
        rules=(saved("-A PREROUTING -d 192.168.60.1/32 -p tcp -m tcp --dport 80 -j DNAT", PORTMAP[1], table="nat"),)
    ),
    "many estimators on a kernel that spreads them": broken(
        kernel_release="6.8.0", virtual_servers=(server(real_servers=20_000),)
    ),
    "many estimators that are switched off": broken(
        virtual_servers=(server(real_servers=20_000),),
        settings=dataclasses.replace(SETTINGS, estimation="off"),
        **sysctls(net__ipv4__vs__run_estimation="0"),
    ),
    "the bridge of docker": broken(links=(*HEALTHY.links, Link(5, "docker0", "bridge"))),
}


def test_a_healthy_node_is_fine() -> None:
    """One finding a check, in the table's order."""
    assert [(f.check, f.level) for f in examine(HEALTHY)] == [(c.name, Level.OK) for c in CHECKS]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.check} {bad.what}")
def test_what_is_broken_is_found_with_its_remedy(bad: Case) -> None:
    """Exactly one finding, of the right check and level, and no other one."""
    (finding,) = [f for f in examine(bad.node) if f.level is not Level.OK and f.check == bad.check]
    assert finding.level is bad.level
    assert bad.what in finding.what
    assert bad.remedy in finding.remedy


@pytest.mark.parametrize("node", FINE.values(), ids=FINE.keys())
def test_what_only_looks_broken_is_not_complained_of(node: NodeSnapshot) -> None:
    """A doctor that cries wolf is not asked again."""
    assert [f for f in examine(node) if f.level is not Level.OK] == []


def test_every_check_has_a_case() -> None:
    """So that none is forgotten."""
    assert {bad.check for bad in BAD} == {check.name for check in CHECKS}
