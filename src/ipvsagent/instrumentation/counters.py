"""The owner thread's counters, as plain numbers; the metrics server reads them in another thread.

One thread writes. Readers copy: copying a dict or a list is one step of the interpreter, because no key here has a
comparison written in Python. So no lock is needed. A reader may see an observation in its bucket but not in the sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field

from ipvsagent.model.address import Family
from ipvsagent.model.objects import Kind
from ipvsagent.model.ops import AddRealServer, AddRealServers, IpvsOperation, one_by_one
from ipvsagent.model.state import VirtualServerKey

SYNC_BOUNDS_SECONDS = tuple(0.001 * 2**k for k in range(15))
"""Buckets for the duration of a pass (MET-01), and of deleting stale flows (MET-14)."""

PROGRAMMING_BOUNDS_SECONDS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
"""Buckets for the time from a pod's change to the kernel (MET-10)."""

SUCCESS, FAILURE = "success", "failure"


class Histogram(Struct, gc=False):
    """A cumulative histogram.

    Args:
        bounds: upper bounds of the buckets, ascending, in seconds; the last bucket has no bound.
        counts: observations by bucket, not added up.
        sum: of all observations, in seconds.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        """Make a bucket for each bound, and one for larger values."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value, in seconds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Drift(StrEnum):
    """Kinds of items that other programs may change in the kernel."""

    VIRTUAL_SERVER = "virtual_server"
    ADDRESS = "address"
    SET_ENTRY = "ipset_entry"
    SET = "ipset"
    RULES = "rules"
    TABLE = "table"  # virtual servers were added or removed, so the table was read again


class Counters(Struct):
    """Counts since the process began, and a few gauges that the owner thread keeps.

    Attributes:
        operations: operations by their type and the type of their error; `NoneType` for success.
        tasks: node-wide tasks, by name and result.
        changes: Service and EndpointSlice events, whether or not they changed anything (MET-05, MET-07).
        pending: events that no pass has handled yet (MET-04, MET-06).
        passes: duration of passes (MET-01).
        change_to_kernel: from an event's arrival until its changes are written.
        programming: from the cause of a slice's change to the kernel (MET-10).
        flow_cleanings: duration of finding and deleting stale flows (MET-14).
        flows_deleted: stale flows that were deleted (MET-15).
        queued_at: Unix time of the last request for a pass (MET-02); 0 before the first.
        synchronised_at: Unix time of the last pass that completed all work (MET-03); 0 before the first.
        drift_found: items that other programs changed.
        drift_repaired: items of these that were repaired.
        rule_failures: failures to write rules (MET-09).
        draining: real servers with weight 0 that wait for their connections to end.
        failing: items that could not be written.
        estimation_rounds: whether the kernel's rate estimation is off and runs only to update the counts of virtual
            servers when they are requested.
        recreated: for each virtual server that this process created, the number of the creation; the kernel's counts
            started at 0 then.
    """

    operations: dict[tuple[type, type], int] = {}
    tasks: dict[tuple[str, str], int] = {}
    changes: dict[Kind, int] = {}
    pending: dict[Kind, int] = {}
    passes: Histogram = field(default_factory=lambda: Histogram(SYNC_BOUNDS_SECONDS))
    change_to_kernel: Histogram = field(default_factory=lambda: Histogram(SYNC_BOUNDS_SECONDS))
    programming: Histogram = field(default_factory=lambda: Histogram(PROGRAMMING_BOUNDS_SECONDS))
    flow_cleanings: Histogram = field(default_factory=lambda: Histogram(SYNC_BOUNDS_SECONDS))
    flows_deleted: dict[Family, int] = {}
    queued_at: float = 0.0
    synchronised_at: float = 0.0
    drift_found: dict[Drift, int] = {}
    drift_repaired: dict[Drift, int] = {}
    rule_failures: dict[Family, int] = {}
    draining: int = 0
    failing: int = 0
    estimation_rounds: bool = False
    recreated: dict[VirtualServerKey, int] = {}
    creations: int = 0

    def note_operations(self, operations: Sequence[object], results: Sequence[object]) -> None:
        """Count a batch: each operation has one result, None or an error."""
        if any(results):
            self._count(Counter(zip(map(type, operations), map(type, results), strict=True)))
        else:  # nearly always; counting thousands of pairs takes longer
            self._count_successes(Counter(map(type, operations)))

    def note_ipvs_operations(self, operations: Sequence[IpvsOperation], results: Sequence[object]) -> None:
        """Count a batch of operations on virtual and real servers; each real server counts as one operation."""
        if any(results):
            self.note_operations(list(one_by_one(operations)), results)
            return
        found = Counter(map(type, operations))
        together = found.pop(AddRealServers, 0)
        if together:
            found[AddRealServer] += len(results) - len(operations) + together
        self._count_successes(found)

    def _count_successes(self, found: Mapping[type, int]) -> None:
        self._count({(kind, type(None)): count for kind, count in found.items()})

    def _count(self, found: Mapping[tuple[type, type], int]) -> None:
        for pair, count in found.items():
            self.operations[pair] = self.operations.get(pair, 0) + count

    def note_task(self, name: str, *, well: bool) -> None:
        """Count one node-wide task."""
        key = name, SUCCESS if well else FAILURE
        self.tasks[key] = self.tasks.get(key, 0) + 1

    def note_change(self, kind: Kind, number: int = 1) -> None:
        """Count events that the next pass handles."""
        self.changes[kind] = self.changes.get(kind, 0) + number
        self.pending[kind] = self.pending.get(kind, 0) + number

    def note_drift(self, kind: Drift, found: int, repaired: int) -> None:
        """Count items that other programs changed, and how many of them were repaired."""
        if found:
            self.drift_found[kind] = self.drift_found.get(kind, 0) + found
        if repaired:
            self.drift_repaired[kind] = self.drift_repaired.get(kind, 0) + repaired

    def note_flow_deleted(self, family: Family) -> None:
        """Count one stale flow that was deleted."""
        self.flows_deleted[family] = self.flows_deleted.get(family, 0) + 1

    def note_rule_failure(self, family: Family) -> None:
        """Count one failure to write a family's rules."""
        self.rule_failures[family] = self.rule_failures.get(family, 0) + 1

    def note_created(self, key: VirtualServerKey) -> None:
        """Note that the kernel counts a virtual server's traffic from 0 again."""
        self.creations += 1
        self.recreated[key] = self.creations
