"""The listing of nftables' tables, compared with what nft itself makes; there is no fake of it."""

from __future__ import annotations

import pytest
from lab.namespaces import Namespace

from contract.hosts import namespaces_work
from guests import NFT_MARK
from ipvsagent.kernel.netlink.nftables_tables import nftables_tables

pytestmark = [NFT_MARK, pytest.mark.skipif(not namespaces_work(), reason="needs root")]


def test_tables_of_every_family_are_listed_as_nft_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program: the agent's image has no `nft`."""
    where = Namespace()
    try:
        names = ("arp a", "bridge b", "inet c", "ip kube-proxy", "ip6 kube-proxy")
        for name in names:
            where.run("nft", "add", "table", *name.split())
        monkeypatch.setenv("PATH", "")
        with where.inside():
            assert sorted(nftables_tables()) == list(names)
    finally:
        where.close()
