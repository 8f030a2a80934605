"""Carrying out differences: in the right order, in batches, with errors kept to the object they belong to.

Order of a batch (design, section 2): set entries, virtual servers with their real servers, addresses; then what
goes: virtual servers, addresses, set entries. So a VIP never answers before it can forward, and refuses at once
when it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ipvsagent.errors import AcknowledgementsLost, AlreadyExists, KernelError, NotFound, SetFull
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Drivers
from ipvsagent.model.address import Address, Network
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
    SingleIpvsOperation,
    count_results,
    one_by_one,
)
from ipvsagent.model.state import DUMMY_INTERFACE, RealServer, SetEntry, VirtualServerKey
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.reconciler.adopt import is_excluded
from ipvsagent.reconciler.diff import diff_virtual_server, while_draining
from ipvsagent.reconciler.ledger import Ledger

Item = VirtualServerKey | Address | SetEntry
"""What is written, retried and reported by itself."""

SERVERS_PER_BATCH = 64  # more of them at once is no faster, and takes memory that has to be had from the kernel first


@dataclass(slots=True)
class Outcome:
    """What became of one pass of writing.

    Attributes:
        failures: the first error of each item that is not as it should be.
        drift: whether the kernel turned out to differ from the ledger, so that it has to be read again.
        dummy_missing: whether the dummy interface is gone.
        draining: real servers that drain now, by virtual server.
        full_sets: names of sets that have no room for another entry.
    """

    failures: dict[Item, KernelError] = field(default_factory=dict)
    drift: bool = False
    dummy_missing: bool = False
    draining: dict[VirtualServerKey, tuple[RealServer, ...]] = field(default_factory=dict)
    full_sets: set[str] = field(default_factory=set)


_Change = tuple[VirtualServerKey, list[IpvsOperation], tuple[RealServer, ...]]
"""One virtual server's part of a batch: its operations, and the real servers that drain once they are carried out."""


class Writer:
    """Brings the kernel from the ledger's state to the desired one, for given items only.

    Attributes:
        exclude: networks in which nothing is ever removed (DEV-28).
    """

    def __init__(
        self,
        drivers: Drivers,
        desired: Desired,
        ledger: Ledger,
        exclude: Sequence[Network] = (),
        *,
        counters: Counters | None = None,
    ) -> None:
        self._drivers = drivers
        self._desired = desired
        self._counters = counters or Counters()
        self.ledger = ledger
        self.exclude = exclude

    def write(self, touched: Touched) -> Outcome:
        """Write whatever differs among the items touched; items in sync cost no message."""
        outcome = Outcome()
        desired, ledger = self._desired, self.ledger
        appearing = [e for e in touched.entries if e in desired.entries and e not in ledger.entries]
        vanishing = [e for e in touched.entries if e not in desired.entries and e in ledger.entries]
        present = [k for k in touched.virtual_servers if k in desired.virtual_servers]
        surplus = [
            k
            for k in touched.virtual_servers
            if k not in desired.virtual_servers
            and k in ledger.virtual_servers
            and k not in ledger.foreign
            and not is_excluded(k.address, self.exclude)
        ]
        binding = [a for a in touched.addresses if a in desired.addresses and a not in ledger.addresses]
        unbinding = [
            a
            for a in touched.addresses
            if a not in desired.addresses and a in ledger.addresses and not is_excluded(a, self.exclude)
        ]
        self._write_entries([AddEntry(e) for e in appearing], outcome)
        self._write_virtual_servers(present, outcome)
        self._write_addresses([AddAddress(a) for a in binding], outcome)
        self._write_virtual_servers(surplus, outcome)
        self._hold_back(surplus, unbinding, vanishing, outcome)
        self._write_addresses([RemoveAddress(a) for a in unbinding if a not in outcome.failures], outcome)
        self._write_entries([RemoveEntry(e) for e in vanishing if e not in outcome.failures], outcome)
        return outcome

    def _hold_back(
        self,
        surplus: Iterable[VirtualServerKey],
        unbinding: Sequence[Address],
        vanishing: Sequence[SetEntry],
        outcome: Outcome,
    ) -> None:
        """Leave the address and the entries of a virtual server that could not be removed, and try all of it again.

        They are what tells it from a virtual server of others: without them it would be left alone for ever.
        """
        for key in surplus:
            error = outcome.failures.get(key)
            if error is not None:
                outcome.failures.update((a, error) for a in unbinding if a == key.address)
                outcome.failures.update((e, error) for e in vanishing if _is_trace(e, key))

    def surplus(self) -> Touched:
        """All that is held and not desired."""
        desired, ledger = self._desired, self.ledger
        return Touched(
            dict.fromkeys(k for k in ledger.virtual_servers if k not in desired.virtual_servers),
            dict.fromkeys(a for a in ledger.addresses if a not in desired.addresses),
            dict.fromkeys(e for e in ledger.entries if e not in desired.entries),
        )

    def everything(self) -> Touched:
        """All that is desired and all that is held: the differences between the two are found among them."""
        desired, ledger = self._desired, self.ledger
        return Touched(
            dict.fromkeys((*desired.virtual_servers, *ledger.virtual_servers)),
            dict.fromkeys((*desired.addresses, *ledger.addresses)),
            dict.fromkeys((*desired.entries, *ledger.entries)),
        )

    def unbound(self) -> Touched:
        """The addresses that are desired and not held."""
        missing = self._desired.addresses.keys() - self.ledger.addresses
        return Touched(addresses=dict.fromkeys(sorted(missing, key=lambda a: a.sort_key)))

    def _write_virtual_servers(self, keys: Sequence[VirtualServerKey], outcome: Outcome) -> None:
        for start in range(0, len(keys), SERVERS_PER_BATCH):
            self._write_batch(keys[start : start + SERVERS_PER_BATCH], outcome)

    def _write_batch(self, keys: Iterable[VirtualServerKey], outcome: Outcome) -> None:
        changes: list[_Change] = []
        batch: list[IpvsOperation] = []
        for key in keys:
            wanted = self._desired.virtual_servers.get(key)
            operations, draining = diff_virtual_server(self.ledger.virtual_servers.get(key), wanted)
            if operations:
                changes.append((key, operations, draining))
                batch += operations
            elif wanted is not None:
                self._in_sync(key, draining, outcome)
        if not batch:
            return
        results = self._drivers.ipvs.apply(batch)
        self._counters.note_ipvs_operations(batch, results)
        if not any(results):
            for key, operations, draining in changes:
                self._note_life(operations[0], None)
                self._in_sync(key, draining, outcome)
            return
        start = 0
        for key, operations, draining in changes:
            part = results[start : start + count_results(operations)]
            start += len(part)
            self._note_life(operations[0], part[0])
            if any(part):
                self._note_failures(key, list(one_by_one(operations)), part, outcome)
            else:
                self._in_sync(key, draining, outcome)

    def _in_sync(self, key: VirtualServerKey, draining: tuple[RealServer, ...], outcome: Outcome) -> None:
        """Let the ledger share the desired value; what a Service claims is not foreign any more."""
        wanted = self._desired.virtual_servers.get(key)
        if wanted is None:
            self.ledger.forget(key)
        elif draining:
            outcome.draining[key] = draining
            self.ledger.hold(while_draining(wanted, draining))
        else:
            self.ledger.hold(wanted)
        if self.ledger.foreign:
            self.ledger.foreign.discard(key)

    def _note_failures(
        self,
        key: VirtualServerKey,
        operations: Sequence[SingleIpvsOperation],
        results: Sequence[KernelError | None],
        outcome: Outcome,
    ) -> None:
        """Record what did work of a virtual server's operations, and the first error."""
        outcome.failures[key] = next(r for r in results if r is not None)
        if isinstance(operations[0], AddVirtualServer) and results[0] is not None:
            # Nothing else of this virtual server can have worked; NotFound is an unknown scheduler here.
            outcome.drift |= isinstance(results[0], AlreadyExists | AcknowledgementsLost)
            return
        self.ledger.acknowledge(o for o, r in zip(operations, results, strict=True) if r is None)
        outcome.drift |= any(_means_drift(r) for r in results)

    def _note_life(self, operation: IpvsOperation, error: KernelError | None) -> None:
        """Tell where the kernel begins to count anew; a lost answer may mean that it does."""
        if isinstance(operation, AddVirtualServer):
            if error is None or isinstance(error, AcknowledgementsLost):
                self._counters.note_created(operation.virtual_server.key)
        elif isinstance(operation, RemoveVirtualServer):
            self._counters.recreated.pop(operation.key, None)

    def _write_addresses(self, operations: Sequence[AddressOperation], outcome: Outcome) -> None:
        if not operations:
            return
        try:
            results = self._drivers.addresses.apply(DUMMY_INTERFACE, operations)
        except KernelError as error:  # the interface could not be found, or looked for
            outcome.dummy_missing = isinstance(error, NotFound)
            outcome.failures.update((o.address, error) for o in operations)
            self._counters.note_operations(operations, [error] * len(operations))
            return
        self._counters.note_operations(operations, results)
        held = self.ledger.addresses
        for operation, result in zip(operations, results, strict=True):
            adding = isinstance(operation, AddAddress)
            settled = AlreadyExists if adding else NotFound  # the kernel is where it should be: that is enough
            if result is None or isinstance(result, settled):
                (held.add if adding else held.discard)(operation.address)
            else:
                outcome.failures[operation.address] = result
                outcome.drift |= _means_drift(result)

    def _write_entries(self, operations: Sequence[EntryOperation], outcome: Outcome) -> None:
        if not operations:
            return
        held = self.ledger.entries
        results = self._drivers.ip_sets.apply(operations)
        self._counters.note_operations(operations, results)
        if not any(results) and all(isinstance(o, AddEntry) for o in operations):
            held.update([o.entry for o in operations])
            return
        for operation, error in zip(operations, results, strict=True):
            change: Callable[[SetEntry], None] = held.add if isinstance(operation, AddEntry) else held.discard
            if error is None:
                change(operation.entry)
            else:
                outcome.failures[operation.entry] = error
                outcome.drift |= _means_drift(error)
                if isinstance(error, SetFull):
                    outcome.full_sets.add(operation.entry.set_name)


def _is_trace(entry: SetEntry, key: VirtualServerKey) -> bool:
    """Whether an entry speaks of a virtual server, of its address, or of a node port of its number."""
    return entry.port in (0, key.port) and entry.address in (None, key.address)


def _means_drift(error: KernelError | None) -> bool:
    """Whether an error says that the kernel is not what the ledger says, or that this is unknown."""
    return isinstance(error, AlreadyExists | NotFound | AcknowledgementsLost)
