"""Checks of iptables, nftables and the IPVS table: other programs, and rules that block traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ipvsagent.doctor.finding import Trouble, enumerate_few, fail, warn
from ipvsagent.doctor.packet import Fate, Packet, ports_of, target_of, walk_input
from ipvsagent.doctor.snapshot import NodeSnapshot, SavedRules, Words
from ipvsagent.model.address import Family
from ipvsagent.model.rules import quote
from ipvsagent.model.state import VirtualServerKey

_HINT_CHAINS = frozenset({"mangle KUBE-IPTABLES-HINT", "mangle KUBE-KUBELET-CANARY"})
_PROXY_PREFIXES = ("KUBE-SVC-", "KUBE-SEP-", "KUBE-FW-", "KUBE-XLB-", "KUBE-SVL-", "KUBE-EXT-")
_ROUTER_PREFIXES = ("KUBE-ROUTER-",)
_PROXY_TABLES = ("ip kube-proxy", "ip6 kube-proxy")
_OTHER_BALANCERS = ("keepalived", "ldirectord", "kube-router")
_SAMPLE_PORTS = 16  # number of virtual servers and node ports to trace
_FIRST_NODE_PORT = 30000
_DEPTH = 16  # of nested chains


def iptables_usable(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that one iptables variant works."""
    if not node.rules and node.iptables_missing:
        reasons = "; ".join(f"{variant}: {why}" for variant, why in sorted(node.iptables_missing.items()))
        yield fail(f"no variant of iptables works ({reasons})", "install the package `iptables` (1.6.2 or newer)")


def iptables_mix(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check for rules in both variants: neither variant shows the rules of the other, but both affect packets."""
    chosen = node.settings.iptables_variant
    kubelet = sorted({r.variant for r in node.rules if not _HINT_CHAINS.isdisjoint(r.chain_names)})
    if chosen != "auto" and kubelet and chosen not in kubelet:
        yield fail(
            f"`iptables.variant` is {chosen}, but kubelet uses {kubelet[0]}",
            f"set `iptables.variant` to `auto` or `{kubelet[0]}`",
        )
    counts = {variant: _rule_count(node.rules, variant) for variant in ("legacy", "nft")}
    if all(counts.values()):
        other = "legacy" if kubelet == ["nft"] else "nft" if kubelet == ["legacy"] else "one of them"
        program = f"iptables-{other}" if other != "one of them" else "iptables-legacy"
        yield warn(
            f"both variants of iptables hold rules: {counts['legacy']} legacy, {counts['nft']} nft",
            f"find the program that writes the rules of {other} (`{program}-save`), make it use the other variant "
            "(`update-alternatives --config iptables`), and reboot the node",
        )


def ipvs_owner(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find other users of the IPVS table; the agent leaves their virtual servers alone."""
    excluded = node.settings.exclude_networks
    foreign = sorted(k for k in node.foreign if not any(k.address in network for network in excluded))
    if foreign:
        first = foreign[0]
        yield warn(
            f"{len(foreign)} virtual servers do not belong to the agent: {enumerate_few([str(k) for k in foreign])}",
            f"to keep them, add their networks to `ipvs.excludeCIDRs`; otherwise remove them, for example with "
            f"`ipvsadm -D {_ipvsadm_words(first)}`",
        )
    for process in node.running(*_OTHER_BALANCERS):
        yield warn(
            f"{process.name} runs (pid {process.pid}) and may write to the IPVS table",
            "stop it, or add its addresses to `ipvs.excludeCIDRs`; kube-router needs `--run-service-proxy=false`",
        )


def kube_proxy(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that kube-proxy does not run: two service proxies undo each other's changes."""
    for process in node.running("kube-proxy"):
        yield fail(
            f"kube-proxy runs (pid {process.pid}) and undoes the agent's changes",
            "remove it: `kubectl -n kube-system delete daemonset kube-proxy` (kubeadm: "
            "`kubeadm init --skip-phases=addon/kube-proxy` for new clusters); connections stay open",
        )
    for process in node.running("k3s", "rke2"):
        words = " ".join(process.words)
        if ("server" in words or "agent" in words) and "disable-kube-proxy" not in words:
            yield warn(
                f"{process.name} (pid {process.pid}) runs a built-in kube-proxy, unless its configuration disables it",
                "add `disable-kube-proxy: true` to /etc/rancher/k3s/config.yaml (RKE2: /etc/rancher/rke2) and "
                "restart it",
            )


def processes_visible(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that the processes of the host are visible."""
    if not node.host_processes_visible:
        yield warn(
            "the host's processes are not visible: kube-proxy, MetalLB and network managers cannot be detected",
            "run doctor on the host, or in a pod with `hostPID: true`",
        )


def leftovers_iptables(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find chains of kube-proxy's iptables mode, which take packets before IPVS sees them."""
    yield from _leftovers(
        node,
        _PROXY_PREFIXES,
        "kube-proxy's iptables mode",
        "before the agent starts, run `kube-proxy --cleanup` of the release that made them, or reboot the node",
    )


def leftovers_nftables(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find tables of kube-proxy's nftables mode, which take packets before IPVS sees them."""
    for name in node.nft_tables:
        if name in _PROXY_TABLES:
            yield fail(
                f"nftables table `{name}` of kube-proxy's nftables mode exists and takes the packets of Services first",
                f"run `nft delete table {name}`",
            )


def leftovers_router(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find chains of kube-router's service proxy and firewall."""
    yield from _leftovers(
        node,
        _ROUTER_PREFIXES,
        "kube-router",
        "if kube-router is no longer used, run `kube-router --cleanup-config`; if it is the network plugin, run it "
        "with `--run-service-proxy=false`",
    )


def input_vip(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that filter INPUT accepts packets to VIPs: IPVS takes packets after filter INPUT."""
    for rules in node.rules:
        network = node.settings.cluster_network(rules.family)
        source = network.address if network else None
        keys = [
            s.key for s in node.virtual_servers if s.key.address in node.vips and s.key.address.family is rules.family
        ]
        packets = [
            Packet(k.protocol.word, k.port, source=source, destination=k.address) for k in keys[:_SAMPLE_PORTS]
        ] or [Packet("tcp", 443, source=source)]
        for because in _reasons(rules, packets):
            yield fail(
                f"{rules.family.label} packets to Service addresses are dropped in INPUT: {because}",
                _accept(rules, "-d SERVICE_CIDR"),
            )


def input_node_port(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check that filter INPUT accepts packets to NodePorts, which an administrator may block on purpose."""
    ports = node.node_ports[:_SAMPLE_PORTS] or (_FIRST_NODE_PORT,)
    for rules in node.rules:
        for because in _reasons(rules, [Packet("tcp", port) for port in ports]):
            yield warn(
                f"{rules.family.label} packets to NodePorts are dropped in INPUT: {because}",
                f"if NodePorts must be reachable, {_accept(rules, '-p tcp --dport 30000:32767')} (also for `-p udp`)",
            )


def host_port(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find hostPort rules before KUBE-SERVICES: they take packets to VIPs, which are local addresses."""
    for rules in node.rules:
        keys = [s.key for s in node.virtual_servers if s.key.address in node.vips]
        program = f"iptables-{rules.variant}" if rules.family is Family.IPV4 else f"ip6tables-{rules.variant}"
        for jump, redirections in _before_services(rules.chains.get("nat", {})):
            taken = sorted(
                str(k) for k in keys if k.address.family is rules.family and any(_takes(r, k) for r in redirections)
            )
            if taken:
                words = " ".join(quote(word) for word in jump)
                yield fail(
                    f"a hostPort redirection comes before Services and takes their connections: {enumerate_few(taken)}",
                    f"move its jump after KUBE-SERVICES: `{program} -t nat -D PREROUTING {words}`, then the same with "
                    "`-A`; or give the pod another hostPort",
                )


def _rule_count(saved: Iterable[SavedRules], variant: str) -> int:
    return sum(r.count for r in saved if r.variant == variant)


def _leftovers(node: NodeSnapshot, prefixes: tuple[str, ...], owner: str, remedy: str) -> Iterator[Trouble]:
    for rules in node.rules:
        found = [name for name in rules.chain_names if name.partition(" ")[2].startswith(prefixes)]
        if found:
            yield fail(
                f"{len(found)} {rules.family.label} chains of {owner} are left ({rules.variant}): "
                f"{enumerate_few(found, 3)}",
                remedy,
            )


def _reasons(rules: SavedRules, packets: Iterable[Packet]) -> list[str]:
    """Return the reasons why packets are dropped, each once."""
    outcomes = [walk_input(rules, packet) for packet in packets]
    return sorted({o.because for o in outcomes if o.fate is Fate.DROPPED})


def _accept(rules: SavedRules, words: str) -> str:
    program = "iptables" if rules.family is Family.IPV4 else "ip6tables"
    return f"run `{program}-{rules.variant} -I INPUT {words} -j ACCEPT`, and add it to the firewall's configuration"


def _before_services(chains: dict[str, tuple[Words, ...]]) -> Iterator[tuple[Words, list[Words]]]:
    """Yield each rule of PREROUTING before the jump to KUBE-SERVICES, with the redirections that it leads to."""
    rules = chains.get("PREROUTING", ())
    position = next((i for i, rule in enumerate(rules) if target_of(rule) == "KUBE-SERVICES"), 0)
    for rule in rules[:position]:
        yield rule, list(_redirections(chains, rule, _DEPTH))


def _redirections(chains: dict[str, tuple[Words, ...]], rule: Words, depth: int) -> Iterator[Words]:
    target = target_of(rule)
    if target in ("DNAT", "REDIRECT"):
        yield rule
    elif depth:
        for inner in chains.get(target, ()):
            yield from _redirections(chains, inner, depth - 1)


def _takes(rule: Words, key: VirtualServerKey) -> bool:
    """Return whether a rule matches the protocol and port, for all addresses."""
    named = {rule[i]: rule[i + 1] for i in range(len(rule) - 1) if rule[i] in ("-p", "-d")}
    if named.get("-p") != key.protocol.word or "-d" in named:
        return False
    return any(key.port in ports for ports in ports_of(rule))


def _ipvsadm_words(key: VirtualServerKey) -> str:
    option = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}[key.protocol.word]
    return f"{option} {str(key).rpartition('/')[0]}"
