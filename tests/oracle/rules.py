"""The rules of one family as text, from the IPT rules and the DEV rules.

Every rule stands always (IPT-06, DEV-05). IPT-29 leaves the VIPs out; IPT-80 is replaced by the chain of IPT-94.
"""

from __future__ import annotations

import re

from ipvsagent.config.types import Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.model.address import Family
from ipvsagent.model.objects import Node
from oracle.planner import set_named

COMMENTS = {
    "KUBE-LOOP-BACK": "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose",
    "KUBE-CLUSTER-IP": "Kubernetes service cluster ip + port for masquerade purpose",
    "KUBE-EXTERNAL-IP": "Kubernetes service external ip + port for masquerade and filter purpose",
    "KUBE-EXTERNAL-IP-LOCAL": "Kubernetes service external ip + port with externalTrafficPolicy=local",
    "KUBE-LOAD-BALANCER": "Kubernetes service lb portal",
    "KUBE-LOAD-BALANCER-FW": "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    "KUBE-LOAD-BALANCER-LOCAL": "Kubernetes service load balancer ip + port with externalTrafficPolicy=local",
    "KUBE-LOAD-BALANCER-SOURCE-IP": (
        "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
    ),
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": (
        "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
    ),
    "KUBE-NODE-PORT-TCP": "Kubernetes nodeport TCP port for masquerade purpose",
    "KUBE-NODE-PORT-LOCAL-TCP": "Kubernetes nodeport TCP port with externalTrafficPolicy=local",
    "KUBE-NODE-PORT-UDP": "Kubernetes nodeport UDP port for masquerade purpose",
    "KUBE-NODE-PORT-LOCAL-UDP": "Kubernetes nodeport UDP port with externalTrafficPolicy=local",
    "KUBE-NODE-PORT-SCTP-HASH": "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH": (
        "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'"
    ),
    "KUBE-HEALTH-CHECK-NODE-PORT": "Kubernetes health check node port",
}
"""Comments of the SET rules, by IPv4 name."""

RULES = """
nat PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
nat OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
nat POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
filter INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
filter INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
filter INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
filter FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
filter FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
filter OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
mangle OUTPUT -m comment --comment "kubernetes load balancer source ranges" -j KUBE-IPVS-SOURCE-RANGES
nat KUBE-SERVICES -s LOOPBACK -j RETURN
nat KUBE-SERVICES C(KUBE-LOAD-BALANCER) dst,dst -j KUBE-LOAD-BALANCER
nat KUBE-SERVICES CLUSTER-IP-MATCH -j KUBE-MARK-MASQ
nat KUBE-SERVICES C(KUBE-EXTERNAL-IP) dst,dst -j KUBE-MARK-MASQ
nat KUBE-SERVICES C(KUBE-EXTERNAL-IP) dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT
nat KUBE-SERVICES C(KUBE-EXTERNAL-IP) dst,dst -m addrtype --dst-type LOCAL -j ACCEPT
nat KUBE-SERVICES C(KUBE-EXTERNAL-IP-LOCAL) dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT
nat KUBE-SERVICES C(KUBE-EXTERNAL-IP-LOCAL) dst,dst -m addrtype --dst-type LOCAL -j ACCEPT
nat KUBE-SERVICES -m set ! --match-set S(KUBE-IPVS-IPS) dst -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
nat KUBE-SERVICES -m set --match-set S(KUBE-CLUSTER-IP) dst,dst -j ACCEPT
nat KUBE-SERVICES -m set --match-set S(KUBE-LOAD-BALANCER) dst,dst -j ACCEPT
nat KUBE-LOAD-BALANCER C(KUBE-LOAD-BALANCER-LOCAL) dst,dst -j RETURN
nat KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
nat KUBE-NODE-PORT -p tcp C(KUBE-NODE-PORT-LOCAL-TCP) dst -j RETURN
nat KUBE-NODE-PORT -p tcp C(KUBE-NODE-PORT-TCP) dst -j KUBE-MARK-MASQ
nat KUBE-NODE-PORT -p udp C(KUBE-NODE-PORT-LOCAL-UDP) dst -j RETURN
nat KUBE-NODE-PORT -p udp C(KUBE-NODE-PORT-UDP) dst -j KUBE-MARK-MASQ
nat KUBE-NODE-PORT -p sctp C(KUBE-NODE-PORT-LOCAL-SCTP-HASH) dst,dst -j RETURN
nat KUBE-NODE-PORT -p sctp C(KUBE-NODE-PORT-SCTP-HASH) dst,dst -j KUBE-MARK-MASQ
nat KUBE-POSTROUTING C(KUBE-LOOP-BACK) dst,dst,src -j MASQUERADE
nat KUBE-POSTROUTING -m mark ! --mark MARK -j RETURN
nat KUBE-POSTROUTING -j MARK --set-xmark UNMARK
nat KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
nat KUBE-MARK-MASQ -j MARK --set-xmark MARK
filter KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark MARK -j ACCEPT
filter KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
filter KUBE-NODE-PORT C(KUBE-HEALTH-CHECK-NODE-PORT) dst -j ACCEPT
filter KUBE-PROXY-FIREWALL C(KUBE-LOAD-BALANCER-FW) dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
filter KUBE-SOURCE-RANGES-FIREWALL C(KUBE-LOAD-BALANCER-SOURCE-CIDR) dst,dst,src -j RETURN
filter KUBE-SOURCE-RANGES-FIREWALL C(KUBE-LOAD-BALANCER-SOURCE-IP) dst,dst,src -j RETURN
filter KUBE-SOURCE-RANGES-FIREWALL -j DROP
filter KUBE-IPVS-FILTER -m set --match-set S(KUBE-LOAD-BALANCER) dst,dst -j RETURN
filter KUBE-IPVS-FILTER -m set --match-set S(KUBE-CLUSTER-IP) dst,dst -j RETURN
filter KUBE-IPVS-FILTER -m set --match-set S(KUBE-EXTERNAL-IP) dst,dst -j RETURN
filter KUBE-IPVS-FILTER -m set --match-set S(KUBE-EXTERNAL-IP-LOCAL) dst,dst -j RETURN
filter KUBE-IPVS-FILTER -m set --match-set S(KUBE-HEALTH-CHECK-NODE-PORT) dst -j RETURN
filter KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set S(KUBE-IPVS-IPS) dst -j REJECT --reject-with UNREACHABLE
mangle KUBE-IPVS-SOURCE-RANGES -m set --match-set S(KUBE-LOAD-BALANCER-SOURCE-CIDR) dst,dst,src -j RETURN
mangle KUBE-IPVS-SOURCE-RANGES -m set --match-set S(KUBE-LOAD-BALANCER-SOURCE-IP) dst,dst,src -j RETURN
mangle KUBE-IPVS-SOURCE-RANGES -m set --match-set S(KUBE-LOAD-BALANCER-FW) dst,dst -j DROP
"""  # noqa: E501 - as iptables-save prints them
"""IPT-10 to IPT-75 and IPT-94 in the order of each chain, as saved; C(...) is a comment with its set."""


def expected_rules(settings: Settings, family: Family, node: Node | None) -> list[str]:
    """All rules and jumps, each as ``TABLE CHAIN RULE``, in the order of each chain."""
    mark = f"{1 << settings.masquerade_bit:#x}"  # IPT-04
    words = {
        "LOOPBACK": "127.0.0.0/8" if family is Family.IPV4 else "::1/128",  # IPT-90
        "UNREACHABLE": "icmp-port-unreachable" if family is Family.IPV4 else "icmp6-port-unreachable",
        "CLUSTER-IP-MATCH": cluster_ip_match(settings, family, node),
        "UNMARK": f"{mark}/0x0",
        "MARK": f"{mark}/{mark}",
    }
    text = RULES.strip()
    for word in ("LOOPBACK", "UNREACHABLE", "CLUSTER-IP-MATCH"):
        text = text.replace(word, words[word])
    text = re.sub(r"(--mark|--set-xmark) (MARK|UNMARK)", lambda m: f"{m[1]} {words[m[2]]}", text)
    text = re.sub(r"C\(([A-Z-]+)\)", lambda m: f"{comment(m[1])} -m set --match-set S({m[1]})", text)
    text = re.sub(r"S\(([A-Z-]+)\)", lambda m: set_named(m[1], family), text)
    return text.splitlines()


def cluster_ip_match(settings: Settings, family: Family, node: Node | None) -> str:
    """IPT-23a to IPT-23c with LOC-01 to LOC-04; matches of source and interface stand in front (IPT-07)."""
    match = "C(KUBE-CLUSTER-IP) dst,dst"
    if settings.masquerade_all:
        return match
    detection = settings.local_detection
    match detection.mode:
        case LocalDetectionMode.CLUSTER_CIDR:
            networks = detection.cluster_networks
        case LocalDetectionMode.NODE_CIDR:
            networks = node.pod_networks if node else ()
        case LocalDetectionMode.BRIDGE_INTERFACE:
            return f"! -i {detection.bridge_interface} C(KUBE-CLUSTER-IP) dst,dst"
        case LocalDetectionMode.INTERFACE_NAME_PREFIX:
            return f"! -i {detection.interface_name_prefix}+ C(KUBE-CLUSTER-IP) dst,dst"
    network = next((n for n in networks if n.family is family), None)
    return f"! -s {network} C(KUBE-CLUSTER-IP) dst,dst" if network else "C(KUBE-CLUSTER-IP) src,dst"


def comment(name: str) -> str:
    """The comment of a set's rules; quotes as the nft flavour prints them (IPT-93)."""
    quoted = COMMENTS[name].replace("'", "\\'")
    return f'-m comment --comment "{quoted}"'
