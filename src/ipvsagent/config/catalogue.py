"""Every field of an `AgentConfiguration`, in words: what `config default`, the schema and the reference are made of.

The reader (`config.load`) decides what is accepted; a test holds the two together: the same paths, the same defaults,
and what is written from settings is read as the same settings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from msgspec import Struct

from ipvsagent.config.load import SCHEDULER_FLAGS
from ipvsagent.config.reader import format_duration
from ipvsagent.config.types import LOG_FORMATS, LOG_LEVELS, SCHEDULERS, LocalDetectionMode, Settings
from ipvsagent.model.address import Network

_DURATION_PATTERN = r"^\+?(0|([0-9]+(\.[0-9]+)?(h|ms|m|s|us|µs|ns))+)$"
_LARGEST = 2**31 - 1


class Form(Struct, frozen=True):
    """What values a field takes.

    Args:
        allowed: in words.
        schema: as JSON Schema.
    """

    allowed: str
    schema: Mapping[str, object]


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
    form: Form
    plain: Callable[[Settings], object]
    words: str
    restart: bool = False
    ours: bool = False


def _one_of(words: Collection[str]) -> Form:
    return Form(", ".join(f"`{w}`" if w else "empty" for w in words), {"type": "string", "enum": list(words)})


def _whole(low: int, high: int) -> Form:
    return Form(f"{low}..{high}", {"type": "integer", "minimum": low, "maximum": high})


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


_TEXT = Form("text", {"type": "string"})
_BOOLEAN = Form("true, false", {"type": "boolean"})
_ADDRESS = Form("address", {"type": "string"})
_SOCKET = Form("address with or without a port", {"type": "string"})
_DURATION = Form("duration such as `1m30s`", {"type": "string", "pattern": _DURATION_PATTERN})
_CIDR_LIST = {"type": "array", "items": {"type": "string"}}
_CIDRS = Form("list of CIDRs", _CIDR_LIST)
_SCHEDULER = _one_of(("", *SCHEDULERS))
_CLUSTER_CIDR = Form(
    "one CIDR a family, comma-separated without blanks, or a list of them",
    {"anyOf": [{"type": "string"}, _CIDR_LIST]},
)
_FLAGS = Form(
    "list of `flag-1`, `flag-2`, `flag-3`",
    {"type": ["array", "null"], "items": {"type": "string", "enum": list(SCHEDULER_FLAGS)}},
)

FIELDS: tuple[Field, ...] = (
    Field(
        "hostnameOverride",
        _TEXT,
        lambda s: s.hostname_override,
        "Name of this node; `--node-name` and `$NODE_NAME` come first. Empty: the host name.",
        restart=True,
    ),
    Field(
        "bindAddress",
        _ADDRESS,
        lambda s: "0.0.0.0" if s.bind_address is None else str(s.bind_address),
        "An IPv6 one moves the defaults of the next two to `[::]` and `[::1]`.",
    ),
    Field(
        "healthzBindAddress",
        _SOCKET,
        lambda s: str(s.health_listen),
        "Where `/healthz` and `/livez` are served; `0.0.0.0` and `::` stand for both families.",
    ),
    Field(
        "metricsBindAddress",
        _SOCKET,
        lambda s: str(s.metrics_listen),
        "Where `/metrics` and the pages for people are served; this host alone by default.",
    ),
    Field(
        "bindAddressHardFail",
        _BOOLEAN,
        lambda s: s.bind_address_hard_fail,
        "True: the agent ends at its start if it cannot listen on the two above. False: it tries again.",
        restart=True,
    ),
    Field(
        "clusterCIDR",
        _CLUSTER_CIDR,
        _cluster_cidr,
        "Pod network for `detectLocalMode: ClusterCIDR`; no external address may lie in it.",
    ),
    Field(
        "serviceCIDRs",
        _CIDRS,
        lambda s: _texts(s.service_networks),
        "Ranges of the cluster IPs, as the API server has them; no external address may lie in them.",
        ours=True,
    ),
    Field(
        "detectLocalMode",
        _one_of(("", *LocalDetectionMode)),
        lambda s: str(s.local_detection.mode),
        "How traffic of this node's pods is told from other traffic. Empty: `ClusterCIDR`.",
    ),
    Field(
        "detectLocal.bridgeInterface",
        _TEXT,
        lambda s: s.local_detection.bridge_interface,
        "Bridge of the pods; needed in mode `BridgeInterface`.",
    ),
    Field(
        "detectLocal.interfaceNamePrefix",
        _TEXT,
        lambda s: s.local_detection.interface_name_prefix,
        "How the names of pod interfaces begin; needed in mode `InterfaceNamePrefix`.",
    ),
    Field(
        "nodePortAddresses",
        Form("list of CIDRs, or exactly `[primary]`", _CIDR_LIST),
        _node_port_addresses,
        "On which node addresses NodePorts answer. Empty: on all.",
    ),
    Field(
        "externalAddresses.allowedExternalIPs",
        _CIDRS,
        lambda s: _texts(s.external_addresses.external_ips),
        "Ranges that external IPs of Services must lie in; others are refused. Empty: all.",
        ours=True,
    ),
    Field(
        "externalAddresses.allowedLoadBalancerIPs",
        _CIDRS,
        lambda s: _texts(s.external_addresses.load_balancer_ips),
        "Ranges that load balancer addresses of Services must lie in; others are refused. Empty: all.",
        ours=True,
    ),
    Field(
        "featureGates.AllowServiceExternalIPs",
        _BOOLEAN,
        lambda s: s.allow_external_ips,
        "False: external IPs are not served at all. Other gates are accepted and do nothing.",
    ),
    Field(
        "strictLocalPolicy",
        _BOOLEAN,
        lambda s: s.strict_local_policy,
        "True: traffic policy Local never falls back to endpoints on other nodes.",
        ours=True,
    ),
    Field(
        "ipv6Forwarding",
        _BOOLEAN,
        lambda s: s.ipv6_forwarding,
        "True: sets `net.ipv6.conf.all.forwarding` to 1 where IPv6 is served, which makes the node ignore router"
        " advertisements unless `accept_ra` is 2. False: there is a warning where it is off.",
        ours=True,
    ),
    Field(
        "realServerMetrics",
        _BOOLEAN,
        lambda s: s.real_server_metrics,
        "True: metrics of every real server, too; one more listing and seven more samples for each.",
        restart=True,
        ours=True,
    ),
    Field(
        "oomScoreAdj",
        _whole(-1000, 1000),
        lambda s: s.oom_score_adjust,
        "Written to `/proc/self/oom_score_adj`.",
        restart=True,
    ),
    Field(
        "clientConnection.kubeconfig",
        _TEXT,
        lambda s: s.kubeconfig,
        "Access to the API server; `--kubeconfig` comes first. Empty: the pod's service account.",
        restart=True,
    ),
    Field(
        "logging.format",
        _one_of(LOG_FORMATS),
        lambda s: s.logging.format,
        "How log lines look: text for people, or one JSON object a line.",
    ),
    Field(
        "logging.level",
        _one_of(LOG_LEVELS),
        lambda s: s.logging.level,
        "Which lines are written; `--debug` comes first.",
        ours=True,
    ),
    Field(
        "ipvs.scheduler",
        _SCHEDULER,
        lambda s: s.scheduler,
        "Scheduler of every virtual server. Empty: `rr`.",
    ),
    Field(
        "ipvs.schedulerFallback",
        _SCHEDULER,
        lambda s: s.scheduler_fallback,
        "Scheduler to use where the kernel lacks `ipvs.scheduler`. Empty: none, the start is refused.",
        ours=True,
    ),
    Field(
        "ipvs.schedulerFlags",
        _FLAGS,
        _flag_words,
        "Flags of the scheduler in ipvsadm's words; `[]` sets none. Null: `[flag-2]` for `mh`, else none.",
        ours=True,
    ),
    Field(
        "ipvs.syncPeriod",
        _DURATION,
        lambda s: format_duration(s.sync_period_seconds),
        "Work that is outstanding for twice as long makes the node unhealthy; at least `ipvs.minSyncPeriod`. "
        "0s: the default. Drift is looked for every second, whatever this says.",
    ),
    Field(
        "ipvs.minSyncPeriod",
        _DURATION,
        lambda s: format_duration(s.min_sync_period_seconds),
        "Least time between two passes; changes meanwhile are gathered.",
    ),
    Field(
        "ipvs.excludeCIDRs",
        _CIDRS,
        lambda s: _texts(s.exclude_networks),
        "Virtual servers and addresses in them are left alone, by `cleanup`, too.",
    ),
    Field(
        "ipvs.strictARP",
        _BOOLEAN,
        lambda s: s.strict_arp,
        "True: sets `arp_ignore` 1 and `arp_announce` 2, which MetalLB needs in layer 2 mode.",
    ),
    Field(
        "ipvs.tcpTimeout",
        _DURATION,
        lambda s: format_duration(s.timeouts.tcp_seconds),
        "IPVS timeout of TCP connections, rounded up to seconds. 0s: the kernel's, but see `ipvs.automaticTimeouts`.",
    ),
    Field(
        "ipvs.tcpFinTimeout",
        _DURATION,
        lambda s: format_duration(s.timeouts.tcp_fin_seconds),
        "IPVS timeout of TCP connections after a FIN. 0s: the kernel's.",
    ),
    Field(
        "ipvs.udpTimeout",
        _DURATION,
        lambda s: format_duration(s.timeouts.udp_seconds),
        "IPVS timeout of UDP flows. 0s: the kernel's.",
    ),
    Field(
        "ipvs.automaticTimeouts",
        _BOOLEAN,
        lambda s: s.timeouts.automatic,
        "True: a TCP timeout that is not given is raised above the host's TCP keepalive time "
        "(`tcp_keepalive_time` plus all probes), so that idle connections with keepalive outlive it; never lowered.",
        ours=True,
    ),
    Field(
        "ipvs.drainTimeout",
        _DURATION,
        lambda s: format_duration(s.drain_timeout_seconds),
        "How long a removed real server may keep its connections.",
        ours=True,
    ),
    Field(
        "iptables.masqueradeAll",
        _BOOLEAN,
        lambda s: s.masquerade_all,
        "True: masquerades all traffic to cluster IPs.",
    ),
    Field(
        "iptables.masqueradeBit",
        _whole(0, 31),
        lambda s: s.masquerade_bit,
        "Bit of the packet mark that asks for masquerade.",
    ),
    Field(
        "iptables.variant",
        _one_of(("auto", "legacy", "nft")),
        lambda s: s.iptables_variant,
        "Which iptables holds the rules.",
        restart=True,
        ours=True,
    ),
    Field(
        "conntrack.maxPerCore",
        _whole(0, _LARGEST),
        lambda s: s.conntrack.max_per_core,
        "Size of the connection table for each CPU. 0: left alone.",
    ),
    Field(
        "conntrack.min",
        _whole(0, _LARGEST),
        lambda s: s.conntrack.min,
        "Least size of the connection table.",
    ),
    Field(
        "conntrack.tcpEstablishedTimeout",
        _DURATION,
        lambda s: format_duration(s.conntrack.tcp_established_seconds),
        "Timeout of established TCP connections. 0s: the kernel's.",
    ),
    Field(
        "conntrack.tcpCloseWaitTimeout",
        _DURATION,
        lambda s: format_duration(s.conntrack.tcp_close_wait_seconds),
        "Timeout of TCP connections in CLOSE_WAIT. 0s: the kernel's.",
    ),
    Field(
        "conntrack.udpTimeout",
        _DURATION,
        lambda s: format_duration(s.conntrack.udp_seconds),
        "Timeout of UDP flows without an answer. 0s: the kernel's.",
    ),
    Field(
        "conntrack.udpStreamTimeout",
        _DURATION,
        lambda s: format_duration(s.conntrack.udp_stream_seconds),
        "Timeout of UDP flows that were answered. 0s: the kernel's.",
    ),
    Field(
        "conntrack.tcpBeLiberal",
        _BOOLEAN,
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
