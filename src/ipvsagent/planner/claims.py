"""Who owns a virtual server when several Services claim its address, port and protocol.

A cluster IP goes before other ways in; then the oldest Service wins, then the first by namespace and name
(DEV-14). The answer depends on the claims alone, never on the order in which they were heard.

Invariant: each claimed virtual server has exactly one owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ipvsagent.model.objects import ObjectKey
from ipvsagent.model.state import FrontendKind, VirtualServerKey

_YOUNGEST = "9999"  # after every RFC 3339 time


class Claim(NamedTuple):
    """One Service's claim; the smaller one wins."""

    rank: int  # 0 for a cluster IP, else 1
    created_at: str
    service: ObjectKey

    @classmethod
    def of(cls, kind: FrontendKind, created_at: str, service: ObjectKey) -> Claim:
        """Make the claim of a frontend."""
        # An unknown age is the youngest: it must not take anything from a Service whose age is known.
        return cls(0 if kind is FrontendKind.CLUSTER_IP else 1, created_at or _YOUNGEST, service)


class Claims:
    """All claims of the node, changed one Service at a time."""

    def __init__(self) -> None:
        self._owners: dict[VirtualServerKey, Claim] = {}
        self._losers: dict[VirtualServerKey, list[Claim]] = {}  # only where there are any; sorted

    def owner(self, key: VirtualServerKey) -> ObjectKey | None:
        """The Service that owns a virtual server; None if nobody claims it."""
        claim = self._owners.get(key)
        return claim.service if claim else None

    def losers_of(self, key: VirtualServerKey) -> Sequence[Claim]:
        """The claims on one virtual server that lost, best first."""
        return self._losers.get(key, ())

    def losers(self) -> Mapping[VirtualServerKey, list[Claim]]:
        """Every conflict: the claims that lost, best first."""
        return self._losers

    def withdraw(self, key: VirtualServerKey, service: ObjectKey) -> None:
        """Take back a Service's claim; the best of the losers, if any, becomes the owner."""
        losers = self._losers.get(key, [])
        if self._owners[key].service == service:
            if losers:
                self._owners[key] = losers.pop(0)
            else:
                del self._owners[key]
        else:
            losers[:] = [c for c in losers if c.service != service]
        if not losers:
            self._losers.pop(key, None)

    def take_free(self, key: VirtualServerKey, kind: FrontendKind, created_at: str, service: ObjectKey) -> bool:
        """Enter a frontend's claim on a virtual server if nobody claims that; answer whether it is the owner now."""
        if key in self._owners:
            return False
        self._owners[key] = Claim.of(kind, created_at, service)
        return True

    def enter(self, key: VirtualServerKey, claim: Claim) -> None:
        """Enter a claim of a Service that has none on this virtual server."""
        owner = self._owners.get(key)
        if owner is None:
            self._owners[key] = claim
            return
        self._owners[key] = min(owner, claim)
        losers = self._losers.setdefault(key, [])
        losers.append(max(owner, claim))
        losers.sort()
