"""Decide which Service owns a virtual server if several claim its address, port and protocol (DEV-14).

A cluster IP has precedence; then the oldest Service wins, then the first one by namespace and name. The result depends
only on the claims and not on the order in which they were added.

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
        """Return the claim of a frontend."""
        # A Service of unknown age counts as the youngest, so it takes nothing from a Service whose age is known.
        return cls(0 if kind is FrontendKind.CLUSTER_IP else 1, created_at or _YOUNGEST, service)


class Claims:
    """All claims of the node, changed one Service at a time."""

    def __init__(self) -> None:
        self._owners: dict[VirtualServerKey, Claim] = {}
        self._losers: dict[VirtualServerKey, list[Claim]] = {}  # sorted, never empty

    def owner(self, key: VirtualServerKey) -> ObjectKey | None:
        """Return the Service that owns a virtual server, or None."""
        claim = self._owners.get(key)
        return claim.service if claim else None

    def losers_of(self, key: VirtualServerKey) -> Sequence[Claim]:
        """Return the lost claims on a virtual server, best first."""
        return self._losers.get(key, ())

    def losers(self) -> Mapping[VirtualServerKey, list[Claim]]:
        """Return all conflicts: the lost claims by virtual server, best first."""
        return self._losers

    def withdraw(self, key: VirtualServerKey, service: ObjectKey) -> None:
        """Remove a Service's claim; the best of the lost claims, if any, becomes the owner."""
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
        """Add a claim if no Service claims the virtual server; return whether the claim is the owner now."""
        if key in self._owners:
            return False
        self._owners[key] = Claim.of(kind, created_at, service)
        return True

    def enter(self, key: VirtualServerKey, claim: Claim) -> None:
        """Add the claim of a Service that has no claim on this virtual server."""
        owner = self._owners.get(key)
        if owner is None:
            self._owners[key] = claim
            return
        self._owners[key] = min(owner, claim)
        losers = self._losers.setdefault(key, [])
        losers.append(max(owner, claim))
        losers.sort()
