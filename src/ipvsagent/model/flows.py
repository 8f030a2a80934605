"""Flows of the kernel's connection tracking, with the fields that deleting stale flows needs."""

from __future__ import annotations

from msgspec import Struct

from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.state import VirtualServerKey, endpoint_text


class Flow(Struct, frozen=True, gc=False):
    """One tracked flow, in both directions; ports in host byte order.

    The original direction has the addresses of the client's first packet, the reply direction those that the kernel
    expects in the reply. If IPVS translated the flow, the reply comes from the real server; else from the address that
    the client used (CT-08).
    """

    protocol: Protocol
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    reply_source: Address
    reply_source_port: int
    reply_destination: Address
    reply_destination_port: int
    over: bool = False  # TCP: closed by both sides, or in TIME_WAIT
    id: int = 0  # the kernel's number of this flow, in host byte order; 0: unknown

    @property
    def family(self) -> Family:
        """Return the family of its addresses."""
        return self.destination.family

    @property
    def frontend(self) -> VirtualServerKey:
        """Return the key of the virtual server for the client's packets, if there is one."""
        return VirtualServerKey(self.protocol, self.destination, self.destination_port)

    def __str__(self) -> str:
        return (
            f"{self.protocol.word} {endpoint_text(self.source, self.source_port)}"
            f" to {endpoint_text(self.destination, self.destination_port)}"
            f" answered by {endpoint_text(self.reply_source, self.reply_source_port)}"
        )
