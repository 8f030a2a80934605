"""The types of setting values, and the allowed words of settings."""

from __future__ import annotations

import enum
from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Address, Family, Network

DEFAULT_SCHEDULER = "rr"

SCHEDULERS = ("dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr")
"""IPVS schedulers of current kernels; the agent checks at its start which ones this kernel has (DEV-35)."""

SCHEDULER_FLAGS = {"flag-1": 0x8, "flag-2": 0x10, "flag-3": 0x20}
"""ipvsadm's words for the scheduler flags, and their bits."""

ESTIMATION_MODES = ("auto", "on", "off")
"""Whether the kernel's rate estimator runs."""
ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW = 5000, 4000
"""`auto` changes nothing between these numbers of virtual servers, so that it does not switch back and forth."""

IPTABLES_VARIANTS = ("auto", "legacy", "nft")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("error", "warning", "info", "debug")

HEALTH_PORT, METRICS_PORT = 10256, 10249


class LocalDetectionMode(enum.StrEnum):
    """How to recognise traffic of this node's pods (LOC rules)."""

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class NodePortAddresses(Struct, frozen=True):
    """The node addresses on which NodePorts answer (NP rules).

    Args:
        networks: empty: all node addresses (NP-01).
        primary: `nodePortAddresses: ["primary"]` (NP-05); `networks` is empty then.
    """

    networks: tuple[Network, ...] = ()
    primary: bool = False


class SocketAddress(Struct, frozen=True):
    """Where a server listens; an unspecified address stands for all addresses of both families."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.family is Family.IPV4 else f"[{self.address}]:{self.port}"


class FeatureGate(NamedTuple):
    """A feature gate of Kubernetes that has an effect in the agent.

    Args:
        stage: its stage in Kubernetes 1.36, spelled as in Kubernetes' metrics.
    """

    name: str
    stage: str
    enabled: bool
