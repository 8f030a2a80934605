"""The tracked flows of the fake kernel."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ipvsagent.errors import KernelError, kernel_error
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.flows import Flow


class FakeConntrack:
    """The flows; implements `api.Conntrack`.

    Attributes:
        flows: the tracked flows, of any protocol; tests add to it.
        listings: how often a family was listed.
        failures: errors for the next listings, first one first; tests add to it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.flows: list[Flow] = []
        self.listings = 0
        self.failures: list[KernelError] = []

    def list_flows(self, family: Family) -> list[Flow]:
        """As in `api.Conntrack`."""
        self.listings += 1
        if self.failures:
            raise self.failures.pop(0)
        return [f for f in self.flows if f.family is family and f.protocol is not Protocol.TCP]

    def list_connections(self, answering: Address) -> list[Flow]:
        """As in `api.Conntrack`."""
        self.listings += 1
        if self.failures:
            raise self.failures.pop(0)
        return [f for f in self.flows if f.reply_source == answering and f.protocol is Protocol.TCP]

    def delete(self, flows: Sequence[Flow]) -> Results:
        """As in `api.Conntrack`."""
        self._journal.count_batch(len(flows))
        results: Results = []
        for flow in flows:
            if flow in self.flows:
                self.flows.remove(flow)
                self._journal.record(f"delete flow {flow}")
                results.append(None)
            else:
                results.append(kernel_error("delete flow", str(flow), errno.ENOENT))
        return results
