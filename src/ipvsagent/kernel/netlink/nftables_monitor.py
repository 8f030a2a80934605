"""Notifications about nf_tables, of which iptables-nft's chains and rules are made.

The kernel notifies the members of one group of every change to every chain. Other programs may change their chains many
times a second, so only the chains that hold the agent's rules count. Family, table and chain are read from the start of
each message. The agent's own changes are not filtered out: they are rare, and comparing the rules once more is cheap.

The receive buffer keeps the kernel's default size: when a large transaction of another program overflows it, comparing
the rules costs less than reading all of its messages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pyroute2.netlink import NETLINK_NETFILTER
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES
from pyroute2.netlink.nfnetlink import nftsocket as constants

from ipvsagent.kernel.netlink.sockets import attributes
from ipvsagent.kernel.netlink.subscription import Subscription
from ipvsagent.model.address import Family
from ipvsagent.model.events import RulesChanged
from ipvsagent.model.rules import ChainKey

_GROUP = 1 << 7 - 1  # NFNLGRP_NFTABLES is 7 (linux/netfilter/nfnetlink.h); pyroute2 does not name it
_HEADER_BYTES = 4  # struct nfgenmsg: the family is its first byte
_FAMILIES = {constants.NFPROTO_IPV4: Family.IPV4, constants.NFPROTO_IPV6: Family.IPV6}
_TABLE = 1  # NFTA_RULE_TABLE and NFTA_CHAIN_TABLE
_CHAIN_NAME = {
    NFNL_SUBSYS_NFTABLES << 8 | message: attribute
    for message, attribute in (
        (constants.NFT_MSG_NEWRULE, 2),  # NFTA_RULE_CHAIN
        (constants.NFT_MSG_DELRULE, 2),
        (constants.NFT_MSG_NEWCHAIN, 3),  # NFTA_CHAIN_NAME
        (constants.NFT_MSG_DELCHAIN, 3),
    )
}
"""The attribute with the chain's name, by message type; other types, such as those about sets, are skipped."""


class NftablesMonitor(Subscription[RulesChanged]):
    """Reports changed chains and rules; implements `api.Monitor`. Needs the capability NET_ADMIN.

    Args:
        chains: the chains to report.
    """

    def __init__(self, chains: Collection[ChainKey]) -> None:
        self._chains = frozenset(
            (family, table.encode() + b"\0", chain.encode() + b"\0") for family, table, chain in chains
        )
        super().__init__(NETLINK_NETFILTER, _GROUP)

    def _interpret(self, messages: Iterator[tuple[int, bytes]]) -> list[RulesChanged]:
        changed = set()
        for kind, payload in messages:
            name = _CHAIN_NAME.get(kind)
            family = _FAMILIES.get(payload[0]) if name and payload else None
            if name is None or family is None or family in changed:
                continue
            found = attributes(payload, _HEADER_BYTES)
            if (family, found.get(_TABLE), found.get(name)) in self._chains:
                changed.add(family)
        return [RulesChanged(family) for family in sorted(changed)]

    def _start_again(self) -> list[RulesChanged]:
        return [RulesChanged(family) for family in sorted({family for family, _, _ in self._chains})]
