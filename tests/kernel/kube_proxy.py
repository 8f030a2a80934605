"""What kube-proxy in IPVS mode has in the kernel for one Service and one that was deleted meanwhile.

Written from the rules of the behaviour specification: conditional rules stand only where their set has entries, and
there is a rule for each load balancer address that excludes the node (IPT-80).
"""

from __future__ import annotations

from kernel.node import Node

SETS = """\
create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536 -exist
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536 -exist
create KUBE-LOAD-BALANCER hash:ip,port family inet hashsize 1024 maxelem 65536 -exist
create KUBE-EXTERNAL-IP hash:ip,port family inet hashsize 1024 maxelem 65536 -exist
create KUBE-EXTERNAL-IP-LOCAL hash:ip,port family inet hashsize 1024 maxelem 65536 -exist
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535 -exist
create KUBE-HEALTH-CHECK-NODE-PORT bitmap:port range 0-65535 -exist
create KUBE-IPVS-IPS hash:ip family inet hashsize 1024 maxelem 65536 -exist
add KUBE-LOOP-BACK 10.244.0.11,tcp:8080,10.244.0.11 -exist
add KUBE-LOOP-BACK 10.244.0.12,tcp:8080,10.244.0.12 -exist
add KUBE-CLUSTER-IP {vip},tcp:80 -exist
add KUBE-CLUSTER-IP {gone},tcp:80 -exist
add KUBE-NODE-PORT-TCP 30080 -exist
add KUBE-IPVS-IPS {vip} -exist
add KUBE-IPVS-IPS {gone} -exist
"""

RULES = """\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN
-A KUBE-SERVICES -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" \
-m set --match-set KUBE-CLUSTER-IP dst,dst ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" \
-m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" \
-m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x00004000/0x00004000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x00004000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x00004000/0x00004000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" \
-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" \
-m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT
-A KUBE-SOURCE-RANGES-FIREWALL -j DROP
-A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN
-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT
-A KUBE-IPVS-OUT-FILTER -s {gone}/32 -p tcp -m tcp --sport 80 -j DROP
COMMIT
"""

JUMPS = (
    ("nat", "PREROUTING", "kubernetes service portals", "KUBE-SERVICES"),
    ("nat", "OUTPUT", "kubernetes service portals", "KUBE-SERVICES"),
    ("nat", "POSTROUTING", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
    ("filter", "INPUT", "kubernetes health check rules", "KUBE-NODE-PORT"),
    ("filter", "INPUT", "kube-proxy firewall rules", "KUBE-PROXY-FIREWALL"),
    ("filter", "INPUT", "kubernetes ipvs access filter", "KUBE-IPVS-FILTER"),
    ("filter", "FORWARD", "kubernetes forwarding rules", "KUBE-FORWARD"),
    ("filter", "FORWARD", "kube-proxy firewall rules", "KUBE-PROXY-FIREWALL"),
    ("filter", "OUTPUT", "kubernetes ipvs access filter", "KUBE-IPVS-OUT-FILTER"),
)


def write_virtual_servers(node: Node, vip: str, gone: str) -> None:
    """kube-proxy's first act: dummy interface and IPVS (SYN-08)."""
    node.run("modprobe", "-a", "ip_vs", "ip_vs_rr")
    node.run("sysctl", "-qw", "net.ipv4.vs.conntrack=1", "net.ipv4.ip_forward=1")
    node.run("ip", "link", "add", "kube-ipvs0", "type", "dummy")
    for address in (vip, gone):
        node.run("ip", "address", "add", f"{address}/32", "dev", "kube-ipvs0")
    for frontend in (f"{vip}:80", f"{gone}:80", "192.168.60.1:30080"):
        node.run("ipvsadm", "-A", "-t", frontend, "-s", "rr")
        for pod in ("10.244.0.11", "10.244.0.12"):
            node.run("ipvsadm", "-a", "-t", frontend, "-r", f"{pod}:8080", "-m", "-w", "1")


def write_sets_and_rules(node: Node, vip: str, gone: str) -> None:
    """kube-proxy's second act; it may be repeated, and flushes and fills its chains each time (IPT-01, IPT-02)."""
    node.run("ipset", "restore", stdin=SETS.format(vip=vip, gone=gone))
    node.run(f"iptables-{node.variant}-restore", "--noflush", stdin=RULES.format(vip=vip, gone=gone))
    for table, chain, comment, target in JUMPS:
        rule = (chain, "-m", "comment", "--comment", comment, "-j", target)
        present = node.topology.node.attempt(f"iptables-{node.variant}", "-t", table, "-C", *rule)
        if present.returncode:
            node.run(f"iptables-{node.variant}", "-t", table, "-I", *rule)
