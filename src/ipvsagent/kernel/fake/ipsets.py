"""The ipsets of the fake kernel."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from ipvsagent.errors import KernelError, NotSupported, SetFull, kernel_error
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.model.ops import AddEntry, EntryOperation
from ipvsagent.model.state import ObservedSet, SetEntry, SetSpec, SetType

_Fields = tuple[bool, bool, bool, bool]

# Which of address, protocol, other address and its prefix length an entry of each type has.
_FIELDS: dict[SetType, _Fields] = {
    SetType.BITMAP_PORT: (False, False, False, False),
    SetType.HASH_IP: (True, False, False, False),
    SetType.HASH_IP_PORT: (True, True, False, False),
    SetType.HASH_IP_PORT_IP: (True, True, True, False),
    SetType.HASH_IP_PORT_NET: (True, True, True, True),
}


class FakeIpSets:
    """The sets by name, with their entries; implements `api.IpSets`.

    Args:
        references: returns how many rules match a set.

    Attributes:
        lacking: set types that this kernel does not have.
    """

    def __init__(self, journal: Journal, *, references: Callable[[str], int]) -> None:
        self._journal = journal
        self._references = references
        self.sets: dict[str, tuple[SetSpec, set[SetEntry]]] = {}
        self.lacking: set[SetType] = set()

    def list_sets(self) -> list[ObservedSet]:
        """As in `api.IpSets`."""
        return [
            ObservedSet(name, spec.type.value, spec.family, spec.max_elements, self._references(name), len(entries))
            for name, (spec, entries) in self.sets.items()
        ]

    def list_entries(self, spec: SetSpec) -> list[SetEntry]:
        """As in `api.IpSets`."""
        self._require("list ipset", spec.name)
        return list(self.sets[spec.name][1])

    def create(self, spec: SetSpec) -> None:
        """As in `api.IpSets`."""
        if spec.type in self.lacking:
            raise NotSupported("find ipset type", spec.type.value, detail=f"the kernel has no set type `{spec.type}`")
        if spec.name in self.sets:
            raise kernel_error("create ipset", spec.name, errno.EEXIST)
        self.sets[spec.name] = (spec, set())
        self._journal.record(f"create ipset {spec.name}")

    def destroy(self, name: str) -> None:
        """As in `api.IpSets`."""
        self._require("destroy ipset", name)
        if self._references(name):
            raise kernel_error("destroy ipset", name, errno.EBUSY)
        del self.sets[name]
        self._journal.record(f"destroy ipset {name}")

    def swap(self, first: str, second: str) -> None:
        """As in `api.IpSets`."""
        self._require("swap ipsets", first)
        self._require("swap ipsets", second)
        one, two = self.sets[first], self.sets[second]
        if (one[0].type, one[0].family) != (two[0].type, two[0].family):
            raise kernel_error("swap ipsets", f"{first} and {second}", errno.EINVAL)
        self.sets[first], self.sets[second] = _renamed(two, first), _renamed(one, second)
        self._journal.record(f"swap ipsets {first} {second}")

    def apply(self, operations: Sequence[EntryOperation]) -> Results:
        """As in `api.IpSets`."""
        self._journal.count_batch(len(operations))
        results: Results = []
        for operation in operations:
            error = self._carry_out(operation)
            results.append(error)
            if error is None:
                self._journal.record(operation)
        return results

    def _carry_out(self, operation: EntryOperation) -> KernelError | None:
        entry = operation.entry
        if entry.set_name not in self.sets:
            return kernel_error(str(operation), "", errno.ENOENT)
        spec, entries = self.sets[entry.set_name]
        if not _fits(entry, spec):
            return kernel_error(str(operation), "", errno.EINVAL)
        if not isinstance(operation, AddEntry):
            entries.discard(entry)
            return None
        capacity = _capacity(spec)
        if entry not in entries and capacity is not None and len(entries) >= capacity:
            return SetFull(str(operation), detail="the set is full")
        entries.add(entry)
        return None

    def _require(self, operation: str, name: str) -> None:
        if name not in self.sets:
            raise kernel_error(operation, name, errno.ENOENT)


def _fits(entry: SetEntry, spec: SetSpec) -> bool:
    """Return whether an entry has the fields of its set's type, and the set's family; reject a prefix of length 0."""
    fields = (
        entry.address is not None,
        entry.protocol is not None,
        entry.other_address is not None,
        entry.other_prefix_length is not None,
    )
    families = {a.family for a in (entry.address, entry.other_address) if a is not None}
    return (
        fields == _FIELDS[spec.type]
        and families == ({spec.family} if spec.family else set())
        and entry.other_prefix_length != 0
    )


def _capacity(spec: SetSpec) -> int | None:
    """Return how many entries fit; None if there is no limit."""
    return None if spec.type is SetType.BITMAP_PORT else spec.max_elements


def _renamed(held: tuple[SetSpec, set[SetEntry]], name: str) -> tuple[SetSpec, set[SetEntry]]:
    spec, entries = held
    return replace(spec, name=name), {replace(e, set_name=name) for e in entries}
