"""The table of all settings: each row declares an attribute of `Settings` and its field of the configuration file.

A row has the field's path, its form (how the value is read and written, with its unit), the default, what the field
does, and whether a change needs a restart. Reader, writer, schema, reference and `/configz` are made from these rows,
so a new field is one row here and its use.

The defaults serve a node without any configuration file. Rule IDs: CFG.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipvsagent.config import forms
from ipvsagent.config.fields import Field, fields_of, setting
from ipvsagent.config.values import (
    DEFAULT_SCHEDULER,
    ESTIMATION_OFF_ABOVE,
    ESTIMATION_ON_BELOW,
    HEALTH_PORT,
    IPTABLES_VARIANTS,
    LOG_FORMATS,
    LOG_LEVELS,
    METRICS_PORT,
    FeatureGate,
    LocalDetectionMode,
    NodePortAddresses,
    SocketAddress,
)
from ipvsagent.model.address import Address, Family, Network


@dataclass(frozen=True, slots=True)
class LocalDetection:
    """Settings of local detection (CFG-35 to CFG-38)."""

    mode: LocalDetectionMode = setting(
        "detectLocalMode",
        forms.LOCAL_MODE,
        LocalDetectionMode.CLUSTER_CIDR,
        "How the agent distinguishes traffic of this node's pods from other traffic. Empty: `ClusterCIDR`.",
    )
    cluster_networks: tuple[Network, ...] = setting(  # the first of each family counts (LOC-01)
        "clusterCIDR",
        forms.CLUSTER_CIDR,
        (),
        "Pod network for `detectLocalMode: ClusterCIDR`. External addresses in it are refused.",
    )
    bridge_interface: str = setting(
        "detectLocal.bridgeInterface", forms.TEXT, "", "Bridge of the pods; required in mode `BridgeInterface`."
    )
    interface_name_prefix: str = setting(
        "detectLocal.interfaceNamePrefix",
        forms.TEXT,
        "",
        "Prefix of the names of pod interfaces; required in mode `InterfaceNamePrefix`.",
    )


@dataclass(frozen=True, slots=True)
class Timeouts:
    """IPVS connection timeouts in seconds (CFG-25); 0 leaves the kernel's value."""

    tcp_seconds: int = setting(
        "ipvs.tcpTimeout",
        forms.WHOLE_SECONDS,
        0,
        "IPVS timeout of TCP connections, rounded up to seconds. 0s: the kernel's value, but see "
        "`ipvs.automaticTimeouts`.",
    )
    tcp_fin_seconds: int = setting(
        "ipvs.tcpFinTimeout",
        forms.WHOLE_SECONDS,
        0,
        "IPVS timeout of TCP connections after a FIN. 0s: the kernel's value.",
    )
    udp_seconds: int = setting(
        "ipvs.udpTimeout", forms.WHOLE_SECONDS, 0, "IPVS timeout of UDP flows. 0s: the kernel's value."
    )
    automatic: bool = setting(
        "ipvs.automaticTimeouts",
        forms.BOOLEAN,
        True,
        "True: if `ipvs.tcpTimeout` is 0s, the kernel's timeout is raised above the host's TCP keepalive time "
        "(`tcp_keepalive_time` plus all probes), so that idle connections with keepalive stay open. Never lowered.",
        ours=True,
    )


@dataclass(frozen=True, slots=True)
class Conntrack:
    """Connection tracking limits (CFG-41 to CFG-44); 0 leaves the kernel's value."""

    max_per_core: int = setting(
        "conntrack.maxPerCore",
        forms.whole(0, forms.LARGEST),
        32768,
        "Size of the connection table for each CPU. 0: the size is not changed.",
    )
    min: int = setting("conntrack.min", forms.whole(0, forms.LARGEST), 131072, "Minimum size of the connection table.")
    tcp_established_seconds: int = setting(
        "conntrack.tcpEstablishedTimeout",
        forms.WHOLE_SECONDS,
        86400,
        "Timeout of established TCP connections. 0s: the kernel's value.",
    )
    tcp_close_wait_seconds: int = setting(
        "conntrack.tcpCloseWaitTimeout",
        forms.WHOLE_SECONDS,
        3600,
        "Timeout of TCP connections in CLOSE_WAIT. 0s: the kernel's value.",
    )
    udp_seconds: int = setting(
        "conntrack.udpTimeout", forms.WHOLE_SECONDS, 0, "Timeout of UDP flows without a reply. 0s: the kernel's value."
    )
    udp_stream_seconds: int = setting(
        "conntrack.udpStreamTimeout",
        forms.WHOLE_SECONDS,
        0,
        "Timeout of UDP flows with replies. 0s: the kernel's value.",
    )
    tcp_be_liberal: bool = setting(
        "conntrack.tcpBeLiberal", forms.BOOLEAN, False, "True: sets `nf_conntrack_tcp_be_liberal` to 1."
    )


@dataclass(frozen=True, slots=True)
class ExternalAddresses:
    """The external addresses that Services may claim (the class of CVE-2020-8554)."""

    external_ips: tuple[Network, ...] = setting(
        "externalAddresses.allowedExternalIPs",
        forms.CIDRS,
        (),
        "Ranges in which external IPs of Services must lie; others are refused. Empty: all are allowed.",
        ours=True,
    )
    load_balancer_ips: tuple[Network, ...] = setting(
        "externalAddresses.allowedLoadBalancerIPs",
        forms.CIDRS,
        (),
        "Ranges in which load balancer addresses of Services must lie; others are refused. Empty: all are allowed.",
        ours=True,
    )


@dataclass(frozen=True, slots=True)
class Logging:
    """Format and level of log lines (CFG-12)."""

    format: str = setting(
        "logging.format",
        forms.one_of(LOG_FORMATS),
        "text",
        "Format of log lines: text for people, or one JSON object per line.",
    )
    level: str = setting(
        "logging.level",
        forms.one_of(LOG_LEVELS),
        "info",
        "Minimum severity of log lines; `--debug` takes precedence.",
        ours=True,
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective configuration."""

    hostname_override: str = setting(  # CFG-02
        "hostnameOverride",
        forms.TEXT,
        "",
        "Name of this node; `--node-name` and `$NODE_NAME` take precedence. Empty: the host name.",
        restart=True,
    )
    bind_address: Address | None = setting(  # CFG-03; None: unspecified, as 0.0.0.0 and :: are
        "bindAddress",
        forms.BIND_ADDRESS,
        None,
        "An IPv6 address changes the defaults of the next two fields to `[::]` and `[::1]`.",
    )
    health_listen: SocketAddress = setting(  # CFG-04
        "healthzBindAddress",
        forms.socket_address(HEALTH_PORT),
        SocketAddress(Address.parse("0.0.0.0"), HEALTH_PORT),
        "Where `/healthz` and `/livez` are served; `0.0.0.0` and `::` stand for both families.",
    )
    metrics_listen: SocketAddress = setting(  # CFG-05
        "metricsBindAddress",
        forms.socket_address(METRICS_PORT),
        SocketAddress(Address.parse("127.0.0.1"), METRICS_PORT),
        "Where `/metrics` and the pages for people are served; by default only to this host.",
    )
    bind_address_hard_fail: bool = setting(  # CFG-06
        "bindAddressHardFail",
        forms.BOOLEAN,
        False,
        "True: the agent stops at its start if it cannot listen on the two addresses above. False: it retries.",
        restart=True,
    )
    service_networks: tuple[Network, ...] = setting(
        "serviceCIDRs",
        forms.CIDRS,
        (),
        "Ranges of the cluster IPs, as configured in the API server. External addresses in them are refused.",
        ours=True,
    )
    local_detection: LocalDetection = LocalDetection()
    node_port_addresses: NodePortAddresses = setting(  # CFG-39
        "nodePortAddresses",
        forms.NODE_PORT_ADDRESSES,
        NodePortAddresses(),
        "Node addresses on which NodePorts answer. Empty: all.",
    )
    external_addresses: ExternalAddresses = ExternalAddresses()
    allow_external_ips: bool = setting(  # SVC-08
        "featureGates.AllowServiceExternalIPs",
        forms.BOOLEAN,
        True,
        "False: external IPs are not served at all. Other gates are accepted and do nothing.",
    )
    strict_local_policy: bool = setting(  # DEV-11
        "strictLocalPolicy",
        forms.BOOLEAN,
        False,
        "True: the traffic policy Local never falls back to endpoints on other nodes.",
        ours=True,
    )
    ipv6_forwarding: bool = setting(  # DEV-31
        "ipv6Forwarding",
        forms.BOOLEAN,
        False,
        "True: sets `net.ipv6.conf.all.forwarding` to 1 where IPv6 is served; the node then ignores router "
        "advertisements unless `accept_ra` is 2. False: the agent warns if it is 0.",
        ours=True,
    )
    real_server_metrics: bool = setting(
        "realServerMetrics",
        forms.BOOLEAN,
        False,
        "True: adds metrics of every real server: one more listing, and seven more samples for each of at most 10,000 "
        "real servers.",
        restart=True,
        ours=True,
    )
    oom_score_adjust: int = setting(  # CFG-14
        "oomScoreAdj", forms.whole(-1000, 1000), -999, "Written to `/proc/self/oom_score_adj`.", restart=True
    )
    kubeconfig: str = setting(  # CFG-09
        "clientConnection.kubeconfig",
        forms.TEXT,
        "",
        "Access to the API server; `--kubeconfig` takes precedence. Empty: the pod's service account.",
        restart=True,
    )
    logging: Logging = Logging()
    scheduler: str = setting(  # CFG-20, VS-02
        "ipvs.scheduler", forms.SCHEDULER, DEFAULT_SCHEDULER, "Scheduler of every virtual server. Empty: `rr`."
    )
    scheduler_fallback: str = setting(  # DEV-35
        "ipvs.schedulerFallback",
        forms.SCHEDULER,
        "",
        "Scheduler to use if the kernel lacks `ipvs.scheduler`. Empty: none; the agent refuses to start.",
        ours=True,
    )
    scheduler_flags: int | None = setting(  # VS-03, DEV-16: bits as in model.state
        "ipvs.schedulerFlags",
        forms.SCHEDULER_FLAG_WORDS,
        None,
        "Flags of the scheduler, as ipvsadm names them; `[]` sets none. Null: `[flag-2]` for `mh`, otherwise none.",
        ours=True,
    )
    sync_period_seconds: float = setting(  # CFG-21, HC-02
        "ipvs.syncPeriod",
        forms.PERIOD,
        30.0,
        "The node is unhealthy if work is outstanding for twice this time; at least `ipvs.minSyncPeriod`. "
        "0s: the default. The agent looks for drift every second, independently of this.",
    )
    min_sync_period_seconds: float = setting(  # CFG-22
        "ipvs.minSyncPeriod", forms.DURATION, 0.0, "Minimum time between two passes; changes within it are collected."
    )
    exclude_networks: tuple[Network, ...] = setting(  # CFG-23, DEV-28
        "ipvs.excludeCIDRs",
        forms.CIDRS,
        (),
        "Virtual servers and addresses in these ranges are never changed, not even by `cleanup`.",
    )
    strict_arp: bool = setting(  # CFG-24
        "ipvs.strictARP",
        forms.BOOLEAN,
        False,
        "True: sets `arp_ignore` to 1 and `arp_announce` to 2, which MetalLB needs in layer 2 mode.",
    )
    timeouts: Timeouts = Timeouts()
    estimation: str = setting(
        "ipvs.estimation",
        forms.ESTIMATION,
        "auto",
        "Whether the kernel's rate estimator runs (`net.ipv4.vs.run_estimation`, Linux 5.15 or newer), which walks all "
        f"virtual and real servers every 2 s. `auto`: off above {ESTIMATION_OFF_ABOVE} virtual servers, on again below "
        f"{ESTIMATION_ON_BELOW}. While it is off, a scrape lets it run for 3 s, at most every 30 s: counters are then "
        "about as old as the previous scrape, and `ipvsadm --rate` shows no rates.",
        ours=True,
    )
    drain_timeout_seconds: float = setting(  # DEV-19
        "ipvs.drainTimeout",
        forms.DURATION,
        900.0,
        "How long a removed real server may keep its connections.",
        ours=True,
    )
    masquerade_all: bool = setting(  # CFG-31
        "iptables.masqueradeAll", forms.BOOLEAN, False, "True: masquerades all traffic to cluster IPs."
    )
    masquerade_bit: int = setting(  # CFG-30
        "iptables.masqueradeBit", forms.whole(0, 31), 14, "Bit of the packet mark that asks for masquerade."
    )
    iptables_variant: str = setting(
        "iptables.variant",
        forms.one_of(IPTABLES_VARIANTS),
        "auto",
        "Variant of iptables that holds the rules.",
        restart=True,
        ours=True,
    )
    conntrack: Conntrack = Conntrack()

    @property
    def effective_flags(self) -> int:
        """Return the scheduler flags of virtual servers (VS-03)."""
        return self.flags_of(self.scheduler)

    def flags_of(self, scheduler: str) -> int:
        """Return the default flags of a scheduler; the configured flags apply only to the configured scheduler."""
        if self.scheduler_flags is not None and scheduler == self.scheduler:
            return self.scheduler_flags
        return 0x10 if scheduler == "mh" else 0

    def feature_gates(self) -> tuple[FeatureGate, ...]:
        """Return all feature gates that have an effect (CFG-11)."""
        return (
            FeatureGate("AllowServiceExternalIPs", "DEPRECATED", self.allow_external_ips),
            FeatureGate("ComponentFlagz", "BETA", True),  # HC-24
            FeatureGate("ComponentStatusz", "BETA", True),
        )

    @property
    def masquerade_mark(self) -> int:
        """Return the packet mark that asks for masquerade (IPT-04)."""
        return 1 << self.masquerade_bit

    def cluster_network(self, family: Family) -> Network | None:
        """Return the cluster CIDR of a family (LOC-01)."""
        return next((n for n in self.local_detection.cluster_networks if n.family is family), None)


FIELDS: tuple[Field, ...] = tuple(fields_of(Settings()))
"""All rows, in the order of a configuration file."""


def waiting_for_restart(at_start: Settings, now: Settings) -> tuple[str, ...]:
    """Return the fields that differ between two settings and take effect only when the agent starts."""
    return tuple(f.path for f in FIELDS if f.restart and f.value(at_start) != f.value(now))
