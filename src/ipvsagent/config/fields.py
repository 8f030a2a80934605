"""The fields that our configuration and kube-proxy's have in common, with the same words, defaults and checks."""

from __future__ import annotations

from ipvsagent.config.reader import Section, near_miss
from ipvsagent.config.types import (
    DEFAULT_SCHEDULER,
    HEALTH_PORT,
    METRICS_PORT,
    SCHEDULERS,
    Conntrack,
    LocalDetection,
    LocalDetectionMode,
    NodePortAddresses,
    Settings,
    SocketAddress,
    Timeouts,
)
from ipvsagent.model.address import Address, Family, Network

_LARGEST = 2**31 - 1


def read_common(top: Section, ipvs: Section, iptables: Section) -> Settings:
    """Read all common fields; those that only our own kind has keep their defaults."""
    defaults = Settings()
    bind_address = top.address("bindAddress")
    client = top.section("clientConnection")
    gates = top.section("featureGates")
    gates.ignore_rest()
    client.ignore("acceptContentTypes", "contentType", "qps", "burst")
    period = ipvs.seconds("syncPeriod", defaults.sync_period_seconds) or defaults.sync_period_seconds
    minimum = ipvs.seconds("minSyncPeriod", defaults.min_sync_period_seconds)
    if minimum > period:
        ipvs.wrong("minSyncPeriod", f"{minimum:g}s is longer than syncPeriod ({period:g}s)")
    # An IPv6 bindAddress moves both defaults to that family (CFG-04, CFG-05).
    ipv6 = bind_address is not None and bind_address.family is Family.IPV6
    everywhere, loopback = ("::", "::1") if ipv6 else ("0.0.0.0", "127.0.0.1")
    return Settings(
        hostname_override=top.text("hostnameOverride"),
        bind_address=None if bind_address is None or bind_address.is_unspecified else bind_address,
        health_listen=SocketAddress(*top.socket_address("healthzBindAddress", Address.parse(everywhere), HEALTH_PORT)),
        metrics_listen=SocketAddress(*top.socket_address("metricsBindAddress", Address.parse(loopback), METRICS_PORT)),
        bind_address_hard_fail=top.boolean("bindAddressHardFail"),
        scheduler=read_scheduler(ipvs),
        strict_arp=ipvs.boolean("strictARP"),
        exclude_networks=ipvs.networks("excludeCIDRs"),
        timeouts=Timeouts(
            ipvs.whole_seconds("tcpTimeout"),
            ipvs.whole_seconds("tcpFinTimeout"),
            ipvs.whole_seconds("udpTimeout"),
        ),
        sync_period_seconds=period,
        min_sync_period_seconds=minimum,
        masquerade_bit=iptables.integer("masqueradeBit", 14, 0, 31),
        masquerade_all=iptables.boolean("masqueradeAll"),
        local_detection=_local_detection(top),
        node_port_addresses=_node_port_addresses(top),
        conntrack=_conntrack(top.section("conntrack")),
        allow_external_ips=gates.boolean("AllowServiceExternalIPs", True),
        oom_score_adjust=top.integer("oomScoreAdj", -999, -1000, 1000),
        kubeconfig=client.text("kubeconfig"),
    )


def read_scheduler(ipvs: Section, field: str = "scheduler", default: str = DEFAULT_SCHEDULER) -> str:
    """`ipvs.scheduler` or another field that names one; empty means the default (CFG-20, VS-02)."""
    name = ipvs.text(field) or default
    if name and name not in SCHEDULERS:
        allowed = ", ".join(SCHEDULERS)
        ipvs.wrong(field, f"`{name}` is not a scheduler{near_miss(name, SCHEDULERS)}; allowed: {allowed}")
        return default
    return name


def _local_detection(top: Section) -> LocalDetection:
    mode = LocalDetectionMode(
        top.text("detectLocalMode", "", ("", *LocalDetectionMode)) or LocalDetectionMode.CLUSTER_CIDR
    )
    detect = top.section("detectLocal")
    bridge, prefix = detect.text("bridgeInterface"), detect.text("interfaceNamePrefix")
    if mode is LocalDetectionMode.BRIDGE_INTERFACE and not bridge:
        detect.wrong("bridgeInterface", f"must be set with detectLocalMode {mode}")
    if mode is LocalDetectionMode.INTERFACE_NAME_PREFIX and not prefix:
        detect.wrong("interfaceNamePrefix", f"must be set with detectLocalMode {mode}")
    return LocalDetection(mode, _cluster_networks(top), bridge, prefix)


def _cluster_networks(top: Section) -> tuple[Network, ...]:
    """`clusterCIDR`: one CIDR a family, comma-separated or as a list (CFG-38)."""
    value = top.take("clusterCIDR")
    if isinstance(value, list):
        texts = top.texts("clusterCIDR")
    else:
        text = top.text("clusterCIDR")
        texts = tuple(text.split(",")) if text else ()
    networks = top.parsed_networks("clusterCIDR", texts)
    if len({n.family for n in networks}) < len(networks):
        top.wrong("clusterCIDR", "holds two CIDRs of one family; allowed: one of each")
    return networks


def _node_port_addresses(top: Section) -> NodePortAddresses:
    texts = top.texts("nodePortAddresses")
    if "primary" not in texts:
        return NodePortAddresses(top.parsed_networks("nodePortAddresses", texts))
    if len(texts) > 1:
        top.wrong("nodePortAddresses", "`primary` must be the only element")
    return NodePortAddresses(primary=True)


def _conntrack(section: Section) -> Conntrack:
    defaults = Conntrack()
    return Conntrack(
        max_per_core=section.integer("maxPerCore", defaults.max_per_core, 0, _LARGEST),
        min=section.integer("min", defaults.min, 0, _LARGEST),
        tcp_established_seconds=section.whole_seconds("tcpEstablishedTimeout", defaults.tcp_established_seconds),
        tcp_close_wait_seconds=section.whole_seconds("tcpCloseWaitTimeout", defaults.tcp_close_wait_seconds),
        udp_seconds=section.whole_seconds("udpTimeout"),
        udp_stream_seconds=section.whole_seconds("udpStreamTimeout"),
        tcp_be_liberal=section.boolean("tcpBeLiberal"),
    )
