"""A healthy node, of which tests break one thing at a time."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.doctor.checks.kernel import REQUIRED_MODULES
from ipvsagent.doctor.snapshot import ModuleState, NodeSnapshot, Process, SavedRules
from ipvsagent.kernel.iptables.text import split_words
from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.state import (
    IpvsTimeouts,
    Link,
    LinkAddress,
    ObservedRealServer,
    ObservedSet,
    ObservedVirtualServer,
    VirtualServerKey,
)

VIP, NODE, POD = Address.parse("10.96.0.10"), Address.parse("192.168.60.1"), Address.parse("10.244.0.11")
SETTINGS = Settings(local_detection=LocalDetection(cluster_networks=(Network.parse("10.244.0.0/16"),)))


def server(address: Address = VIP, port: int = 80, real_servers: int = 1) -> ObservedVirtualServer:
    """A virtual server."""
    reals = tuple(ObservedRealServer(POD, 1 + i) for i in range(real_servers))
    return ObservedVirtualServer(VirtualServerKey(Protocol.TCP, address, port), "rr", real_servers=reals)


def saved(
    *lines: str, variant: str = "legacy", family: Family = Family.IPV4, policy: str = "ACCEPT", table: str = "filter"
) -> SavedRules:
    """Rules of one table, as ``-A CHAIN …`` lines."""
    chains: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        _, chain, *words = split_words(line)
        chains[chain] = (*chains.get(chain, ()), *([tuple(words)] if words else ()))
    return SavedRules(variant, family, {table: chains}, {"filter INPUT": policy})


def running(*words: str) -> dict[str, Any]:
    """The field of a node on which this program runs."""
    return {"processes": (Process(1, ("/sbin/init",)), Process(7, words))}


def sysctls(**changes: str) -> dict[str, Any]:
    """The field of a node with some kernel settings changed; double underscores stand for slashes."""
    return {"sysctls": {**HEALTHY.sysctls, **{k.replace("__", "/"): v for k, v in changes.items()}}}


def broken(**fields: Any) -> NodeSnapshot:
    """The healthy node with some fields replaced."""
    return replace(HEALTHY, **fields)


HEALTHY = NodeSnapshot(
    name="node-1",
    settings=SETTINGS,
    kernel_release="6.1.0-56-amd64",
    cpus=4,
    modules={**dict.fromkeys(REQUIRED_MODULES, ModuleState.LOADED), "ip_vs_rr": ModuleState.LOADED},
    schedulers=("lc", "rr", "wlc"),
    capabilities=(1 << 12) | (1 << 16),
    rules=(saved("-A INPUT -j KUBE-NODE-PORT"), saved(variant="nft")),
    virtual_servers=(server(),),
    node_ports=(30080,),
    connection_table_size=4096,
    connections=100,
    timeouts=IpvsTimeouts(7875, 120, 300),
    links=(Link(1, "lo"), Link(2, "eth0"), Link(3, "kube-ipvs0", "dummy"), Link(4, "flannel.1", "vxlan")),
    addresses=(
        LinkAddress("lo", Address.parse("127.0.0.1"), 8),
        LinkAddress("eth0", NODE, 24),
        LinkAddress("kube-ipvs0", VIP, 32),
    ),
    mtu={"lo": 65536, "eth0": 1500, "kube-ipvs0": 1500, "flannel.1": 1450},
    default_route_links=("eth0",),
    ip_sets=(ObservedSet("KUBE-CLUSTER-IP", "hash:ip,port", Family.IPV4, max_elements=65536, entries=1),),
    sysctls={
        "net/ipv4/vs/conntrack": "1",
        "net/ipv4/vs/conn_reuse_mode": "1",
        "net/ipv4/vs/expire_nodest_conn": "1",
        "net/ipv4/vs/expire_quiescent_template": "1",
        "net/ipv4/vs/run_estimation": "1",
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/forwarding": "1",
        "net/ipv4/tcp_keepalive_time": "7200",
        "net/ipv4/tcp_keepalive_intvl": "75",
        "net/ipv4/tcp_keepalive_probes": "9",
        "net/ipv4/conf/all/arp_ignore": "0",
        "net/ipv4/conf/all/arp_announce": "0",
        "net/ipv4/conf/all/rp_filter": "0",
        "net/ipv4/conf/eth0/rp_filter": "1",
        "net/netfilter/nf_conntrack_count": "100",
        "net/netfilter/nf_conntrack_max": "262144",
    },
    processes=(Process(1, ("/sbin/init",)),),
    api_seconds=0.01,
    api_server="https://10.0.0.1:6443",
    nodes={"node-1": (NODE,), "node-2": (Address.parse("192.168.60.2"),)},
)
