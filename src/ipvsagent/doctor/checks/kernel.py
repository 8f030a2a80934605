"""Checks of the kernel: modules, capabilities, settings, tables."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ipvsagent.doctor.checks.schedulers import loading_remedy
from ipvsagent.doctor.finding import Trouble, fail, warn
from ipvsagent.doctor.snapshot import ModuleState, NodeSnapshot
from ipvsagent.model.state import DUMMY_INTERFACE, ObservedSet
from ipvsagent.planner.estimation import plan_estimation
from ipvsagent.planner.sysctls import Sysctl, plan_sysctls

REQUIRED_MODULES = ("ip_vs", "dummy", "nf_conntrack", "ip_set", "xt_set")

_CAP_NET_ADMIN, _CAP_SYS_MODULE = 12, 16  # include/uapi/linux/capability.h
_ESTIMATORS_IN_THREADS = (6, 2)  # older kernels read all of them in one timer
_MANY_ESTIMATORS = 10_000
_LONG_BUCKET = 4  # connections in a bucket of the hash table, on average
_MOST_TABLE_BITS = 20  # older kernels limit ip_vs_conn_tab_bits to it
_NEARLY_FULL, _FULL = 0.75, 0.95
_SET_NEARLY_FULL = 0.9
_AGENT_SETS_IT = "`ipvsagent run` sets it at start; until then, run"


def modules(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the modules that the agent needs."""
    missing = [f"`{name}`" for name in REQUIRED_MODULES if node.modules.get(name) is ModuleState.MISSING]
    if missing:
        yield fail(
            f"this kernel lacks {', '.join(missing)}",
            "install the distribution's full kernel package (Debian: `linux-image-amd64`, Ubuntu: "
            "`linux-modules-extra`); in a container mount the host's /lib/modules",
        )


def capabilities(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check NET_ADMIN, and SYS_MODULE if modules must be loaded."""
    if not node.capabilities >> _CAP_NET_ADMIN & 1:
        yield fail(
            "this process lacks the capability NET_ADMIN",
            "run as root, or add NET_ADMIN to `securityContext.capabilities` of the pod",
        )
    to_load = sorted(name for name, state in node.modules.items() if state is ModuleState.LOADABLE)
    if to_load and not node.capabilities >> _CAP_SYS_MODULE & 1:
        yield warn(
            f"this process lacks the capability SYS_MODULE, and modules are not loaded yet: {', '.join(to_load)}",
            loading_remedy(node, to_load),
        )


def dummy_interface(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that no interface of another kind has the name of the dummy interface."""
    for link in node.links:
        if link.name == DUMMY_INTERFACE and link.kind != "dummy":
            yield fail(
                f"interface `{DUMMY_INTERFACE}` exists, but is of kind {link.kind or 'hardware'}, not dummy",
                f"remove it: `ip link delete {DUMMY_INTERFACE}`",
            )


def conn_reuse_mode(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check `conn_reuse_mode`: the right value depends on the kernel (SYS-02)."""
    key = "net/ipv4/vs/conn_reuse_mode"
    wanted = {s.key: s.value for s in _planned(node)}.get(key)
    present = node.number(key)
    if wanted is None or present is None or present == wanted:
        return
    consequence = (
        "new connections from a source port in TIME_WAIT go to removed real servers"
        if wanted
        else "each connection from a source port in TIME_WAIT is delayed by 1 s"
    )
    yield warn(
        f"net.ipv4.vs.conn_reuse_mode is {present} on kernel {node.kernel_release}: {consequence}",
        f"{_AGENT_SETS_IT} `sysctl -w net.ipv4.vs.conn_reuse_mode={wanted}`; remove other values from /etc/sysctl.d",
    )


def ipvs_settings(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the IPVS settings that the data plane needs (SYS-01, SYS-03, SYS-04)."""
    for key, consequence in (
        ("net/ipv4/vs/conntrack", "nothing is masqueraded"),
        ("net/ipv4/vs/expire_nodest_conn", "connections to removed real servers hang"),
        ("net/ipv4/vs/expire_quiescent_template", "persistent clients stay with drained real servers"),
    ):
        if node.number(key) == 0:
            name = key.replace("/", ".")
            yield warn(f"{name} is 0: {consequence}", f"{_AGENT_SETS_IT} `sysctl -w {name}=1`")


def forwarding(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check IPv4 forwarding (SYS-05); the administrator decides about IPv6 forwarding."""
    if node.number("net/ipv4/ip_forward") == 0:
        yield warn(
            "net.ipv4.ip_forward is 0: traffic to endpoints is dropped",
            f"{_AGENT_SETS_IT} `sysctl -w net.ipv4.ip_forward=1`; remove other values from /etc/sysctl.d",
        )
    has_ipv6 = any(len(a) == 16 and not a.is_link_local and not a.is_loopback for a in node.own_addresses)
    if has_ipv6 and node.number("net/ipv6/conf/all/forwarding") == 0:
        yield warn(
            "net.ipv6.conf.all.forwarding is 0: IPv6 Services cannot be reached from outside",
            "run `sysctl -w net.ipv6.conf.all.forwarding=1` and add it to /etc/sysctl.d, or set `ipv6Forwarding: true` "
            "in the configuration; by default the agent does not change it",
        )


def estimation(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the cost of the kernel's rate estimator, which reads all virtual and real servers every 2 s."""
    mode, present = node.settings.estimation, node.number("net/ipv4/vs/run_estimation")
    servers = len(node.virtual_servers)
    estimators = servers + sum(len(s.real_servers) for s in node.virtual_servers)
    costly = estimators > _MANY_ESTIMATORS and node.kernel_version < _ESTIMATORS_IN_THREADS
    what = (
        f"the rate estimator adds up the counters of {estimators} virtual and real servers on {node.cpus} CPUs in one "
        "interrupt every 2 s, which delays packets"
    )
    if present is None:
        if costly:
            yield warn(what, "use kernel 5.15 or newer, where `ipvs.estimation` can switch it off, or 6.2 or newer")
        elif mode == "off" and node.virtual_servers:
            yield warn(
                "`ipvs.estimation` is off, but this kernel has no net.ipv4.vs.run_estimation: the estimator runs",
                "use kernel 5.15 or newer, or set `ipvs.estimation` to `auto`",
            )
        return
    wanted = plan_estimation(mode, runs=present != 0, virtual_servers=servers)
    if costly and present and wanted:
        yield warn(what, "set `ipvs.estimation` to `off` in the configuration, or use kernel 6.2 or newer")
    elif costly and present:
        yield warn(what, f"{_AGENT_SETS_IT} `sysctl -w net.ipv4.vs.run_estimation=0`")
    elif wanted and not present:
        yield warn(
            f"net.ipv4.vs.run_estimation is 0, but `ipvs.estimation` is {mode}: counters are not updated",
            f"{_AGENT_SETS_IT} `sysctl -w net.ipv4.vs.run_estimation=1`; remove other values from /etc/sysctl.d, or "
            "set `ipvs.estimation` to `off`",
        )


def ipvs_timeouts(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that IPVS remembers a connection longer than the host's TCP keepalive time (SYS-08)."""
    if node.timeouts is None:
        return
    first = node.number("net/ipv4/tcp_keepalive_time")
    interval = node.number("net/ipv4/tcp_keepalive_intvl")
    probes = node.number("net/ipv4/tcp_keepalive_probes")
    if first is None or interval is None or probes is None:
        return
    keepalive = first + interval * probes
    wanted = node.settings.timeouts
    present = wanted.tcp_seconds or node.timeouts.tcp_seconds
    if present >= keepalive:
        return
    what = (
        f"IPVS forgets an idle TCP connection after {present} s, but the host's keepalive takes {keepalive} s: such "
        "connections hang"
    )
    if wanted.tcp_seconds:
        yield warn(what, f"set `ipvs.tcpTimeout` to {keepalive}s or more, or remove it")
    elif wanted.automatic:
        yield warn(what, f"{_AGENT_SETS_IT} `ipvsadm --set {keepalive} 0 0`")
    else:
        yield warn(what, f"set `ipvs.tcpTimeout` to {keepalive}s or more, or lower net.ipv4.tcp_keepalive_time")


def connection_table(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the size of the IPVS connection table, which cannot grow."""
    size, live = node.connection_table_size, node.connections
    if not size or live <= size * _LONG_BUCKET:
        return
    bits = min(_MOST_TABLE_BITS, math.ceil(math.log2(live)))
    yield warn(
        f"{live} connections are in a table of {size} buckets: each lookup searches {live // size} of them",
        f"add `options ip_vs conn_tab_bits={bits}` to a file in /etc/modprobe.d, and reboot (or reload the module)",
    )


def conntrack_fill(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the connection tracking table: if it is full, new connections are dropped."""
    count, most = node.number("net/netfilter/nf_conntrack_count"), node.number("net/netfilter/nf_conntrack_max")
    if not count or not most or count < most * _NEARLY_FULL:
        return
    trouble = fail if count >= most * _FULL else warn
    yield trouble(
        f"connection tracking holds {count} of {most} entries; when it is full, new connections are dropped",
        "raise the limit: set `conntrack.maxPerCore` in the configuration, or run "
        f"`sysctl -w net.netfilter.nf_conntrack_max={2 * most}`",
    )


def ipset_fill(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the ipsets: a full set rejects entries; a running agent enlarges its sets (SET-34)."""
    for found in node.ip_sets:
        if found.name.startswith("KUBE-") and _is_nearly_full(found):
            yield warn(
                f"ipset `{found.name}` holds {found.entries} of {found.max_elements} entries",
                "keep `ipvsagent run` running: it replaces a full set with a larger one; kube-proxy does not",
            )


def sysctls_writable(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that kernel settings can be written; in an unprivileged container they are read-only."""
    if node.read_only_proc:
        yield fail(
            "/proc/sys is mounted read-only: kernel settings cannot be written",
            "mount the host's /proc/sys/net writable and set $IPVSAGENT_NETWORK_SETTINGS to that folder, "
            "or set them on the host",
        )


def _is_nearly_full(found: ObservedSet) -> bool:
    return found.max_elements > 0 and found.entries >= found.max_elements * _SET_NEARLY_FULL


def _planned(node: NodeSnapshot) -> tuple[Sysctl, ...]:
    return plan_sysctls(node.settings, kernel_release=node.kernel_release, cpus=node.cpus)
