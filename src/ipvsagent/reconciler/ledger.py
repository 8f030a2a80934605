"""What the kernel has acknowledged to us, and what was there when it was read.

Values in sync with the desired state are the very objects of the desired state, so that holding both costs
little more than holding one.
"""

from __future__ import annotations

from collections.abc import Iterable

from ipvsagent.model.address import Address
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import (
    ForwardingMethod,
    ObservedRealServer,
    ObservedVirtualServer,
    RealServer,
    SetEntry,
    VirtualServer,
    VirtualServerKey,
)

UNUSABLE_WEIGHT = -1
"""Weight that stands for "must be set anew": an adopted real server with wrong method or thresholds (DEV-17)."""


class Ledger:
    """The kernel's state as far as it is known.

    Attributes:
        virtual_servers: every virtual server, those of others included.
        foreign: keys of virtual servers that others made; they are changed only when a Service claims them and
            never removed.
        addresses: on the dummy interface.
        entries: of our ipsets.
    """

    def __init__(self) -> None:
        self.virtual_servers: dict[VirtualServerKey, VirtualServer] = {}
        self.foreign: set[VirtualServerKey] = set()
        self.addresses: set[Address] = set()
        self.entries: set[SetEntry] = set()

    def acknowledge(self, operations: Iterable[IpvsOperation]) -> None:
        """Record operations on virtual servers, in the order they were carried out."""
        for operation in operations:
            self._acknowledge(operation)

    def _acknowledge(self, operation: IpvsOperation) -> None:
        match operation:
            case AddVirtualServer(virtual_server) | ChangeVirtualServer(virtual_server):
                held = self.virtual_servers.get(virtual_server.key)
                self._put(virtual_server, held.real_servers if held else ())
            case RemoveVirtualServer(key):
                self.virtual_servers.pop(key, None)
                self.foreign.discard(key)
            case AddRealServer(key, server) | ChangeRealServer(key, server):
                held = self.virtual_servers[key]
                self._put(held, (*_without(held.real_servers, server.address, server.port), server))
            case RemoveRealServer(key, address, port):
                held = self.virtual_servers[key]
                self._put(held, _without(held.real_servers, address, port))

    def _put(self, settings: VirtualServer, real_servers: tuple[RealServer, ...]) -> None:
        self.virtual_servers[settings.key] = VirtualServer(
            settings.key,
            settings.scheduler,
            settings.flags,
            settings.persistence_timeout_seconds,
            real_servers,
        )


def from_observed(observed: ObservedVirtualServer) -> VirtualServer:
    """Take a listed virtual server into the ledger (VS-07)."""
    return VirtualServer(
        observed.key,
        observed.scheduler,
        observed.flags,
        observed.persistence_timeout_seconds,
        tuple(_real_server(r) for r in observed.real_servers),
    )


def _real_server(observed: ObservedRealServer) -> RealServer:
    right = (
        observed.forwarding_method == ForwardingMethod.MASQUERADE
        and not observed.upper_threshold
        and not observed.lower_threshold
    )
    return RealServer(observed.address, observed.port, observed.weight if right else UNUSABLE_WEIGHT)


def _without(servers: tuple[RealServer, ...], address: Address, port: int) -> tuple[RealServer, ...]:
    return tuple(s for s in servers if s.address != address or s.port != port)
