"""The state of the kernel, observed or desired: virtual servers, addresses, ipsets.

The iptables rules are in `model.rules`. On a large node these values are compared and hashed millions of times, so they
are msgspec structs (compared and hashed in C) instead of dataclasses.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from msgspec import Struct

from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.objects import ObjectKey, Problem
from ipvsagent.model.rules import RuleSet

DUMMY_INTERFACE = "kube-ipvs0"
"""The interface that has the VIPs (ADR-01); the same name as kube-proxy's, so that a node can switch."""

FLAG_PERSISTENT = 0x1  # IP_VS_SVC_F_PERSISTENT
FLAG_HASHED = 0x2  # IP_VS_SVC_F_HASHED: the kernel's own, masked when read (VS-03)
FLAG_SCHEDULER_1 = 0x8  # sh-fallback, mh-fallback
FLAG_SCHEDULER_2 = 0x10  # sh-port, mh-port
FLAG_SCHEDULER_3 = 0x20

DEFAULT_MAX_ELEMENTS = 65536


class VirtualServerKey(Struct, frozen=True, gc=False, order=True):
    """Address, port and protocol on which IPVS balances."""

    protocol: Protocol
    address: Address
    port: int  # host byte order

    def __str__(self) -> str:
        return f"{endpoint_text(self.address, self.port)}/{self.protocol.name}"


class RealServerKey(NamedTuple):
    """Address and port of a real server; unique within its virtual server."""

    address: Address
    port: int  # host byte order


class RealServer(Struct, frozen=True, gc=False):
    """One endpoint behind a virtual server, as IPVS knows it; forwarding is by masquerading (VS-06)."""

    address: Address
    port: int  # host byte order
    weight: int = 1  # 0: drain, no new connections

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


class VirtualServer(Struct, frozen=True, gc=False):
    """A virtual server with its real servers (VS-01 to VS-06).

    Invariant: real servers are of the key's family and differ in address or port.
    """

    key: VirtualServerKey
    scheduler: str
    flags: int = 0  # scheduler flags only; persistence is in the next field
    persistence_timeout_seconds: int = 0  # 0: not persistent
    real_servers: tuple[RealServer, ...] = ()

    @property
    def settings(self) -> tuple[str, int, int]:
        """Return the settings that can be changed in place: scheduler, flags, persistence timeout (VS-05)."""
        return self.scheduler, self.flags, self.persistence_timeout_seconds


class ForwardingMethod(enum.IntEnum):
    """How a packet reaches the real server (IP_VS_CONN_F_*)."""

    MASQUERADE = 0
    LOCAL = 1
    TUNNEL = 2
    DIRECT_ROUTING = 3


class ObservedRealServer(Struct, frozen=True, gc=False):
    """A real server as the kernel lists it."""

    address: Address
    port: int
    weight: int = 1
    forwarding_method: int = ForwardingMethod.MASQUERADE
    upper_threshold: int = 0
    lower_threshold: int = 0
    active_connections: int = 0
    inactive_connections: int = 0


class ObservedVirtualServer(Struct, frozen=True, gc=False):
    """A virtual server as the kernel lists it; those by firewall mark are not listed (DEV-29)."""

    key: VirtualServerKey
    scheduler: str
    flags: int = 0  # without FLAG_PERSISTENT and FLAG_HASHED
    persistence_timeout_seconds: int = 0
    real_servers: tuple[ObservedRealServer, ...] = ()

    @property
    def settings(self) -> tuple[str, int, int]:
        """As in `VirtualServer.settings`."""
        return self.scheduler, self.flags, self.persistence_timeout_seconds


class IpvsTimeouts(Struct, frozen=True, gc=False):
    """IPVS connection timeouts in seconds (SYS-08); 0 in a request keeps the value."""

    tcp_seconds: int = 0
    tcp_fin_seconds: int = 0
    udp_seconds: int = 0


class Link(Struct, frozen=True, gc=False):
    """A network interface."""

    index: int
    name: str
    kind: str = ""  # dummy, veth, bridge, ...; empty for hardware and loopback


class LinkAddress(Struct, frozen=True, gc=False):
    """An address on a network interface."""

    link_name: str
    address: Address
    prefix_length: int


class SetType(enum.StrEnum):
    """The ipset types in use (SET-01 to SET-18)."""

    HASH_IP = "hash:ip"
    HASH_IP_PORT = "hash:ip,port"
    HASH_IP_PORT_IP = "hash:ip,port,ip"
    HASH_IP_PORT_NET = "hash:ip,port,net"
    BITMAP_PORT = "bitmap:port"


class SetSpec(Struct, frozen=True, gc=False):
    """How an ipset is created; hash sets with hashsize 1024, bitmaps with range 0-65535."""

    name: str
    type: SetType
    family: Family | None  # None for bitmap:port
    max_elements: int = DEFAULT_MAX_ELEMENTS  # hash sets only


class SetEntry(Struct, frozen=True, gc=False):
    """One entry of an ipset; the fields in use follow from the set's type.

    ============ ===================================================================
    bitmap:port  port
    hash:ip      address
    hash:ip,port address, protocol, port
    …,ip         … and other_address
    …,net        … and other_address with other_prefix_length (host bits zero)
    ============ ===================================================================
    """

    set_name: str
    port: int = 0
    protocol: Protocol | None = None
    address: Address | None = None
    other_address: Address | None = None
    other_prefix_length: int | None = None  # the full length is 32 or 128, never None

    @property
    def text(self) -> str:
        """Return the entry as `ipset save` prints it (SET-30, SET-33)."""
        if self.address is None:
            return str(self.port)
        words = str(self.address)
        if self.protocol is not None:
            words += f",{self.protocol.word}:{self.port}"
        if self.other_address is not None:
            words += f",{self.other_address}"
            if self.other_prefix_length not in (None, self.other_address.family.bits):
                words += f"/{self.other_prefix_length}"
        return words

    def __str__(self) -> str:
        return f"{self.set_name} {self.text}"


class ObservedSet(Struct, frozen=True, gc=False):
    """An ipset's header as the kernel lists it."""

    name: str
    type: str  # the kernel's type name; it may be one that `SetType` lacks
    family: Family | None
    max_elements: int = 0  # of bitmap:port the number of ports in its range
    references: int = 0
    entries: int = 0


class FrontendKind(enum.IntEnum):
    """The four ways to reach a Service; a smaller number has precedence in a conflict (DEV-14)."""

    CLUSTER_IP = 0
    LOAD_BALANCER_IP = 1
    EXTERNAL_IP = 2
    NODE_PORT = 3


class Frontend(Struct, frozen=True, gc=False):
    """One way to reach a port of a Service: a virtual server, with the set entries and the VIP that it needs."""

    kind: FrontendKind
    virtual_server: VirtualServer
    entries: tuple[SetEntry, ...]  # claimed together with the virtual server's key
    bind: bool  # whether its address belongs on the dummy interface (ADR-03 to ADR-05)


class HealthCheck(Struct, frozen=True, gc=False):
    """The state behind a Service's health check node port in one family (HC-10, HC-14)."""

    family: Family
    port: int
    local_endpoints: int  # distinct addresses of ready endpoints on this node


class TrafficPolicyKind(enum.StrEnum):
    """The two traffic policies of a Service."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class NoLocalEndpoints(NamedTuple):
    """A Service with traffic policy Local has endpoints, but none on this node (EP-38)."""

    policy: TrafficPolicyKind
    family: Family


class ServicePlan(Struct, frozen=True, gc=False):
    """What one Service needs on this node.

    Invariant: the frontends' keys differ.
    """

    service: ObjectKey
    created_at: str = ""  # decides conflicts (DEV-14)
    frontends: tuple[Frontend, ...] = ()
    entries: tuple[SetEntry, ...] = ()  # kept even if another Service owns a frontend's address
    problems: tuple[Problem, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()  # at most one for each family
    no_local_endpoints: tuple[NoLocalEndpoints, ...] = ()  # without duplicates, for all ports


class DesiredState(Struct, frozen=True, gc=False):
    """The desired state of the kernel, sorted; `ipvsagent plan` prints it."""

    virtual_servers: tuple[VirtualServer, ...]
    addresses: tuple[Address, ...]  # on the dummy interface
    sets: tuple[SetSpec, ...]
    entries: tuple[SetEntry, ...]
    rules: tuple[RuleSet, ...]  # one for each family
    problems: tuple[Problem, ...] = ()


def endpoint_text(address: Address, port: int) -> str:
    """``10.0.0.1:80`` or ``[fd00::1]:80``."""
    return f"{address}:{port}" if len(address) == 4 else f"[{address}]:{port}"
