"""A Kubernetes node in network namespaces: pods behind a bridge, a second node and a client outside.

          client                   node2 (holds one remote pod)
        192.168.60.2             192.168.60.3, 10.244.1.11
        fd00:60::2               fd00:60::3, fd00:244:1::11
             |                        |
           --+---- a switch ----------+--   a separate namespace: the node does not see its traffic
                       |
                      ext0                  192.168.60.1 / fd00:60::1
                       node                 its own namespace; the agent's work happens here
           --+---- bridge br0 --------+--   10.244.0.1 / fd00:244::1
             |            |           |
            p1 .11       p2 .12      p3 .13      (10.244.0.x, fd00:244::x)

Every pod serves port 8080 (see `lab.traffic`). IPVS state, sysctls below net, ipsets, rules, connection tracking and
addresses all belong to a namespace, so for the agent each topology is a separate machine.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.namespaces import Namespace
from lab.traffic import Servers
from pyroute2 import IPRoute

NODE_NAME = "node-1"
NODE_ADDRESS, NODE_ADDRESS_6 = "192.168.60.1", "fd00:60::1"
BRIDGE_ADDRESS, BRIDGE_ADDRESS_6 = "10.244.0.1", "fd00:244::1"
CLUSTER_NETWORKS = ("10.244.0.0/16", "fd00:244::/32")
POD_PORT = 8080

POD_ADDRESSES = {"p1": "10.244.0.11", "p2": "10.244.0.12", "p3": "10.244.0.13", "remote": "10.244.1.11"}
POD_ADDRESSES_6 = {"p1": "fd00:244::11", "p2": "fd00:244::12", "p3": "fd00:244::13", "remote": "fd00:244:1::11"}

_HOST_NUMBERS = {"p1": 11, "p2": 12, "p3": 13, "client": 2, "node2": 3}
_NO_DUPLICATE_DETECTION = 0x02  # IFA_F_NODAD
_LOCAL_PODS = ("p1", "p2", "p3")
_MODULES = ("br_netfilter", "dummy", "veth", "bridge", "nf_conntrack", "sctp")
# What a network plugin and the distribution set up on a real node; the agent's own settings are left to it.
_NODE_SYSCTLS = {
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
    # ICMP errors are limited to a few a second for each client, which a test that is refused often would wait for.
    "net/ipv4/icmp_ratemask": "0",
    "net/ipv6/icmp/ratemask": "255",  # a type that does not exist
}


def load_modules() -> None:
    """Load the modules that a topology needs; call it once, before the first topology is built."""
    subprocess.run(("modprobe", "-qa", *_MODULES), check=False)  # what is built in or missing shows when it is used


class Topology:
    """The namespaces, wired and with servers running, until `close`.

    Attributes:
        node: where the agent works.
        pods: p1, p2 and p3 on this node.
        client: a machine outside of the cluster.
        node2: another node, which holds the pod `remote`.
    """

    def __init__(self) -> None:
        self.node = Namespace()
        self.pods = {name: Namespace() for name in _LOCAL_PODS}
        self.client = Namespace()
        self.node2 = Namespace()
        self._switch = Namespace()
        self._build()
        self.servers = Servers()
        for name, where in self.pods.items():
            self.servers.add(where, name, POD_PORT)
        self.servers.add(self.node2, "remote", POD_PORT)
        self.servers.start()

    def close(self) -> None:
        """Stop the servers and close the namespaces."""
        self.servers.close()
        for where in (self.node, self._switch, *self._others().values()):
            where.close()

    def _others(self) -> dict[str, Namespace]:
        return {**self.pods, "client": self.client, "node2": self.node2}

    def _build(self) -> None:
        with self.node.inside():
            for key, value in _NODE_SYSCTLS.items():
                Path("/proc/sys", key).write_text(value, encoding="ascii")
        with _links(self._switch) as links:
            switch = links.add_bridge("lan0")
            links.add_pair("vnode", switch, self.node, "ext0")
            for name, where in (("client", self.client), ("node2", self.node2)):
                links.add_pair(f"v{name}", switch, where, "eth0")
        with _links(self.node) as links:
            self._configure_node(links)
        for name, where in self._others().items():
            with _links(where) as links:
                _configure_host(links, name)

    def _configure_node(self, links: _Links) -> None:
        links.up("lo")
        bridge = links.add_bridge("br0")
        links.add_address("br0", BRIDGE_ADDRESS, 24)
        links.add_address("br0", BRIDGE_ADDRESS_6, 64)
        links.add_address("ext0", NODE_ADDRESS, 24)
        links.add_address("ext0", NODE_ADDRESS_6, 64)
        links.up("ext0")
        for name, where in self.pods.items():
            links.add_pair(f"v{name}", bridge, where, "eth0", hairpin=True)  # or a pod cannot reach itself
        links.add_route("10.244.1.0/24", "192.168.60.3")
        links.add_route("fd00:244:1::/64", "fd00:60::3")


class _Links:
    """Interfaces, addresses and routes of the namespace in which the thread is; over netlink, as `ip` would set them.

    The programs for one topology would take several times longer, half a second in user-mode Linux.
    """

    def __init__(self, netlink: IPRoute) -> None:
        self._netlink = netlink

    def up(self, name: str) -> None:
        self._netlink.link("set", index=socket.if_nametoindex(name), state="up")

    def add_bridge(self, name: str) -> int:
        """Return the index of the interface, which is up."""
        self._netlink.link("add", ifname=name, kind="bridge", br_forward_delay=0)
        self.up(name)
        return socket.if_nametoindex(name)

    def add_pair(self, name: str, bridge: int, where: Namespace, far_name: str, *, hairpin: bool = False) -> None:
        """Wire a bridge to another namespace; the far end stays down."""
        peer = {"ifname": far_name, "net_ns_fd": where.descriptor}
        self._netlink.link("add", ifname=name, kind="veth", peer=peer)
        index = socket.if_nametoindex(name)
        self._netlink.link("set", index=index, master=bridge, state="up")
        if hairpin:
            self._netlink.brport("set", index=index, mode=1)

    def add_address(self, name: str, address: str, length: int) -> None:
        flags = _NO_DUPLICATE_DETECTION if ":" in address else 0
        index = socket.if_nametoindex(name)
        self._netlink.addr("add", index=index, address=address, prefixlen=length, flags=flags)

    def add_route(self, destination: str, gateway: str) -> None:
        family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
        self._netlink.route("add", dst=destination, gateway=gateway, family=family)


@contextlib.contextmanager
def _links(where: Namespace) -> Iterator[_Links]:
    with where.inside(), IPRoute() as netlink:
        yield _Links(netlink)


def _configure_host(links: _Links, name: str) -> None:
    number = _HOST_NUMBERS[name]
    pod = name in _LOCAL_PODS
    net, net_6 = ("10.244.0", "fd00:244:") if pod else ("192.168.60", "fd00:60:")
    links.up("lo")
    links.add_address("eth0", f"{net}.{number}", 24)
    links.add_address("eth0", f"{net_6}:{number}", 64)
    links.up("eth0")
    links.add_route("default", f"{net}.1")
    links.add_route("default", f"{net_6}:1")
    if name == "node2":
        links.add_address("lo", POD_ADDRESSES["remote"], 32)
        links.add_address("lo", POD_ADDRESSES_6["remote"], 128)
