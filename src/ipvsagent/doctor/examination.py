"""The table of all checks, and a function that runs them on a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from ipvsagent.doctor.checks import cluster, kernel, kernel_parts, network, rules, schedulers
from ipvsagent.doctor.finding import Finding, Level, Trouble
from ipvsagent.doctor.snapshot import NodeSnapshot, Part

Find = Callable[[NodeSnapshot], Iterable[Trouble]]


class Check(Struct, frozen=True):
    """One row of the table.

    Args:
        name: stable; automation relies on it.
        subject: what the check looks at, in words.
        fine: the text of the finding if there is no problem.
        needs: parts of the snapshot; if one of them could not be read, the check is skipped with a warning.
    """

    name: str
    subject: str
    fine: str
    needs: tuple[Part, ...]
    find: Find


_ALL_RULES = (Part.RULES, Part.IPVS, Part.LINKS)

CHECKS: tuple[Check, ...] = (
    Check(
        "modules",
        "modules `ip_vs`, `dummy`, `nf_conntrack`, `ip_set`, `xt_set`",
        "the kernel has all modules",
        (Part.MODULES,),
        kernel.modules,
    ),
    Check(
        "kernel-parts",
        "tables, matches and targets of iptables, and set types",
        "the kernel has all parts that rules and ipsets need",
        (Part.KERNEL_PARTS,),
        kernel_parts.kernel_parts,
    ),
    Check(
        "scheduler",
        "modules of the configured scheduler and its fallback",
        "the kernel has the configured scheduler",
        (Part.MODULES,),
        schedulers.configured,
    ),
    Check(
        "service-schedulers",
        "modules of the schedulers that Services request by annotation",
        "the kernel has the schedulers that Services request",
        (Part.MODULES, Part.SERVICES),
        schedulers.of_services,
    ),
    Check(
        "capabilities",
        "NET_ADMIN; SYS_MODULE while modules are not loaded",
        "this process has the capabilities that the agent needs",
        (Part.CAPABILITIES, Part.MODULES),
        kernel.capabilities,
    ),
    Check(
        "sysctls-writable",
        "/proc/sys mounted read-only",
        "kernel settings can be written",
        (Part.SYSCTLS,),
        kernel.sysctls_writable,
    ),
    Check("iptables", "a working variant of iptables", "iptables works", (Part.RULES,), rules.iptables_usable),
    Check(
        "iptables-mix",
        "rules in both variants; a configured variant that differs from kubelet's",
        "one variant of iptables is in use",
        (Part.RULES,),
        rules.iptables_mix,
    ),
    Check(
        "processes-visible",
        "whether the host's processes can be seen",
        "the host's processes are visible",
        (Part.PROCESSES,),
        rules.processes_visible,
    ),
    Check("kube-proxy", "a running kube-proxy", "no kube-proxy runs", (Part.PROCESSES,), rules.kube_proxy),
    Check(
        "ipvs-owner",
        "virtual servers of other programs; keepalived, ldirectord, kube-router",
        "no other program uses the IPVS table",
        (Part.IPVS, Part.LINKS, Part.SETS, Part.PROCESSES),
        rules.ipvs_owner,
    ),
    Check(
        "leftover-iptables-mode",
        "chains of kube-proxy's iptables mode (`KUBE-SVC-*`, `KUBE-SEP-*` …)",
        "no chains of kube-proxy's iptables mode are left",
        (Part.RULES,),
        rules.leftovers_iptables,
    ),
    Check(
        "leftover-nftables-mode",
        "tables of kube-proxy's nftables mode",
        "no tables of kube-proxy's nftables mode are left",
        (Part.NFT_TABLES,),
        rules.leftovers_nftables,
    ),
    Check(
        "leftover-kube-router",
        "chains of kube-router (`KUBE-ROUTER-*`)",
        "no chains of kube-router are left",
        (Part.RULES,),
        rules.leftovers_router,
    ),
    Check(
        "input-vip",
        "rules or the policy of INPUT that drop packets to Service addresses",
        "packets to Service addresses pass INPUT",
        _ALL_RULES,
        rules.input_vip,
    ),
    Check(
        "input-node-port",
        "rules or the policy of INPUT that drop packets to NodePorts",
        "packets to NodePorts pass INPUT",
        (Part.RULES,),
        rules.input_node_port,
    ),
    Check(
        "host-port",
        "hostPort redirections before the jump to `KUBE-SERVICES`",
        "no hostPort takes a Service's connections",
        _ALL_RULES,
        rules.host_port,
    ),
    Check(
        "dummy-interface",
        "an interface `kube-ipvs0` that is not a dummy interface",
        "`kube-ipvs0` is absent or a dummy interface",
        (Part.LINKS,),
        kernel.dummy_interface,
    ),
    Check(
        "network-manager",
        "whether systemd-networkd or NetworkManager manages `kube-ipvs0`",
        "no network manager manages `kube-ipvs0`",
        (Part.PROCESSES, Part.NETWORK_FILES),
        network.network_manager,
    ),
    Check(
        "strict-arp",
        "strict ARP if MetalLB runs",
        "strict ARP is set if it is needed",
        (Part.PROCESSES, Part.SYSCTLS),
        network.strict_arp,
    ),
    Check(
        "vip-elsewhere",
        "Service addresses on other interfaces, such as NodeLocal DNSCache's",
        "Service addresses are only on `kube-ipvs0`",
        (Part.LINKS,),
        network.vip_elsewhere,
    ),
    Check(
        "vip-of-other-node",
        "Service addresses that are addresses of other nodes",
        "no Service address belongs to another node",
        (Part.LINKS, Part.IPVS, Part.NODES),
        network.vip_of_other_node,
    ),
    Check(
        "mtu",
        "MTU of tunnels compared with the uplink's",
        "the MTU of tunnels fits the uplink",
        (Part.LINKS,),
        network.mtu,
    ),
    Check(
        "rp-filter",
        "strict reverse path filtering with several uplinks",
        "reverse path filtering drops nothing",
        (Part.LINKS, Part.SYSCTLS),
        network.rp_filter,
    ),
    Check(
        "bridge-netfilter",
        "`bridge-nf-call-iptables` where pods may be on a bridge",
        "bridged packets pass iptables",
        (Part.LINKS, Part.SYSCTLS),
        network.bridge_netfilter,
    ),
    Check(
        "forwarding",
        "`ip_forward`, and IPv6 forwarding if the node has IPv6 addresses",
        "packets are forwarded",
        (Part.LINKS, Part.SYSCTLS),
        kernel.forwarding,
    ),
    Check(
        "conn-reuse-mode",
        "`conn_reuse_mode` by kernel version",
        "conn_reuse_mode suits the kernel",
        (Part.SYSCTLS,),
        kernel.conn_reuse_mode,
    ),
    Check(
        "ipvs-sysctls",
        "`conntrack`, `expire_nodest_conn`, `expire_quiescent_template` of IPVS",
        "IPVS settings are correct",
        (Part.SYSCTLS,),
        kernel.ipvs_settings,
    ),
    Check(
        "estimation",
        "cost of the rate estimator for this number of virtual servers; `ipvs.estimation`",
        "rate estimation is cheap, or off",
        (Part.IPVS, Part.SYSCTLS),
        kernel.estimation,
    ),
    Check(
        "ipvs-timeouts",
        "IPVS timeouts compared with the host's TCP keepalive",
        "IPVS remembers connections longer than keepalive takes",
        (Part.TIMEOUTS, Part.SYSCTLS),
        kernel.ipvs_timeouts,
    ),
    Check(
        "connection-table",
        "size of the connection table compared with the number of connections",
        "the connection table is large enough",
        (Part.CONNECTIONS,),
        kernel.connection_table,
    ),
    Check(
        "conntrack-fill",
        "how full the connection tracking table is",
        "the connection tracking table has room",
        (Part.SYSCTLS,),
        kernel.conntrack_fill,
    ),
    Check("ipset-fill", "how full the `KUBE-*` ipsets are", "ipsets have room", (Part.SETS,), kernel.ipset_fill),
    Check(
        "node-name",
        "whether the cluster has a Node with this node's name (`NODE_NAME`, `hostnameOverride`; only a warning for the "
        "host name)",
        "the cluster has a Node with this node's name",
        (Part.NODES,),
        cluster.node_name,
    ),
    Check("api", "whether and how fast the API server answers", "the API server answers", (Part.API,), cluster.api),
    Check(
        "rbac",
        "permissions for Services, EndpointSlices, Nodes and Events",
        "the agent has the permissions that it needs",
        (Part.RBAC,),
        cluster.rbac,
    ),
)


def examine(node: NodeSnapshot, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Run all checks; return at least one finding for each, in the order of the table."""
    return [finding for check in checks for finding in _findings(check, node)]


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level of all findings."""
    order = list(Level)
    return max((f.level for f in findings), key=order.index, default=Level.OK)


def _findings(check: Check, node: NodeSnapshot) -> Iterator[Finding]:
    for part in check.needs:
        if part in node.unread:
            unread = node.unread[part]
            yield Finding(check.name, Level.WARN, f"not checked: {part}: {unread.reason}", unread.remedy)
            return
    troubles = list(check.find(node))
    for trouble in troubles:
        yield Finding(check.name, trouble.level, trouble.what, trouble.remedy)
    if not troubles:
        yield Finding(check.name, Level.OK, check.fine)
