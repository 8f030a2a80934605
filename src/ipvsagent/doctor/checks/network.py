"""Checks of interfaces, addresses and of the programs that manage them."""

from __future__ import annotations

from collections.abc import Iterator

from ipvsagent.doctor.finding import Trouble, enumerate_few, fail, warn
from ipvsagent.doctor.managers import leaves_dummy_alone, networkd_owner
from ipvsagent.doctor.snapshot import NodeSnapshot
from ipvsagent.model.state import DUMMY_INTERFACE, Link

_LOCAL_DNS = "nodelocaldns"
_METALLB_SPEAKER = "speaker"
_OVERHEAD = {"vxlan": 50, "geneve": 50, "ipip": 20, "wireguard": 60, "gre": 24}
"""Bytes of encapsulation over IPv4, by kind of interface."""
_NO_UPLINK_KINDS = ("veth", "dummy", "vxlan", "ipip", "gre", "geneve", "wireguard", "tun", "sit", "ip6tnl", "ifb")
_NO_UPLINK_NAMES = ("lo", "cni", "docker", "cbr", "kube-", "virbr", "br-", "cali", "flannel", "cilium", "lxc", "weave")
_STRICT = 1
_ARP_SETTINGS = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


def strict_arp(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check strict ARP: with MetalLB in layer 2 mode, the kernels of the nodes must not answer ARP (CFG-24, SYS-06)."""
    speakers = node.running(_METALLB_SPEAKER)
    if not speakers or node.settings.strict_arp:
        return
    wrong = [key for key, least in _ARP_SETTINGS.items() if (node.number(key) or 0) < least]
    if wrong:
        yield warn(
            f"MetalLB's speaker runs (pid {speakers[0].pid}), but {DUMMY_INTERFACE} answers ARP: in layer 2 mode every "
            "node claims each load balancer address",
            "set `ipvs.strictARP: true` in the configuration (not needed if MetalLB uses only BGP)",
        )


def network_manager(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check network managers: they remove addresses that they did not add from interfaces that they manage."""
    if node.running("systemd-networkd"):
        file = networkd_owner(node.networkd_files, DUMMY_INTERFACE)
        if file is not None:
            yield fail(
                f"systemd-networkd manages {DUMMY_INTERFACE} with {file.path} and removes Service addresses from it",
                "create /etc/systemd/network/00-kube-ipvs0.network with `[Match] Name=kube-ipvs0` and `[Link] "
                "Unmanaged=yes` (on separate lines), then `networkctl reload`",
            )
    if node.running("NetworkManager") and not leaves_dummy_alone(node.network_manager_files, DUMMY_INTERFACE):
        yield warn(
            f"NetworkManager is not configured to leave {DUMMY_INTERFACE} alone",
            "create /etc/NetworkManager/conf.d/kube-ipvs0.conf with `[keyfile]` and "
            "`unmanaged-devices=interface-name:kube-ipvs0`, then `nmcli general reload`",
        )


def vip_elsewhere(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find VIPs on other interfaces, such as those of NodeLocal DNSCache; IPVS takes their packets nevertheless."""
    vips = node.vips
    by_link: dict[str, list[str]] = {}
    for found in node.addresses:
        if found.address in vips and found.link_name != DUMMY_INTERFACE:
            by_link.setdefault(found.link_name, []).append(str(found.address))
    for link, addresses in sorted(by_link.items()):
        what = f"Service addresses are also on interface `{link}`: {enumerate_few(sorted(addresses))}"
        if link == _LOCAL_DNS:
            yield warn(
                f"{what}; IPVS takes their packets, so they bypass the node's DNS cache",
                "with IPVS, NodeLocal DNSCache must listen only on 169.254.20.10 (`-localip 169.254.20.10`), and "
                "kubelet's `clusterDNS` must name that address",
            )
        else:
            yield warn(what, f"remove them, for example with `ip address del {addresses[0]} dev {link}`")


def vip_of_other_node(node: NodeSnapshot) -> Iterator[Trouble]:
    """Find VIPs that are addresses of other nodes, which this node then cannot reach."""
    own = node.own_addresses
    wanted = node.vips | {s.key.address for s in node.virtual_servers}
    for name, addresses in sorted(node.nodes.items()):
        if own.intersection(addresses):
            continue  # this node itself
        for address in sorted(wanted.intersection(addresses)):
            yield fail(
                f"Service address {address} is the address of node {name}, which this node can no longer reach",
                f"remove {address} from `externalIPs` or the load balancer's addresses, then run "
                f"`ip address del {address} dev {DUMMY_INTERFACE}`",
            )


def mtu(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the MTU of tunnels: packets that do not fit into the uplink are lost."""
    uplinks = [node.mtu[name] for name in _uplink_names(node) if name in node.mtu]
    if not uplinks:
        return
    least = min(uplinks)
    for link in node.links:
        overhead, present = _OVERHEAD.get(link.kind), node.mtu.get(link.name)
        if overhead and present and present > least - overhead:
            yield warn(
                f"interface `{link.name}` ({link.kind}) has MTU {present}, but the uplink's {least} leaves only "
                f"{least - overhead}: large packets are lost",
                f"set the network plugin's MTU to {least - overhead} or less and restart the pods",
            )


def rp_filter(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check reverse path filtering: with several uplinks, strict filtering may drop packets."""
    uplinks = _uplink_names(node)
    everywhere = node.number("net/ipv4/conf/all/rp_filter") or 0
    strict = [n for n in uplinks if max(everywhere, node.number(f"net/ipv4/conf/{n}/rp_filter") or 0) == _STRICT]
    if strict and len(uplinks) > 1:
        yield warn(
            f"rp_filter is strict on {enumerate_few(strict)}, and the node has {len(uplinks)} uplinks: packets to "
            "Services that arrive on one and leave on another are dropped",
            "run `sysctl -w net.ipv4.conf.all.rp_filter=2` (loose), and add it to /etc/sysctl.d",
        )


def bridge_netfilter(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check br_netfilter: without it, answers between pods on one bridge bypass the rules."""
    bridges = [
        link.name for link in node.links if link.kind == "bridge" and not link.name.startswith(("docker", "br-"))
    ]
    if not bridges:
        return
    wrong = [
        name
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")
        if node.number(f"net/bridge/{name}") != 1
    ]
    if wrong:
        settings = " ".join(f"net.bridge.{name}=1" for name in wrong)
        yield warn(
            f"{' and '.join(wrong)} are off: on bridge {enumerate_few(bridges)} a pod cannot reach a Service whose "
            "endpoint is on the same bridge",
            f"run `modprobe br_netfilter && sysctl -w {settings}`, and add both to /etc/modules-load.d and "
            "/etc/sysctl.d (not needed if no pods are on these bridges)",
        )


def _uplink_names(node: NodeSnapshot) -> list[str]:
    """Return the uplinks: interfaces of default routes, and others whose addresses do not belong to pods."""
    with_address = {a.link_name for a in node.addresses if not a.address.is_link_local}
    return sorted(
        link.name
        for link in node.links
        if link.name in node.default_route_links or (link.name in with_address and _may_be_uplink(link))
    )


def _may_be_uplink(link: Link) -> bool:
    return link.kind not in _NO_UPLINK_KINDS and not link.name.startswith(_NO_UPLINK_NAMES)
