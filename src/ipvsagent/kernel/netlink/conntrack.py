"""Tracked flows, over ctnetlink (module nf_conntrack_netlink, which the kernel loads automatically)."""

from __future__ import annotations

from collections.abc import Sequence

from pyroute2.netlink import NETLINK_NETFILTER

from ipvsagent.errors import InvalidRequest, NotSupported
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.netlink.codecs import conntrack as codec
from ipvsagent.kernel.netlink.sockets import Message, NetlinkSocket, failed
from ipvsagent.model.address import Address, Family
from ipvsagent.model.flows import Flow

_NO_LISTING = "the kernel cannot list tracked flows (module `nf_conntrack_netlink`, `CONFIG_NF_CT_NETLINK`)"


class ConntrackDriver:
    """The tracked flows of the creating thread's network namespace."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def list_flows(self, family: Family) -> list[Flow]:
        """As in `api.Conntrack`."""
        request = Message(codec.LIST, codec.encode_list(family))
        payloads = self._dump(request, "list flows", family.label)
        return [flow for p in payloads if (flow := codec.decode_flow(p, family)) is not None]

    def list_connections(self, answering: Address) -> list[Flow]:
        """As in `api.Conntrack`; some kernels return more flows than requested, which are dropped here."""
        family = answering.family
        request = Message(codec.LIST, codec.encode_list_answered(answering))
        payloads = self._dump(request, "list connections", str(answering))
        likely = (p for p in payloads if p.find(answering) >= 0)  # decode only those that contain the address
        found = [flow for p in likely if (flow := codec.decode_connection(p, family)) is not None]
        return [flow for flow in found if flow.reply_source == answering]

    def delete(self, flows: Sequence[Flow]) -> Results:
        """As in `api.Conntrack`."""
        answers = self._netlink.execute([Message(codec.DELETE, codec.encode_delete(f)) for f in flows])
        return [failed("delete flow", str(f), a) if a else None for f, a in zip(flows, answers, strict=True)]

    def _dump(self, request: Message, operation: str, subject: str) -> list[bytes]:
        try:
            return self._netlink.dump(request, operation=operation, subject=subject)
        except InvalidRequest as error:  # nfnetlink's answer for a subsystem that is absent
            raise NotSupported(operation, subject, error.errno, _NO_LISTING) from error
