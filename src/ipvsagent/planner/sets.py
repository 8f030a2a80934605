"""The ipsets of each family: names, types and the comments of the rules that match them (SET rules).

The sets exist from the start and stay, even if they are empty; only their entries depend on Services. The 17 sets that
rules match have kube-proxy's names, so that its rules and ours can replace each other.

No rule matches the last set. It is a note for the next start of the agent: the node addresses that have virtual servers
for node ports. With it the agent recognises these virtual servers even if the address was removed while it was down.
"""

from __future__ import annotations

from functools import lru_cache

from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.state import SetSpec, SetType

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
LOAD_BALANCER_SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
LOAD_BALANCER_SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
NODE_PORT_TCP = "KUBE-NODE-PORT-TCP"
NODE_PORT_LOCAL_TCP = "KUBE-NODE-PORT-LOCAL-TCP"
NODE_PORT_UDP = "KUBE-NODE-PORT-UDP"
NODE_PORT_LOCAL_UDP = "KUBE-NODE-PORT-LOCAL-UDP"
NODE_PORT_SCTP = "KUBE-NODE-PORT-SCTP-HASH"
NODE_PORT_LOCAL_SCTP = "KUBE-NODE-PORT-LOCAL-SCTP-HASH"
HEALTH_CHECK_NODE_PORT = "KUBE-HEALTH-CHECK-NODE-PORT"
IPVS_IPS = "KUBE-IPVS-IPS"
NODE_PORT_IPS = "IPVSAGENT-NODE-PORT-IPS"

NODE_PORT_SETS = {
    Protocol.TCP: (NODE_PORT_TCP, NODE_PORT_LOCAL_TCP),
    Protocol.UDP: (NODE_PORT_UDP, NODE_PORT_LOCAL_UDP),
    Protocol.SCTP: (NODE_PORT_SCTP, NODE_PORT_LOCAL_SCTP),
}
"""By protocol: the set of all node ports, the set of those with external traffic policy Local (SET-10 to 15)."""

COMMENTS = {
    LOOP_BACK: "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    CLUSTER_IP: "Kubernetes service cluster ip + port for masquerade purpose",
    EXTERNAL_IP: "Kubernetes service external ip + port for masquerade and filter purpose",
    EXTERNAL_IP_LOCAL: "Kubernetes service external ip + port with externalTrafficPolicy=local",
    LOAD_BALANCER: "Kubernetes service lb portal",
    LOAD_BALANCER_FW: "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    LOAD_BALANCER_LOCAL: "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
    LOAD_BALANCER_SOURCE_IP: "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
    LOAD_BALANCER_SOURCE_CIDR: "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
    NODE_PORT_TCP: "Kubernetes nodeport TCP port for masquerade purpose",
    NODE_PORT_LOCAL_TCP: "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
    NODE_PORT_UDP: "Kubernetes nodeport UDP port for masquerade purpose",
    NODE_PORT_LOCAL_UDP: "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
    NODE_PORT_SCTP: "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    NODE_PORT_LOCAL_SCTP: "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
    HEALTH_CHECK_NODE_PORT: "Kubernetes health check node port",
    IPVS_IPS: "Addresses on the ipvs interface",
}
"""By base name: the comment of the rules that match the set."""

_TYPES = {
    LOOP_BACK: SetType.HASH_IP_PORT_IP,
    CLUSTER_IP: SetType.HASH_IP_PORT,
    EXTERNAL_IP: SetType.HASH_IP_PORT,
    EXTERNAL_IP_LOCAL: SetType.HASH_IP_PORT,
    LOAD_BALANCER: SetType.HASH_IP_PORT,
    LOAD_BALANCER_FW: SetType.HASH_IP_PORT,
    LOAD_BALANCER_LOCAL: SetType.HASH_IP_PORT,
    LOAD_BALANCER_SOURCE_IP: SetType.HASH_IP_PORT_IP,
    LOAD_BALANCER_SOURCE_CIDR: SetType.HASH_IP_PORT_NET,
    NODE_PORT_TCP: SetType.BITMAP_PORT,
    NODE_PORT_LOCAL_TCP: SetType.BITMAP_PORT,
    NODE_PORT_UDP: SetType.BITMAP_PORT,
    NODE_PORT_LOCAL_UDP: SetType.BITMAP_PORT,
    NODE_PORT_SCTP: SetType.HASH_IP_PORT,
    NODE_PORT_LOCAL_SCTP: SetType.HASH_IP_PORT,
    HEALTH_CHECK_NODE_PORT: SetType.BITMAP_PORT,
    IPVS_IPS: SetType.HASH_IP,
    NODE_PORT_IPS: SetType.HASH_IP,
}

_NAME_LENGTH = 31  # IPSET_MAXNAMELEN without the closing zero byte


@lru_cache(maxsize=64)
def set_name(base: str, family: Family) -> str:
    """Return the name of a set in a family: IPv6 names contain ``6-`` and are cut to the kernel's limit."""
    if family is Family.IPV4:
        return base
    owner, _, rest = base.partition("-")
    return f"{owner}-6-{rest}"[:_NAME_LENGTH]


NOTES = frozenset(set_name(NODE_PORT_IPS, family) for family in Family)
"""The sets that no rule matches."""


def set_specs(family: Family) -> tuple[SetSpec, ...]:
    """Return all sets of a family, in the order SET-01 to SET-18; each family has its own bitmaps."""
    return tuple(
        SetSpec(set_name(base, family), kind, None if kind is SetType.BITMAP_PORT else family)
        for base, kind in _TYPES.items()
    )
