"""Endpoints that were removed from their slices, and whether their pods have certainly ended: then nothing can drain.

There are two signs. The node of the endpoint was removed from the cluster: its pods are cut off. Or the endpoint was
terminating when it was removed: its pod's grace period has ended, and its connections with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct

from ipvsagent.model.address import Address
from ipvsagent.model.objects import EndpointSlice, ObjectKey

MARGIN_SECONDS = 5.0
"""An endpoint that moves from one slice to another may be in neither slice for a moment."""

ASK_AGAIN_SECONDS = 30.0
_MOST_GONE = 4096


class DepartedEndpoint(Struct):
    """A removed endpoint; times are seconds of a monotonic clock."""

    service: ObjectKey
    node_name: str
    terminated: bool
    seen_at: float | None = None  # None: not checked yet
    asked_at: float | None = None


class DepartedEndpoints:
    """Removed endpoints whose real servers may still drain, and removed nodes.

    Args:
        own_node: this node's name; it exists, whatever the cluster says.
        slices_of: returns the current slices of a Service.
        ask_for_node: asks whether the cluster has a node; the answer comes as `NodePresence`.
    """

    def __init__(
        self,
        own_node: str,
        slices_of: Callable[[ObjectKey], Iterable[EndpointSlice]],
        ask_for_node: Callable[[str], None],
    ) -> None:
        self._own_node = own_node
        self._slices_of = slices_of
        self._departed: dict[Address, DepartedEndpoint] = {}
        self._gone: dict[str, None] = {}  # an ordered set
        self._ask_for_node = ask_for_node

    def note(self, before: EndpointSlice, after: EndpointSlice | None) -> None:
        """Note the endpoints that a slice has lost."""
        kept = {e.address for e in after.endpoints} if after else set()
        for endpoint in before.endpoints:
            if endpoint.address not in kept:
                self._departed[endpoint.address] = DepartedEndpoint(
                    before.service, endpoint.node_name, endpoint.terminating
                )

    def node_gone(self, name: str) -> None:
        """Note that the cluster no longer has a node."""
        if name != self._own_node:
            self._gone[name] = None
            if len(self._gone) > _MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def node_present(self, name: str) -> None:
        """Note that the cluster has a node."""
        self._gone.pop(name, None)

    def nodes_listed(self, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        """Compare two listings of all nodes; a node that is in neither may be newer than both."""
        for name in before.keys() - after.keys():
            self.node_gone(name)
        for name in [name for name in self._gone if name in after]:
            self.node_present(name)

    def has_ended(self, address: Address, now: float) -> bool:
        """Return whether the pod behind an address has certainly ended."""
        departed = self._departed.get(address)
        if departed is None:
            return False
        if any(e.address == address for s in self._slices_of(departed.service) for e in s.endpoints):
            del self._departed[address]  # it is back, or it was always in another slice
            return False
        if departed.seen_at is None:
            departed.seen_at = now
        if departed.node_name in self._gone:
            return True
        return departed.terminated and now - departed.seen_at >= MARGIN_SECONDS

    def inquire(self, address: Address, now: float) -> None:
        """Ask whether the node of a removed endpoint still exists, unless this was asked recently."""
        departed = self._departed.get(address)
        if departed is None or departed.node_name in ("", self._own_node):
            return
        if departed.asked_at is None or now - departed.asked_at >= ASK_AGAIN_SECONDS:
            departed.asked_at = now
            self._ask_for_node(departed.node_name)

    def keep(self, draining: Collection[Address]) -> None:
        """Forget the endpoints whose real servers do not drain."""
        if self._departed:
            self._departed = {a: d for a, d in self._departed.items() if a in draining}
