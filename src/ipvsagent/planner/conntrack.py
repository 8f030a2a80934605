"""Find stale flows in connection tracking (CT-03 to CT-08, DEV-21, DEV-22).

UDP and SCTP clients that continue to send keep their flow and its real server. After the real server was removed, their
packets are lost until the flow is deleted, too. TCP does not need this: the client notices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ipvsagent.model.address import Address, Protocol
from ipvsagent.model.flows import Flow
from ipvsagent.model.state import VirtualServerKey

CLEANED_PROTOCOLS = (Protocol.UDP, Protocol.SCTP)
"""Protocols without connections whose flows may become stale; TCP flows are never deleted."""

AddressAndPort = tuple[Address, int]
"""Address and port (host byte order) of a real server."""


def stale_flows(flows: Iterable[Flow], frontends: Mapping[VirtualServerKey, Collection[AddressAndPort]]) -> list[Flow]:
    """Return the flows to these frontends that do not go to one of their real servers.

    A frontend is matched by its exact address, port and protocol, node ports included: they are virtual servers on
    node addresses (CT-04, DEV-22). Flows that were never translated have the frontend itself as the source of replies,
    and are also stale (CT-08).

    Args:
        frontends: frontends with their real servers; without real servers, all flows of a frontend are stale (DEV-21).
    """
    stale = []
    for flow in flows:
        if flow.protocol not in CLEANED_PROTOCOLS:
            continue
        kept = frontends.get(flow.frontend)
        if kept is not None and (flow.reply_source, flow.reply_source_port) not in kept:
            stale.append(flow)
    return stale
