"""Every field of an `AgentConfiguration`, in words: what `config default`, the schema and the reference are made of.

The reader (`config.load`) decides what is accepted; a test holds the two together: the same paths, the same defaults,
and what is written from settings is read as the same settings.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ipvsagent.config import forms
from ipvsagent.config.load import SCHEDULER_FLAGS
from ipvsagent.config.reader import format_duration
from ipvsagent.config.types import (
    ESTIMATION_OFF_ABOVE,
    ESTIMATION_ON_BELOW,
    LOG_FORMATS,
    LOG_LEVELS,
    LocalDetectionMode,
    Settings,
)
from ipvsagent.model.address import Network


class Field(Struct, frozen=True):
    """One field.

    Args:
        path: such as ``ipvs.scheduler``.
        plain: the field's value as the file would say it.
        words: what it does.
        restart: whether a change waits for a restart of the agent.
        ours: whether kube-proxy's kind has no such field.
    """

    path: str
    form: forms.Form
    plain: Callable[[Settings], object]
    words: str
    restart: bool = False
    ours: bool = False


def _texts(networks: tuple[Network, ...]) -> list[str]:
    return [str(n) for n in networks]


def _flag_words(settings: Settings) -> list[str] | None:
    bits = settings.scheduler_flags
    return None if bits is None else [word for word, bit in SCHEDULER_FLAGS.items() if bits & bit]


def _node_port_addresses(settings: Settings) -> list[str]:
    setting = settings.node_port_addresses
    return ["primary"] if setting.primary else _texts(setting.networks)


def _cluster_cidr(settings: Settings) -> str:
    return ",".join(_texts(settings.local_detection.cluster_networks))


FIELDS: tuple[Field, ...] = (
    Field(
        "hostnameOverride",
        forms.TEXT,
        lambda s: s.hostname_override,
        "Name of this node; `--node-name` and `$NODE_NAME` come first. Empty: the host name.",
        restart=True,
    ),
    Field(
        "bindAddress",
        forms.ADDRESS,
        lambda s: "0.0.0.0" if s.bind_address is None else str(s.bind_address),
        "An IPv6 one moves the defaults of the next two to `[::]` and `[::1]`.",
    ),
    Field(
        "healthzBindAddress",
        forms.SOCKET,
        lambda s: str(s.health_listen),
        "Where `/healthz` and `/livez` are served; `0.0.0.0` and `::` stand for both families.",
    ),
    Field(
        "metricsBindAddress",
        forms.SOCKET,
        lambda s: str(s.metrics_listen),
        "Where `/metrics` and the pages for people are served; this host alone by default.",
    ),
    Field(
        "bindAddressHardFail",
        forms.BOOLEAN,
        lambda s: s.bind_address_hard_fail,
        "True: the agent ends at its start if it cannot listen on the two above. False: it tries again.",
        restart=True,
    ),
    Field(
        "clusterCIDR",
        forms.CLUSTER_CIDR,
        _cluster_cidr,
        "Pod network for `detectLocalMode: ClusterCIDR`; no external address may lie in it.",
    ),
    Field(
        "serviceCIDRs",
        forms.CIDRS,
        lambda s: _texts(s.service_networks),
        "Ranges of the cluster IPs, as the API server has them; no external address may lie in them.",
        ours=True,
    ),
    Field(
        "detectLocalMode",
        forms.one_of(("", *LocalDetectionMode)),
        lambda s: str(s.local_detection.mode),
        "How traffic of this node's pods is told from other traffic. Empty: `ClusterCIDR`.",
    ),
    Field(
        "detectLocal.bridgeInterface",
        forms.TEXT,
        lambda s: s.local_detection.bridge_interface,
        "Bridge of the pods; needed in mode `BridgeInterface`.",
    ),
    Field(
        "detectLocal.interfaceNamePrefix",
        forms.TEXT,
        lambda s: s.local_detection.interface_name_prefix,
        "How the names of pod interfaces begin; needed in mode `InterfaceNamePrefix`.",
    ),
    Field(
        "nodePortAddresses",
        forms.Form("list of CIDRs, or exactly `[primary]`", forms.CIDR_LIST),
        _node_port_addresses,
        "On which node addresses NodePorts answer. Empty: on all.",
    ),
    Field(
        "externalAddresses.allowedExternalIPs",
        forms.CIDRS,
        lambda s: _texts(s.external_addresses.external_ips),
        "Ranges that external IPs of Services must lie in; others are refused. Empty: all.",
        ours=True,
    ),
    Field(
        "externalAddresses.allowedLoadBalancerIPs",
        forms.CIDRS,
        lambda s: _texts(s.external_addresses.load_balancer_ips),
        "Ranges that load balancer addresses of Services must lie in; others are refused. Empty: all.",
        ours=True,
    ),
    Field(
        "featureGates.AllowServiceExternalIPs",
        forms.BOOLEAN,
        lambda s: s.allow_external_ips,
        "False: external IPs are not served at all. Other gates are accepted and do nothing.",
    ),
    Field(
        "strictLocalPolicy",
        forms.BOOLEAN,
        lambda s: s.strict_local_policy,
        "True: traffic policy Local never falls back to endpoints on other nodes.",
        ours=True,
    ),
    Field(
        "ipv6Forwarding",
        forms.BOOLEAN,
        lambda s: s.ipv6_forwarding,
        "True: sets `net.ipv6.conf.all.forwarding` to 1 where IPv6 is served, which makes the node ignore router"
        " advertisements unless `accept_ra` is 2. False: there is a warning where it is off.",
        ours=True,
    ),
    Field(
        "realServerMetrics",
        forms.BOOLEAN,
        lambda s: s.real_server_metrics,
        "True: metrics of every real server, too; one more listing and seven more samples for each, 10,000 "
        "of them at most.",
        restart=True,
        ours=True,
    ),
    Field(
        "oomScoreAdj",
        forms.whole(-1000, 1000),
        lambda s: s.oom_score_adjust,
        "Written to `/proc/self/oom_score_adj`.",
        restart=True,
    ),
    Field(
        "clientConnection.kubeconfig",
        forms.TEXT,
        lambda s: s.kubeconfig,
        "Access to the API server; `--kubeconfig` comes first. Empty: the pod's service account.",
        restart=True,
    ),
    Field(
        "logging.format",
        forms.one_of(LOG_FORMATS),
        lambda s: s.logging.format,
        "How log lines look: text for people, or one JSON object a line.",
    ),
    Field(
        "logging.level",
        forms.one_of(LOG_LEVELS),
        lambda s: s.logging.level,
        "Which lines are written; `--debug` comes first.",
        ours=True,
    ),
    Field(
        "ipvs.scheduler",
        forms.SCHEDULER,
        lambda s: s.scheduler,
        "Scheduler of every virtual server. Empty: `rr`.",
    ),
    Field(
        "ipvs.schedulerFallback",
        forms.SCHEDULER,
        lambda s: s.scheduler_fallback,
        "Scheduler to use where the kernel lacks `ipvs.scheduler`. Empty: none, the start is refused.",
        ours=True,
    ),
    Field(
        "ipvs.schedulerFlags",
        forms.FLAGS,
        _flag_words,
        "Flags of the scheduler in ipvsadm's words; `[]` sets none. Null: `[flag-2]` for `mh`, else none.",
        ours=True,
    ),
    Field(
        "ipvs.syncPeriod",
        forms.DURATION,
        lambda s: format_duration(s.sync_period_seconds),
        "Work that is outstanding for twice as long makes the node unhealthy; at least `ipvs.minSyncPeriod`. "
        "0s: the default. Drift is looked for every second, whatever this says.",
    ),
    Field(
        "ipvs.minSyncPeriod",
        forms.DURATION,
        lambda s: format_duration(s.min_sync_period_seconds),
        "Least time between two passes; changes meanwhile are gathered.",
    ),
    Field(
        "ipvs.excludeCIDRs",
        forms.CIDRS,
        lambda s: _texts(s.exclude_networks),
        "Virtual servers and addresses in them are left alone, by `cleanup`, too.",
    ),
    Field(
        "ipvs.strictARP",
        forms.BOOLEAN,
        lambda s: s.strict_arp,
        "True: sets `arp_ignore` 1 and `arp_announce` 2, which MetalLB needs in layer 2 mode.",
    ),
    Field(
        "ipvs.tcpTimeout",
        forms.DURATION,
        lambda s: format_duration(s.timeouts.tcp_seconds),
        "IPVS timeout of TCP connections, rounded up to seconds. 0s: the kernel's, but see `ipvs.automaticTimeouts`.",
    ),
    Field(
        "ipvs.tcpFinTimeout",
        forms.DURATION,
        lambda s: format_duration(s.timeouts.tcp_fin_seconds),
        "IPVS timeout of TCP connections after a FIN. 0s: the kernel's.",
    ),
    Field(
        "ipvs.udpTimeout",
        forms.DURATION,
        lambda s: format_duration(s.timeouts.udp_seconds),
        "IPVS timeout of UDP flows. 0s: the kernel's.",
    ),
    Field(
        "ipvs.automaticTimeouts",
        forms.BOOLEAN,
        lambda s: s.timeouts.automatic,
        "True: a TCP timeout that is not given is raised above the host's TCP keepalive time "
        "(`tcp_keepalive_time` plus all probes), so that idle connections with keepalive outlive it; never lowered.",
        ours=True,
    ),
    Field(
        "ipvs.estimation",
        forms.ESTIMATION,
        lambda s: s.estimation,
        "Whether the kernel's rate estimator runs (`net.ipv4.vs.run_estimation`, Linux 5.15 or newer), which walks all "
        f"virtual and real servers every 2 s. `auto`: off above {ESTIMATION_OFF_ABOVE} virtual servers, on again below "
        f"{ESTIMATION_ON_BELOW}. Where it is off, a scrape lets it run for 3 s, at most every 30 s: counters are then "
        "those of about the scrape before, and `ipvsadm --rate` tells nothing.",
        ours=True,
    ),
    Field(
        "ipvs.drainTimeout",
        forms.DURATION,
        lambda s: format_duration(s.drain_timeout_seconds),
        "How long a removed real server may keep its connections.",
        ours=True,
    ),
    Field(
        "iptables.masqueradeAll",
        forms.BOOLEAN,
        lambda s: s.masquerade_all,
        "True: masquerades all traffic to cluster IPs.",
    ),
    Field(
        "iptables.masqueradeBit",
        forms.whole(0, 31),
        lambda s: s.masquerade_bit,
        "Bit of the packet mark that asks for masquerade.",
    ),
    Field(
        "iptables.variant",
        forms.one_of(("auto", "legacy", "nft")),
        lambda s: s.iptables_variant,
        "Which iptables holds the rules.",
        restart=True,
        ours=True,
    ),
    Field(
        "conntrack.maxPerCore",
        forms.whole(0, forms.LARGEST),
        lambda s: s.conntrack.max_per_core,
        "Size of the connection table for each CPU. 0: left alone.",
    ),
    Field(
        "conntrack.min",
        forms.whole(0, forms.LARGEST),
        lambda s: s.conntrack.min,
        "Least size of the connection table.",
    ),
    Field(
        "conntrack.tcpEstablishedTimeout",
        forms.DURATION,
        lambda s: format_duration(s.conntrack.tcp_established_seconds),
        "Timeout of established TCP connections. 0s: the kernel's.",
    ),
    Field(
        "conntrack.tcpCloseWaitTimeout",
        forms.DURATION,
        lambda s: format_duration(s.conntrack.tcp_close_wait_seconds),
        "Timeout of TCP connections in CLOSE_WAIT. 0s: the kernel's.",
    ),
    Field(
        "conntrack.udpTimeout",
        forms.DURATION,
        lambda s: format_duration(s.conntrack.udp_seconds),
        "Timeout of UDP flows without an answer. 0s: the kernel's.",
    ),
    Field(
        "conntrack.udpStreamTimeout",
        forms.DURATION,
        lambda s: format_duration(s.conntrack.udp_stream_seconds),
        "Timeout of UDP flows that were answered. 0s: the kernel's.",
    ),
    Field(
        "conntrack.tcpBeLiberal",
        forms.BOOLEAN,
        lambda s: s.conntrack.tcp_be_liberal,
        "True: sets `nf_conntrack_tcp_be_liberal` 1.",
    ),
)

IDLE_FIELDS = (
    "clientConnection.acceptContentTypes",
    "clientConnection.contentType",
    "clientConnection.qps",
    "clientConnection.burst",
)
"""Accepted in both kinds, without effect."""


def waiting_for_restart(at_start: Settings, now: Settings) -> tuple[str, ...]:
    """The fields whose values differ between two settings and count at the start of the agent only."""
    return tuple(f.path for f in FIELDS if f.restart and f.plain(at_start) != f.plain(now))
