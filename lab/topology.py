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

import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.namespaces import Namespace
from lab.traffic import Servers

NODE_NAME = "node-1"
NODE_ADDRESS, NODE_ADDRESS_6 = "192.168.60.1", "fd00:60::1"
BRIDGE_ADDRESS, BRIDGE_ADDRESS_6 = "10.244.0.1", "fd00:244::1"
CLUSTER_NETWORKS = ("10.244.0.0/16", "fd00:244::/32")
POD_PORT = 8080

POD_ADDRESSES = {"p1": "10.244.0.11", "p2": "10.244.0.12", "p3": "10.244.0.13", "remote": "10.244.1.11"}
POD_ADDRESSES_6 = {"p1": "fd00:244::11", "p2": "fd00:244::12", "p3": "fd00:244::13", "remote": "fd00:244:1::11"}

_HOST_NUMBERS = {"p1": 11, "p2": 12, "p3": 13, "client": 2, "node2": 3}
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
        others = self._others()
        _ip(self._switch, _switch_links(self.node, {"client": self.client, "node2": self.node2}))
        _ip(self.node, _node_links(self.pods))
        for name, where in others.items():
            _ip(where, _host_addresses(name))


def _ip(where: Namespace, commands: Iterator[str]) -> None:
    where.run("ip", "-batch", "-", stdin="\n".join(commands) + "\n")


def _switch_links(node: Namespace, machines: dict[str, Namespace]) -> Iterator[str]:
    yield "link add lan0 type bridge forward_delay 0"
    yield "link set lan0 up"
    yield f"link add vnode type veth peer name ext0 netns {node.path}"
    yield "link set vnode master lan0 up"
    for name, where in machines.items():
        yield f"link add v{name} type veth peer name eth0 netns {where.path}"
        yield f"link set v{name} master lan0 up"


def _node_links(pods: dict[str, Namespace]) -> Iterator[str]:
    yield "link set lo up"
    yield "link add br0 type bridge forward_delay 0"
    yield f"addr add {BRIDGE_ADDRESS}/24 dev br0"
    yield f"addr add {BRIDGE_ADDRESS_6}/64 dev br0 nodad"
    yield f"addr add {NODE_ADDRESS}/24 dev ext0"
    yield f"addr add {NODE_ADDRESS_6}/64 dev ext0 nodad"
    yield "link set br0 up"
    yield "link set ext0 up"
    for name, where in pods.items():
        yield f"link add v{name} type veth peer name eth0 netns {where.path}"
        yield f"link set v{name} master br0 up"
        yield f"link set v{name} type bridge_slave hairpin on"  # or a pod cannot reach itself
    yield "route add 10.244.1.0/24 via 192.168.60.3"
    yield "route add fd00:244:1::/64 via fd00:60::3"


def _host_addresses(name: str) -> Iterator[str]:
    number = _HOST_NUMBERS[name]
    pod = name in _LOCAL_PODS
    net, net_6 = ("10.244.0", "fd00:244:") if pod else ("192.168.60", "fd00:60:")
    yield "link set lo up"
    yield f"addr add {net}.{number}/24 dev eth0"
    yield f"addr add {net_6}:{number}/64 dev eth0 nodad"
    yield "link set eth0 up"
    yield f"route add default via {net}.1"
    yield f"route add default via {net_6}:1"
    if name == "node2":
        yield f"addr add {POD_ADDRESSES['remote']}/32 dev lo"
        yield f"addr add {POD_ADDRESSES_6['remote']}/128 dev lo nodad"
