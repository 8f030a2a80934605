"""The rules: their text, and what they do to packets (sections 7 and 14 of the specification)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.model.address import Family, Network, Protocol
from ipvsagent.model.objects import Service
from ipvsagent.planner.rules import plan_rules
from ipvsagent.render import render_rules
from scenarios.facts import plan
from support.builders import endpoint, endpoint_slice, port, service
from support.tracer import Outcome, Packet, Tracer

NODE_ADDRESS = "192.168.60.1"
POD = "10.244.0.11"  # on this node, behind the Service
OTHER_POD = "10.244.0.12"
CLIENT = "198.51.100.7"
CLUSTER_IP = "10.96.0.10"
EXTERNAL_IP = "203.0.113.1"
LOAD_BALANCER_IP = "203.0.113.2"

NETWORKS = (Network.parse("10.244.0.0/16"), Network.parse("fd00:244::/56"))
SETTINGS = Settings(local_detection=LocalDetection(cluster_networks=NETWORKS))

ACCEPTED = Outcome("accepted", masqueraded=False, destination=f"{POD}:8080")
MASQUERADED = Outcome("accepted", masqueraded=True, destination=f"{POD}:8080")
DROPPED = Outcome("dropped")
REJECTED = Outcome("rejected")


def node(
    *services: Service, settings: Settings = SETTINGS, pod_network: str = "", family: Family = Family.IPV4
) -> Tracer:
    """A node with one local endpoint behind each Service."""
    slices = [endpoint_slice(endpoint(POD, node="node-1"), of=f"shop/{s.key.name}") for s in services]
    rules = plan_rules(settings, family, Network.parse(pod_network) if pod_network else None)
    return Tracer.of(plan(services, *slices), rules, [NODE_ADDRESS, "10.244.0.1"])


def everything(external_policy: str = "Cluster", source_ranges: tuple[str, ...] = ()) -> Service:
    """A Service that is reached in all four ways."""
    return service(
        type="LoadBalancer",
        ports=[port(80, node_port=30080)],
        external_ips=[EXTERNAL_IP],
        load_balancer_ips=[LOAD_BALANCER_IP],
        external_policy=external_policy,
        source_ranges=source_ranges,
    )


def lines(settings: Settings = SETTINGS, family: Family = Family.IPV4, *, random_fully: bool = True) -> list[str]:
    """The rules as text."""
    return list(render_rules(plan_rules(settings, family, None, random_fully=random_fully)))


def chain(name: str) -> list[str]:
    """The rules of one IPv4 chain, without its name and leading comments."""
    start = f"-A {name} "
    found = [line.removeprefix(start) for line in lines() if line.startswith(start)]
    return [text.split('" ', 1)[1] if text.startswith("-m comment") else text for text in found]


def test_the_nat_chains_of_ipv4_read_as_kube_proxys_do() -> None:
    """IPT-20 to IPT-36, IPT-50 to IPT-54, with sets that are still empty (IPT-06)."""
    assert chain("KUBE-SERVICES") == [
        "-s 127.0.0.0/8 -j RETURN",
        "-m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER",
        '! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose"'
        " -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
        "-m set --match-set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ",
        "-m set --match-set KUBE-EXTERNAL-IP dst,dst"
        " -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
        "-m set --match-set KUBE-EXTERNAL-IP dst,dst -m addrtype --dst-type LOCAL -j ACCEPT",
        "-m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst"
        " -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
        "-m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -m addrtype --dst-type LOCAL -j ACCEPT",
        "-m set ! --match-set KUBE-IPVS-IPS dst -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
        "-m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        "-m set --match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT",
    ]
    assert chain("KUBE-LOAD-BALANCER") == [
        "-m set --match-set KUBE-LOAD-BALANCER-LOCAL dst,dst -j RETURN",
        "-j KUBE-MARK-MASQ",
    ]
    assert chain("KUBE-MARK-MASQ") == ["-j MARK --set-xmark 0x4000/0x4000"]
    assert chain("KUBE-POSTROUTING") == [
        "-m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE",
        "-m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        "-j MASQUERADE --random-fully",
    ]


def test_the_filter_and_mangle_chains_read_as_specified() -> None:
    """IPT-55 to IPT-75, IPT-94; KUBE-IPVS-OUT-FILTER stays without rules."""
    assert chain("KUBE-FORWARD") == [
        "-m mark --mark 0x4000/0x4000 -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    assert chain("KUBE-PROXY-FIREWALL") == [
        "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL"
    ]
    assert chain("KUBE-SOURCE-RANGES-FIREWALL") == [
        "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN",
        "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN",
        "-j DROP",
    ]
    assert chain("KUBE-IPVS-FILTER") == [
        "-m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN",
        "-m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN",
        "-m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN",
        "-m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN",
        "-m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN",
        "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable",
    ]
    assert chain("KUBE-IPVS-OUT-FILTER") == []
    assert chain("KUBE-IPVS-SOURCE-RANGES") == [
        "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN",
        "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN",
        "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j DROP",
    ]


def test_node_port_rules_return_for_local_policy_before_they_mark() -> None:
    """IPT-40 to IPT-45, IPT-93: one set a protocol; SCTP also by address; quotes are escaped."""
    assert [line for line in lines() if line.startswith("-A KUBE-NODE-PORT -p sctp")] == [
        '-A KUBE-NODE-PORT -p sctp -m comment --comment "Kubernetes nodeport SCTP port with'
        " externalTrafficPolicy=local with type \\'hash ip:port\\'\""
        " -m set --match-set KUBE-NODE-PORT-LOCAL-SCTP-HASH dst,dst -j RETURN",
        '-A KUBE-NODE-PORT -p sctp -m comment --comment "Kubernetes nodeport SCTP port for masquerade purpose'
        " with type \\'hash ip:port\\'\""
        " -m set --match-set KUBE-NODE-PORT-SCTP-HASH dst,dst -j KUBE-MARK-MASQ",
    ]


def test_jumps_stand_in_the_order_of_a_fresh_start() -> None:
    """IPT-10 to IPT-18, and the jump of IPT-94."""
    builtins = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
    jumps = [line for line in lines() if line.startswith(tuple(f"-A {b} " for b in builtins))]
    assert jumps == [
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        '-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER',
        '-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL',
        '-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT',
        '-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL',
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        '-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER',
        '-A OUTPUT -m comment --comment "kubernetes load balancer source ranges" -j KUBE-IPVS-SOURCE-RANGES',
    ]


def test_ipv6_differs_in_names_loopback_and_message_alone() -> None:
    """IPT-90: chain names, jumps, comments and mark are the same; set names are cut to 31 characters."""
    ipv6 = [
        line.replace("KUBE-6-", "KUBE-")
        .replace("SOURCE-CID ", "SOURCE-CIDR ")
        .replace("LOCAL-SCTP-HAS ", "LOCAL-SCTP-HASH ")
        .replace("::1/128", "127.0.0.0/8")
        .replace("fd00:244::/56", "10.244.0.0/16")
        .replace("icmp6-port", "icmp-port")
        for line in lines(family=Family.IPV6)
    ]
    assert ipv6 == lines()


def test_the_mark_is_the_configured_bit() -> None:
    """IPT-04: all four places that name it."""
    marked = [line for line in lines(Settings(masquerade_bit=3)) if "mark" in line and "0x" in line]
    assert len(marked) == 4
    assert all("0x8/0x8" in line or "0x8/0x0" in line for line in marked)


def test_random_fully_is_left_out_where_iptables_does_not_know_it() -> None:
    """IPT-05."""
    assert not [line for line in lines(random_fully=False) if "random" in line]
    assert len([line for line in lines() if "random" in line]) == 1


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("mode", LocalDetectionMode)
def test_the_number_of_rules_stays_below_sixty(family: Family, mode: LocalDetectionMode) -> None:
    """IPT-06: 40 rules and 10 jumps a family, whatever the configuration."""
    detection = LocalDetection(mode, NETWORKS, "cni0", "cali")
    assert plan_rules(Settings(local_detection=detection), family, None).count == 50


@pytest.mark.parametrize(
    ("way", "port_number"), [(EXTERNAL_IP, 80), (LOAD_BALANCER_IP, 80), (NODE_ADDRESS, 30080), (CLUSTER_IP, 80)]
)
def test_traffic_from_outside_is_masqueraded_with_cluster_policy(way: str, port_number: int) -> None:
    """LOC-06, IPT-21, IPT-23b, IPT-24, IPT-41."""
    assert node(everything()).trace(Packet(CLIENT, way, port_number)) == MASQUERADED


@pytest.mark.parametrize(("way", "port_number"), [(EXTERNAL_IP, 80), (LOAD_BALANCER_IP, 80), (NODE_ADDRESS, 30080)])
def test_traffic_from_outside_keeps_its_source_with_local_policy(way: str, port_number: int) -> None:
    """LOC-06, IPT-27, IPT-35, IPT-40."""
    assert node(everything("Local")).trace(Packet(CLIENT, way, port_number)) == ACCEPTED


@pytest.mark.parametrize("protocol", Protocol)
def test_node_ports_of_every_protocol_are_masqueraded(protocol: Protocol) -> None:
    """IPT-41, IPT-43, IPT-45: the port alone for TCP and UDP, address and port for SCTP."""
    web = service(type="NodePort", ports=[port(80, protocol=protocol.name, node_port=30080)])
    outcome = node(web).trace(Packet(CLIENT, NODE_ADDRESS, 30080, protocol))
    assert outcome.masqueraded


def test_a_pod_reaches_a_cluster_ip_as_itself() -> None:
    """IPT-23b, LOC-01: the cluster CIDR is local."""
    assert node(service()).trace(Packet(OTHER_POD, CLUSTER_IP, 80, in_interface="cni0")) == ACCEPTED


def test_a_node_process_that_speaks_from_a_vip_is_masqueraded() -> None:
    """ADR-09, IPT-91: the kernel gives it the VIP as source address, with and without a detector."""
    for settings in (SETTINGS, Settings()):
        packet = Packet(CLUSTER_IP, CLUSTER_IP, 80, in_interface="")
        assert node(service(), settings=settings).trace(packet) == MASQUERADED


def test_without_a_detector_nobody_else_is_masqueraded_on_the_way_to_a_cluster_ip() -> None:
    """IPT-23c: source and destination port have to be the Service's own."""
    tracer = node(service(), settings=Settings())
    assert tracer.trace(Packet(CLIENT, CLUSTER_IP, 80)) == ACCEPTED
    assert tracer.trace(Packet(OTHER_POD, CLUSTER_IP, 80)) == ACCEPTED


def test_masquerade_all_takes_pods_in() -> None:
    """IPT-23a."""
    settings = Settings(masquerade_all=True, local_detection=SETTINGS.local_detection)
    assert node(service(), settings=settings).trace(Packet(OTHER_POD, CLUSTER_IP, 80)) == MASQUERADED


@pytest.mark.parametrize(
    ("detection", "local", "foreign"),
    [
        (LocalDetection(LocalDetectionMode.NODE_CIDR), "10.244.0.12", "10.244.7.1"),
        (LocalDetection(LocalDetectionMode.BRIDGE_INTERFACE, bridge_interface="cni0"), "cni0", "cni01"),
        (LocalDetection(LocalDetectionMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"), "cali7", "eth0"),
    ],
    ids=["node-cidr", "bridge", "prefix"],
)
def test_local_detection_tells_pods_of_this_node(detection: LocalDetection, local: str, foreign: str) -> None:
    """LOC-02 to LOC-04: only what is not local is masqueraded."""
    tracer = node(service(), settings=Settings(local_detection=detection), pod_network="10.244.0.0/24")
    by_address = detection.mode is LocalDetectionMode.NODE_CIDR

    def packet(text: str) -> Packet:
        return Packet(text, CLUSTER_IP, 80) if by_address else Packet(OTHER_POD, CLUSTER_IP, 80, in_interface=text)

    assert tracer.trace(packet(local)) == ACCEPTED
    assert tracer.trace(packet(foreign)) == MASQUERADED


def test_a_process_of_the_node_counts_as_not_local_where_interfaces_tell() -> None:
    """LOC-05: in OUTPUT there is no input interface, so `! -i` matches, and the node's own traffic is masqueraded."""
    for detection in (
        LocalDetection(LocalDetectionMode.BRIDGE_INTERFACE, bridge_interface="cni0"),
        LocalDetection(LocalDetectionMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"),
    ):
        tracer = node(service(), settings=Settings(local_detection=detection))
        assert tracer.trace(Packet(NODE_ADDRESS, CLUSTER_IP, 80, in_interface="")) == MASQUERADED


def test_nothing_of_other_modes_and_variants_is_among_the_rules() -> None:
    """IPT-92, IPT-95: no drop of invalid packets, no chain of iptables mode, no second mark, no match on IPVS."""
    for family in Family:
        text = "\n".join(lines(family=family))
        for word in ("INVALID", "KUBE-MARK-DROP", "KUBE-FIREWALL", "-m ipvs", "vdir", "127.0.0.1", "0x8000"):
            assert word not in text
        assert {line.split()[-1] for line in text.splitlines() if "--set-xmark" in line} == {
            "0x4000/0x4000",
            "0x4000/0x0",
        }


def test_a_family_without_a_cluster_cidr_has_no_local_detection_and_the_other_family_has() -> None:
    """LOC-01, CFG-55: CIDRs of one family say nothing about the other one."""
    settings = Settings(local_detection=LocalDetection(cluster_networks=(Network.parse("10.244.0.0/16"),)))
    ipv4, ipv6 = (
        [line for line in lines(settings, family) if "masquerade purpose" in line and "CLUSTER-IP" in line]
        for family in (Family.IPV4, Family.IPV6)
    )
    assert [line for line in ipv4 if "! -s 10.244.0.0/16" in line] == ipv4 != []
    assert [line for line in ipv6 if "-s" not in line.split() and "CLUSTER-IP src,dst" in line] == ipv6 != []


def test_a_cluster_cidr_that_holds_everything_masquerades_nobody() -> None:
    """LOC-01: a match that could never hold is not written, since iptables-nft refuses it."""
    networks = (Network.parse("0.0.0.0/0"), Network.parse("::/0"))
    settings = Settings(local_detection=LocalDetection(cluster_networks=networks))
    assert node(service(), settings=settings).trace(Packet(CLIENT, CLUSTER_IP, 80)) == ACCEPTED


def test_a_vips_port_that_equals_a_node_port_is_left_alone() -> None:
    """IPT-29, DEV-44: node port rules are for node addresses, not for VIPs."""
    busy = service("shop/node-port", "10.96.0.20", type="NodePort", ports=[port(80, node_port=30080)])
    tracer = node(service(ports=[port(30080)]), busy)
    assert tracer.trace(Packet(OTHER_POD, CLUSTER_IP, 30080)) == ACCEPTED
    assert tracer.trace(Packet(OTHER_POD, NODE_ADDRESS, 30080)) == MASQUERADED


def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    """IPT-50, SET-01: hairpin; the mark plays no part."""
    tracer = node(service())
    assert tracer.trace(Packet(POD, CLUSTER_IP, 80, in_interface="cni0")) == MASQUERADED


def test_a_pod_behind_a_bridge_is_masqueraded_on_its_way_to_an_external_ip() -> None:
    """IPT-24, LOC-06: the mark is set before IPT-25 and IPT-26 part bridged from routed packets."""
    tracer = node(everything())
    assert tracer.trace(Packet(OTHER_POD, EXTERNAL_IP, 80, in_interface="cni0", from_bridge_port=True)) == MASQUERADED


@pytest.mark.parametrize(
    ("source", "outcome"), [("198.51.100.7", MASQUERADED), ("198.51.101.7", DROPPED), (OTHER_POD, DROPPED)]
)
def test_source_ranges_bind_outside_clients_and_pods(source: str, outcome: Outcome) -> None:
    """LB-02, IPT-60 to IPT-63."""
    tracer = node(everything(source_ranges=("198.51.100.0/24",)))
    assert tracer.trace(Packet(source, LOAD_BALANCER_IP, 80)) == outcome


@pytest.mark.parametrize("source", [CLIENT, POD, OTHER_POD, NODE_ADDRESS])
def test_ranges_of_which_none_can_be_read_let_nobody_in(source: str) -> None:
    """DEV-60."""
    tracer = node(replace(everything(), source_ranges_unread=True))
    assert tracer.trace(Packet(source, LOAD_BALANCER_IP, 80)) == DROPPED
    assert tracer.trace(Packet(source, LOAD_BALANCER_IP, 80, in_interface="")) == DROPPED


def test_source_ranges_hold_for_open_connections_too() -> None:
    """LB-02: in any conntrack state."""
    tracer = node(everything(source_ranges=("198.51.100.0/24",)))
    assert tracer.trace(Packet("198.51.101.7", LOAD_BALANCER_IP, 80, state="ESTABLISHED")) == DROPPED


@pytest.mark.parametrize(("way", "port_number"), [(EXTERNAL_IP, 80), (NODE_ADDRESS, 30080), (CLUSTER_IP, 80)])
def test_source_ranges_bind_the_load_balancer_ip_alone(way: str, port_number: int) -> None:
    """LB-01."""
    tracer = node(everything(source_ranges=("192.0.2.0/24",)))
    assert tracer.trace(Packet(CLIENT, way, port_number)) == MASQUERADED


@pytest.mark.parametrize("source", [LOAD_BALANCER_IP, NODE_ADDRESS])
def test_a_process_of_a_node_outside_the_ranges_is_dropped_whatever_source_it_binds(source: str) -> None:
    """LB-04, IPT-94, DEV-27: decided where the packet still carries the VIP."""
    tracer = node(everything(source_ranges=("192.0.2.0/24",)))
    assert tracer.trace(Packet(source, LOAD_BALANCER_IP, 80, in_interface="")) == DROPPED


@pytest.mark.parametrize("source", [LOAD_BALANCER_IP, NODE_ADDRESS])
def test_a_process_of_a_node_within_the_ranges_passes(source: str) -> None:
    """LB-03, IPT-94: by the entry for the VIP as source, or by the range itself."""
    tracer = node(everything(source_ranges=("192.168.60.0/24",)))
    assert tracer.trace(Packet(source, LOAD_BALANCER_IP, 80, in_interface="")).verdict == "accepted"


@pytest.mark.parametrize("vip", [CLUSTER_IP, EXTERNAL_IP, LOAD_BALANCER_IP])
def test_a_port_of_a_vip_that_no_service_has_is_rejected(vip: str) -> None:
    """IPT-75, ADR-10: new connections only."""
    tracer = node(everything())
    assert tracer.trace(Packet(CLIENT, vip, 22)) == REJECTED
    assert tracer.trace(Packet(CLIENT, vip, 22, state="ESTABLISHED")).verdict == "accepted"


def test_services_of_the_node_itself_are_not_touched() -> None:
    """Only VIPs are guarded: ssh on the node address stays reachable, and unmasqueraded."""
    outcome = node(everything()).trace(Packet(CLIENT, NODE_ADDRESS, 22))
    assert outcome == Outcome("accepted", masqueraded=False, destination=f"{NODE_ADDRESS}:22")


def test_traffic_that_passes_through_is_not_touched() -> None:
    """A packet from a pod to the world is nobody's Service."""
    outcome = node(everything()).trace(Packet(POD, CLIENT, 443, in_interface="cni0"))
    assert outcome == Outcome("accepted", masqueraded=False, destination=f"{CLIENT}:443")
