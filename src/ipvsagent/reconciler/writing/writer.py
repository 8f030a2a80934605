"""Write differences: in the right order, in batches, with each error assigned to its object.

Order of writes (DEV-06): add set entries, virtual servers with their real servers, addresses; then remove virtual
servers, addresses, set entries. So a VIP never answers before it can forward, and refuses connections as soon as it is
removed. A virtual server with source ranges waits until its ipset entry was acknowledged (DEV-80).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ipvsagent.errors import AcknowledgementsLost, AlreadyExists, KernelError, NotFound, SetFull
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Drivers
from ipvsagent.model.ops import (
    AddAddress,
    AddEntry,
    AddressOperation,
    AddVirtualServer,
    EntryOperation,
    IpvsOperation,
    RemoveAddress,
    RemoveEntry,
    RemoveVirtualServer,
    count_results,
    one_by_one,
)
from ipvsagent.model.state import DUMMY_INTERFACE, RealServer, SetEntry, VirtualServerKey
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.writing.comparison import Differences, Item, firewall_entry
from ipvsagent.reconciler.writing.diff import ServerChange

SERVERS_PER_BATCH = 64  # a larger batch is not faster, and needs more kernel memory


@dataclass(slots=True)
class Outcome:
    """The result of a write.

    Attributes:
        failures: the first error of each item that could not be written.
        drift: whether the kernel turned out to differ from the ledger, so that it must be read again.
        dummy_missing: whether the dummy interface is missing.
        draining: real servers that started to drain, by virtual server.
        full_sets: names of full sets.
    """

    failures: dict[Item, KernelError] = field(default_factory=dict)
    drift: bool = False
    dummy_missing: bool = False
    draining: dict[VirtualServerKey, tuple[RealServer, ...]] = field(default_factory=dict)
    full_sets: set[str] = field(default_factory=set)


class Writer:
    """Sends operations to the kernel and records in the ledger what it acknowledged."""

    def __init__(self, drivers: Drivers, ledger: Ledger, counters: Counters) -> None:
        self._drivers = drivers
        self._ledger = ledger
        self._counters = counters

    def write(self, differences: Differences) -> Outcome:
        """Write the differences; items in sync cost no message."""
        outcome = Outcome()
        self._write_entries([AddEntry(e) for e in differences.entries_to_add], outcome)
        self._write_virtual_servers(_hold_back(differences, outcome), outcome)
        addresses = [a for a in differences.addresses_to_add if a not in outcome.failures]
        self._write_addresses([AddAddress(a) for a in addresses], outcome)
        self._write_virtual_servers(differences.servers_to_remove, outcome)
        _keep_traces(differences, outcome)
        failures = outcome.failures
        self._write_addresses([RemoveAddress(a) for a in differences.addresses_to_remove if a not in failures], outcome)
        self._write_entries([RemoveEntry(e) for e in differences.entries_to_remove if e not in failures], outcome)
        return outcome

    # -- virtual servers ---------------------------------------------------------------------------------------

    def _write_virtual_servers(self, changes: Sequence[ServerChange], outcome: Outcome) -> None:
        for start in range(0, len(changes), SERVERS_PER_BATCH):
            self._write_batch(changes[start : start + SERVERS_PER_BATCH], outcome)

    def _write_batch(self, changes: Iterable[ServerChange], outcome: Outcome) -> None:
        writing: list[ServerChange] = []
        batch: list[IpvsOperation] = []
        for change in changes:
            if change.operations:
                writing.append(change)
                batch += change.operations
            else:
                self._settle(change, outcome)
        if not batch:
            return
        results = self._drivers.ipvs.apply(batch)
        self._counters.note_ipvs_operations(batch, results)
        if not any(results):
            for change in writing:
                self._note_creation(change.operations[0], None)
                self._settle(change, outcome)
            return
        start = 0
        for change in writing:
            part = results[start : start + count_results(change.operations)]
            start += len(part)
            self._note_creation(change.operations[0], part[0])
            if any(part):
                self._note_failures(change, part, outcome)
            else:
                self._settle(change, outcome)

    def _settle(self, change: ServerChange, outcome: Outcome) -> None:
        """Store the desired value in the ledger; a virtual server that a Service claims is not foreign any more."""
        if change.after is None:
            self._ledger.forget(change.key)
            return
        if change.draining:
            outcome.draining[change.key] = change.draining
        self._ledger.hold(change.after)
        self._ledger.claim(change.key)

    def _note_failures(self, change: ServerChange, results: Sequence[KernelError | None], outcome: Outcome) -> None:
        """Record which of a virtual server's operations worked, and the first error."""
        operations = list(one_by_one(change.operations))
        outcome.failures[change.key] = next(r for r in results if r is not None)
        if isinstance(operations[0], AddVirtualServer) and results[0] is not None:
            # No other operation of this virtual server can have succeeded; NotFound means an unknown scheduler here.
            outcome.drift |= isinstance(results[0], AlreadyExists | AcknowledgementsLost)
            return
        self._ledger.acknowledge(o for o, r in zip(operations, results, strict=True) if r is None)
        outcome.drift |= any(_means_drift(r) for r in results)

    def _note_creation(self, operation: IpvsOperation, error: KernelError | None) -> None:
        """Note that the kernel's counters start at 0 again; after a lost acknowledgement, they may."""
        if isinstance(operation, AddVirtualServer):
            if error is None or isinstance(error, AcknowledgementsLost):
                self._counters.note_created(operation.virtual_server.key)
        elif isinstance(operation, RemoveVirtualServer):
            self._counters.recreated.pop(operation.key, None)

    # -- addresses ---------------------------------------------------------------------------------------------

    def _write_addresses(self, operations: Sequence[AddressOperation], outcome: Outcome) -> None:
        if not operations:
            return
        try:
            results = self._drivers.addresses.apply(DUMMY_INTERFACE, operations)
        except KernelError as error:  # the interface does not exist, or could not be listed
            outcome.dummy_missing = isinstance(error, NotFound)
            outcome.failures.update((o.address, error) for o in operations)
            self._counters.note_operations(operations, [error] * len(operations))
            return
        self._counters.note_operations(operations, results)
        for operation, result in zip(operations, results, strict=True):
            adding = isinstance(operation, AddAddress)
            settled = AlreadyExists if adding else NotFound  # the kernel already holds the wanted state
            if result is None or isinstance(result, settled):
                (self._ledger.add_address if adding else self._ledger.remove_address)(operation.address)
            else:
                outcome.failures[operation.address] = result
                outcome.drift |= _means_drift(result)

    # -- set entries -------------------------------------------------------------------------------------------

    def _write_entries(self, operations: Sequence[EntryOperation], outcome: Outcome) -> None:
        if not operations:
            return
        results = self._drivers.ip_sets.apply(operations)
        self._counters.note_operations(operations, results)
        added = [o.entry for o, r in zip(operations, results, strict=True) if r is None and isinstance(o, AddEntry)]
        self._ledger.add_entries(added)
        if len(added) == len(operations):
            return
        for operation, error in zip(operations, results, strict=True):
            if error is not None:
                outcome.failures[operation.entry] = error
                outcome.drift |= _means_drift(error)
                if isinstance(error, SetFull):
                    outcome.full_sets.add(operation.entry.set_name)
            elif isinstance(operation, RemoveEntry):
                self._ledger.remove_entry(operation.entry)


def _hold_back(differences: Differences, outcome: Outcome) -> Sequence[ServerChange]:
    """Return the changes that may be written, without those whose source ranges are not in force (DEV-80).

    A virtual server that is held back, and its address if it is not bound, fail with the error of the ipset entry.
    """
    if not outcome.failures:
        return differences.servers
    allowed = []
    for change in differences.servers:
        error = outcome.failures.get(firewall_entry(change.key)) if change.operations else None
        if error is None:
            allowed.append(change)
            continue
        outcome.failures[change.key] = error
        outcome.failures.update((a, error) for a in differences.addresses_to_add if a == change.key.address)
    return allowed


def _keep_traces(differences: Differences, outcome: Outcome) -> None:
    """Keep the address and the entries of a virtual server that could not be removed, and retry all of it.

    They identify it as ours: without them it would never be removed.
    """
    for key in (change.key for change in differences.servers_to_remove):
        error = outcome.failures.get(key)
        if error is not None:
            outcome.failures.update((a, error) for a in differences.addresses_to_remove if a == key.address)
            outcome.failures.update((e, error) for e in differences.entries_to_remove if _is_trace(e, key))


def _is_trace(entry: SetEntry, key: VirtualServerKey) -> bool:
    """Return whether an entry names a virtual server, its address, or its port as a node port."""
    return entry.port in (0, key.port) and entry.address in (None, key.address)


def _means_drift(error: KernelError | None) -> bool:
    """Return whether an error shows that the kernel differs or may differ from the ledger."""
    return isinstance(error, AlreadyExists | NotFound | AcknowledgementsLost)
