"""Every setting, typed, with its default and unit; how a file becomes these values stands in `config.load`.

The defaults serve a node without any configuration file. Rule IDs: CFG.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Address, Family, Network

DEFAULT_SCHEDULER = "rr"

SCHEDULERS = ("dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr")
"""IPVS schedulers of current kernels; the kernel's own list decides at start (DEV-35)."""

ESTIMATION_MODES = ("auto", "on", "off")
"""Whether the kernel's rate estimator runs."""
ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW = 5000, 4000
"""Numbers of virtual servers between which `auto` leaves it as it is, so that it does not change back and forth."""

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("error", "warning", "info", "debug")


class LocalDetectionMode(enum.StrEnum):
    """How to recognise traffic of this node's pods (LOC rules)."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class LocalDetection(Struct, frozen=True):
    """Settings of local detection (CFG-35 to CFG-38)."""

    mode: LocalDetectionMode = LocalDetectionMode.CLUSTER_CIDR
    cluster_networks: tuple[Network, ...] = ()  # `clusterCIDR`; the first of each family counts (LOC-01)
    bridge_interface: str = ""
    interface_name_prefix: str = ""


class NodePortAddresses(Struct, frozen=True):
    """On which node addresses NodePorts answer (NP rules).

    Args:
        networks: empty: all node addresses (NP-01).
        primary: `nodePortAddresses: ["primary"]` (NP-05); `networks` is empty then.
    """

    networks: tuple[Network, ...] = ()
    primary: bool = False


class Timeouts(Struct, frozen=True):
    """IPVS connection timeouts in seconds (CFG-25); 0 leaves the kernel's value.

    Args:
        automatic: ours: raise a TCP timeout that is not given above the host's TCP keepalive time.
    """

    tcp_seconds: int = 0
    tcp_fin_seconds: int = 0
    udp_seconds: int = 0
    automatic: bool = True


class Conntrack(Struct, frozen=True):
    """Connection tracking limits (CFG-41 to CFG-44); 0 leaves the kernel's value."""

    max_per_core: int = 32768
    min: int = 131072
    tcp_established_seconds: int = 86400
    tcp_close_wait_seconds: int = 3600
    udp_seconds: int = 0
    udp_stream_seconds: int = 0
    tcp_be_liberal: bool = False


class SocketAddress(Struct, frozen=True):
    """Where a server listens; an unspecified address stands for all addresses of both families."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.family is Family.IPV4 else f"[{self.address}]:{self.port}"


HEALTH_PORT, METRICS_PORT = 10256, 10249


class ExternalAddresses(Struct, frozen=True):
    """Which external addresses Services may claim (the class of CVE-2020-8554); empty: all that nobody else owns.

    Args:
        external_ips: ranges that `spec.externalIPs` must lie in.
        load_balancer_ips: ranges that load balancer addresses must lie in.
    """

    external_ips: tuple[Network, ...] = ()
    load_balancer_ips: tuple[Network, ...] = ()


class Logging(Struct, frozen=True):
    """How log lines look and which are written (CFG-12)."""

    format: str = "text"  # one of LOG_FORMATS
    level: str = "info"  # one of LOG_LEVELS


class FeatureGate(NamedTuple):
    """A feature gate of Kubernetes that means something to the agent.

    Args:
        stage: in Kubernetes 1.36, in the words of its metrics.
    """

    name: str
    stage: str
    enabled: bool


class Settings(Struct, frozen=True):
    """The effective configuration."""

    hostname_override: str = ""  # CFG-02
    bind_address: Address | None = None  # CFG-03; None: unspecified, as 0.0.0.0 and :: are
    health_listen: SocketAddress = SocketAddress(Address.parse("0.0.0.0"), HEALTH_PORT)  # CFG-04
    metrics_listen: SocketAddress = SocketAddress(Address.parse("127.0.0.1"), METRICS_PORT)  # CFG-05
    bind_address_hard_fail: bool = False  # CFG-06: a start that cannot listen on both of these fails
    scheduler: str = DEFAULT_SCHEDULER  # CFG-20, VS-02
    scheduler_fallback: str = ""  # ours, DEV-35: used where the kernel lacks `scheduler`; empty: the start is refused
    scheduler_flags: int | None = None  # bits as in model.state; None: 0x10 for mh, else 0 (VS-03, DEV-16)
    strict_arp: bool = False  # CFG-24
    exclude_networks: tuple[Network, ...] = ()  # CFG-23, DEV-28
    timeouts: Timeouts = Timeouts()
    estimation: str = "auto"  # ours: one of ESTIMATION_MODES
    drain_timeout_seconds: float = 900.0  # ours, DEV-19: how long a removed real server may keep its connections
    sync_period_seconds: float = 30.0  # CFG-21: twice this is how long work may be outstanding (HC-02)
    min_sync_period_seconds: float = 0.0  # CFG-22: changes within it are gathered
    masquerade_bit: int = 14  # CFG-30
    masquerade_all: bool = False  # CFG-31
    local_detection: LocalDetection = LocalDetection()
    node_port_addresses: NodePortAddresses = NodePortAddresses()  # CFG-39
    conntrack: Conntrack = Conntrack()
    iptables_variant: str = "auto"  # ours: auto, legacy or nft
    strict_local_policy: bool = False  # ours, DEV-11: no fallback to remote endpoints
    ipv6_forwarding: bool = False  # ours, DEV-31: set net.ipv6.conf.all.forwarding where IPv6 is served
    real_server_metrics: bool = False  # ours: traffic of every real server among the metrics
    allow_external_ips: bool = True  # feature gate AllowServiceExternalIPs (SVC-08)
    external_addresses: ExternalAddresses = ExternalAddresses()  # ours
    service_networks: tuple[Network, ...] = ()  # ours: ranges of cluster IPs, which no external address may lie in
    logging: Logging = Logging()
    oom_score_adjust: int = -999  # CFG-14
    kubeconfig: str = ""  # CFG-09

    @property
    def effective_flags(self) -> int:
        """The scheduler flags that virtual servers get (VS-03)."""
        return self.flags_of(self.scheduler)

    def flags_of(self, scheduler: str) -> int:
        """The flags of a scheduler for which nobody else gives any; those configured are for the configured one."""
        if self.scheduler_flags is not None and scheduler == self.scheduler:
            return self.scheduler_flags
        return 0x10 if scheduler == "mh" else 0

    def feature_gates(self) -> tuple[FeatureGate, ...]:
        """All that mean something (CFG-11)."""
        return (
            FeatureGate("AllowServiceExternalIPs", "DEPRECATED", self.allow_external_ips),
            FeatureGate("ComponentFlagz", "BETA", True),  # HC-24
            FeatureGate("ComponentStatusz", "BETA", True),
        )

    @property
    def masquerade_mark(self) -> int:
        """The packet mark that asks for masquerade (IPT-04)."""
        return 1 << self.masquerade_bit

    def cluster_network(self, family: Family) -> Network | None:
        """The cluster CIDR of a family (LOC-01)."""
        return next((n for n in self.local_detection.cluster_networks if n.family is family), None)
