"""The iptables rules: they depend only on the configuration, and are complete before the first Service (IPT-06).

The path of a packet (our chains in capitals; IPVS takes the packet at the mark ``=>``):

    from outside   nat PREROUTING → SERVICES → (LOAD-BALANCER | NODE-PORT →) MARK-MASQ
                   filter INPUT → IPVS-FILTER, PROXY-FIREWALL → SOURCE-RANGES-FIREWALL, NODE-PORT
                   => nat POSTROUTING → POSTROUTING; answers: filter FORWARD → PROXY-FIREWALL, FORWARD
    from the node  mangle OUTPUT → IPVS-SOURCE-RANGES; nat OUTPUT → SERVICES → … MARK-MASQ
                   => filter OUTPUT → IPVS-OUT-FILTER; nat POSTROUTING → POSTROUTING

Every rule for Services matches a set; an empty set matches nothing. Chain names, order and comments are those of
kube-proxy, with two deviations:

- node port rules match only packets to addresses that are not VIPs (IPT-29), so that they do not affect a VIP's port
  with the same number as a node port;
- source ranges apply to processes of the node by constant rules in mangle OUTPUT, where the packet still has the VIP
  as destination (IPT-94), instead of a rule for each Service (IPT-80).
"""

from __future__ import annotations

from ipvsagent.config.types import Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.rules import (
    BuiltinJump,
    Chain,
    Comment,
    ConnectionState,
    DestinationType,
    FromBridgePort,
    InputInterface,
    InSet,
    Jump,
    Marked,
    Masquerade,
    Match,
    ProtocolIs,
    Reject,
    Rule,
    RuleSet,
    SetMark,
    Source,
    SourceType,
    Table,
    TableRules,
)
from ipvsagent.planner import sets

SERVICES = "KUBE-SERVICES"
POSTROUTING = "KUBE-POSTROUTING"
NODE_PORT = "KUBE-NODE-PORT"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
SOURCE_RANGES_FIREWALL = "KUBE-SOURCE-RANGES-FIREWALL"
IPVS_FILTER = "KUBE-IPVS-FILTER"
IPVS_OUT_FILTER = "KUBE-IPVS-OUT-FILTER"
IPVS_SOURCE_RANGES = "KUBE-IPVS-SOURCE-RANGES"

ACCEPT = Jump("ACCEPT")
DROP = Jump("DROP")
RETURN = Jump("RETURN")

_LOOPBACK = {
    Family.IPV4: Network(Address.parse("127.0.0.0"), 8),
    Family.IPV6: Network(Address.parse("::1"), 128),
}
_INTERFACE_NAME_LENGTH = 15  # IFNAMSIZ without the closing zero byte


def plan_rules(settings: Settings, family: Family, pod_network: Network | None, random_fully: bool = True) -> RuleSet:
    """Return all chains, rules and jumps of one family.

    Args:
        pod_network: the node's pod CIDR of this family, for local detection by node CIDR (LOC-02).
        random_fully: whether iptables supports `--random-fully` (IPT-05).
    """
    return _Planner(settings, family, pod_network, random_fully).rules()


class _Planner:
    """The chains of one family; the methods have the names of the tables and chains."""

    def __init__(self, settings: Settings, family: Family, pod_network: Network | None, random_fully: bool) -> None:
        self._settings = settings
        self._family = family
        self._pod_network = pod_network
        self._random_fully = random_fully
        self._mark = settings.masquerade_mark

    def rules(self) -> RuleSet:
        return RuleSet(self._family, (self._nat(), self._filter(), self._mangle()))

    def _nat(self) -> TableRules:
        portals = "kubernetes service portals"
        return TableRules(
            Table.NAT,
            chains=(
                Chain(SERVICES, self._services()),
                Chain(POSTROUTING, self._postrouting()),
                Chain(NODE_PORT, self._node_port()),
                Chain(
                    LOAD_BALANCER,
                    (
                        self._told(sets.LOAD_BALANCER_LOCAL, "dst,dst", target=RETURN),  # IPT-35
                        _rule(target=Jump(MARK_MASQ)),  # IPT-36
                    ),
                ),
                Chain(MARK_MASQ, (_rule(target=SetMark(self._mark, self._mark)),)),  # IPT-54
            ),
            jumps=(
                _jump("PREROUTING", portals, SERVICES),  # IPT-10
                _jump("OUTPUT", portals, SERVICES),  # IPT-11
                _jump("POSTROUTING", "kubernetes postrouting rules", POSTROUTING),  # IPT-12
            ),
        )

    def _services(self) -> tuple[Rule, ...]:
        masquerade = Jump(MARK_MASQ)
        from_network = (FromBridgePort(negated=True), SourceType("LOCAL", negated=True))
        to_node = (DestinationType("LOCAL"),)
        no_vip = InSet(self._set(sets.IPVS_IPS), "dst", negated=True)
        return (
            _rule(Source(_LOOPBACK[self._family]), target=RETURN),  # IPT-20
            self._told(sets.LOAD_BALANCER, "dst,dst", target=Jump(LOAD_BALANCER)),  # IPT-21
            *self._cluster_ip(),  # IPT-23
            self._told(sets.EXTERNAL_IP, "dst,dst", target=masquerade),  # IPT-24
            self._told(sets.EXTERNAL_IP, "dst,dst", *from_network, target=ACCEPT),  # IPT-25
            self._told(sets.EXTERNAL_IP, "dst,dst", *to_node, target=ACCEPT),  # IPT-26
            self._told(sets.EXTERNAL_IP_LOCAL, "dst,dst", *from_network, target=ACCEPT),  # IPT-27
            self._told(sets.EXTERNAL_IP_LOCAL, "dst,dst", *to_node, target=ACCEPT),  # IPT-28
            _rule(no_vip, *to_node, target=Jump(NODE_PORT)),  # IPT-29
            self._silent(sets.CLUSTER_IP, "dst,dst", target=ACCEPT),  # IPT-30
            self._silent(sets.LOAD_BALANCER, "dst,dst", target=ACCEPT),  # IPT-31
        )

    def _cluster_ip(self) -> tuple[Rule, ...]:
        """Return the only rules that depend on the configuration (IPT-91)."""
        masquerade = Jump(MARK_MASQ)
        detector = self._not_local()
        if self._settings.masquerade_all:
            return (self._told(sets.CLUSTER_IP, "dst,dst", target=masquerade),)  # IPT-23a
        if detector is None:
            return (self._told(sets.CLUSTER_IP, "src,dst", target=masquerade),)  # IPT-23c
        if isinstance(detector, Source) and not detector.network.prefix_length:
            return ()  # every address is local; iptables-nft rejects a rule that never matches
        matches = self._set_matches(sets.CLUSTER_IP, "dst,dst")
        return (_rule(detector, *matches, target=masquerade),)  # IPT-23b

    def _not_local(self) -> Match | None:
        """Return the match for traffic that does not come from pods of this node or cluster (LOC rules)."""
        detection = self._settings.local_detection
        match detection.mode:
            case LocalDetectionMode.CLUSTER_CIDR:
                network = self._settings.cluster_network(self._family)  # LOC-01
                return Source(network, negated=True) if network else None
            case LocalDetectionMode.NODE_CIDR:  # LOC-02
                return Source(self._pod_network, negated=True) if self._pod_network else None
            case LocalDetectionMode.BRIDGE_INTERFACE:  # LOC-03
                return InputInterface(detection.bridge_interface, negated=True)
            case LocalDetectionMode.INTERFACE_NAME_PREFIX:  # LOC-04
                prefix = detection.interface_name_prefix
                # A prefix of the full length is a name; iptables rejects a `+` after it.
                name = prefix if len(prefix) >= _INTERFACE_NAME_LENGTH else f"{prefix}+"
                return InputInterface(name, negated=True)

    def _node_port(self) -> tuple[Rule, ...]:
        """Return the node port rules (IPT-40 to IPT-45)."""
        rules: list[Rule] = []
        for protocol, (every, local) in sets.NODE_PORT_SETS.items():
            directions = "dst,dst" if protocol is Protocol.SCTP else "dst"
            for base, target in ((local, RETURN), (every, Jump(MARK_MASQ))):
                rules.append(_rule(ProtocolIs(protocol), *self._set_matches(base, directions), target=target))
        return tuple(rules)

    def _postrouting(self) -> tuple[Rule, ...]:
        requiring = Comment("kubernetes service traffic requiring SNAT")
        return (
            self._told(sets.LOOP_BACK, "dst,dst,src", target=Masquerade()),  # IPT-50
            _rule(Marked(self._mark, self._mark, negated=True), target=RETURN),  # IPT-51
            _rule(target=SetMark(self._mark, 0)),  # IPT-52
            _rule(requiring, target=Masquerade(random_fully=self._random_fully)),  # IPT-53
        )

    def _filter(self) -> TableRules:
        access, firewall = "kubernetes ipvs access filter", "kube-proxy firewall rules"
        return TableRules(
            Table.FILTER,
            chains=(
                Chain(FORWARD, self._forward()),
                Chain(NODE_PORT, (self._told(sets.HEALTH_CHECK_NODE_PORT, "dst", target=ACCEPT),)),  # IPT-57
                Chain(
                    PROXY_FIREWALL,
                    (self._told(sets.LOAD_BALANCER_FW, "dst,dst", target=Jump(SOURCE_RANGES_FIREWALL)),),  # IPT-60
                ),
                Chain(SOURCE_RANGES_FIREWALL, self._source_ranges_firewall()),
                Chain(IPVS_FILTER, self._ipvs_filter()),
                Chain(IPVS_OUT_FILTER),  # stays empty: this removes kube-proxy's rules (IPT-80)
            ),
            jumps=(
                _jump("INPUT", access, IPVS_FILTER),  # IPT-13
                _jump("INPUT", firewall, PROXY_FIREWALL),  # IPT-14
                _jump("INPUT", "kubernetes health check rules", NODE_PORT),  # IPT-15
                _jump("FORWARD", firewall, PROXY_FIREWALL),  # IPT-16
                _jump("FORWARD", "kubernetes forwarding rules", FORWARD),  # IPT-17
                _jump("OUTPUT", access, IPVS_OUT_FILTER),  # IPT-18
            ),
        )

    def _forward(self) -> tuple[Rule, ...]:
        established = ConnectionState(("RELATED", "ESTABLISHED"))
        return (
            _rule(Comment("kubernetes forwarding rules"), Marked(self._mark, self._mark), target=ACCEPT),  # IPT-55
            _rule(Comment("kubernetes forwarding conntrack rule"), established, target=ACCEPT),  # IPT-56
        )

    def _source_ranges_firewall(self) -> tuple[Rule, ...]:
        return (
            self._told(sets.LOAD_BALANCER_SOURCE_CIDR, "dst,dst,src", target=RETURN),  # IPT-61
            self._told(sets.LOAD_BALANCER_SOURCE_IP, "dst,dst,src", target=RETURN),  # IPT-62
            _rule(target=DROP),  # IPT-63
        )

    def _ipvs_filter(self) -> tuple[Rule, ...]:
        portals = (sets.LOAD_BALANCER, sets.CLUSTER_IP, sets.EXTERNAL_IP, sets.EXTERNAL_IP_LOCAL)
        other_ports = (ConnectionState(("NEW",)), InSet(self._set(sets.IPVS_IPS), "dst"))
        return (
            *(self._silent(base, "dst,dst", target=RETURN) for base in portals),  # IPT-70 to IPT-73
            self._silent(sets.HEALTH_CHECK_NODE_PORT, "dst", target=RETURN),  # IPT-74
            _rule(*other_ports, target=Reject()),  # IPT-75
        )

    def _mangle(self) -> TableRules:
        return TableRules(
            Table.MANGLE,
            chains=(
                Chain(
                    IPVS_SOURCE_RANGES,  # IPT-94
                    (
                        self._silent(sets.LOAD_BALANCER_SOURCE_CIDR, "dst,dst,src", target=RETURN),
                        self._silent(sets.LOAD_BALANCER_SOURCE_IP, "dst,dst,src", target=RETURN),
                        self._silent(sets.LOAD_BALANCER_FW, "dst,dst", target=DROP),
                    ),
                ),
            ),
            jumps=(_jump("OUTPUT", "kubernetes load balancer source ranges", IPVS_SOURCE_RANGES),),
        )

    def _set(self, base: str) -> str:
        return sets.set_name(base, self._family)

    def _set_matches(self, base: str, directions: str) -> tuple[Match, Match]:
        return Comment(sets.COMMENTS[base]), InSet(self._set(base), directions)

    def _told(self, base: str, directions: str, *more: Match, target: Jump | Masquerade) -> Rule:
        """Return a rule that matches a set, with the set's comment."""
        return _rule(*self._set_matches(base, directions), *more, target=target)

    def _silent(self, base: str, directions: str, *, target: Jump) -> Rule:
        """Return a rule that matches a set, without a comment."""
        return _rule(InSet(self._set(base), directions), target=target)


def _rule(*matches: Match, target: Jump | Reject | Masquerade | SetMark) -> Rule:
    return Rule(matches, target)


def _jump(builtin: str, comment: str, chain: str) -> BuiltinJump:
    return BuiltinJump(builtin, _rule(Comment(comment), target=Jump(chain)))
