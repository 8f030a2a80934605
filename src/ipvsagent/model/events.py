"""The events of the owner thread: sources, monitors and timers put one value on its queue for each change."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem


class Listed(Struct, frozen=True):
    """A complete list of all objects of one kind; objects that are not in it or in `rejected` were deleted.

    Args:
        rejected: keys of objects that exist but are not usable; their last usable version stays in use.
        problems: of the listed objects, by object.
    """

    kind: Kind
    objects: tuple[KubernetesObject, ...]
    rejected: tuple[ObjectKey, ...] = ()
    problems: Mapping[ObjectKey, tuple[Problem, ...]] = {}


class Changed(Struct, frozen=True):
    """An object appeared or changed.

    Args:
        problems: the parts that are ignored; they replace those reported before for this object.
        triggered_at: Unix time of the cause of a slice's change; 0 if unknown. It is not part of the object, so slices
            that differ only in this time are equal (SYN-11).
    """

    object: KubernetesObject
    problems: tuple[Problem, ...] = ()
    triggered_at: float = 0.0


class Deleted(Struct, frozen=True):
    """An object was deleted."""

    kind: Kind
    key: ObjectKey


class Rejected(Struct, frozen=True):
    """An object exists but is not usable; its last usable version stays in use."""

    kind: Kind
    key: ObjectKey
    problems: tuple[Problem, ...]


class SourceProblems(Struct, frozen=True):
    """Problems without an object, such as a file that does not parse; they replace the earlier ones.

    Args:
        origin: the file's path, or the name of the resource that was read.
        problems: empty if there is none any more.
    """

    origin: str
    problems: tuple[Problem, ...]


class ClusterNodeAddresses(Struct, frozen=True):
    """The addresses of all nodes of the cluster, by node name; replaces the earlier ones."""

    addresses: Mapping[str, tuple[Address, ...]]


class NodePresence(Struct, frozen=True):
    """Whether a node exists in the cluster."""

    name: str
    present: bool


class NodeAddressesChanged(Struct, frozen=True):
    """Addresses of this node's interfaces changed, or may have: they must be read again."""


class DummyInterfaceChanged(Struct, frozen=True):
    """Addresses were removed from the dummy interface, or the interface was.

    Args:
        removed: the removed addresses.
        gone: the interface itself was removed.
    """

    removed: tuple[Address, ...] = ()
    gone: bool = False


class RulesChanged(Struct, frozen=True):
    """Chains that contain our rules changed, or may have changed: they must be compared."""

    family: Family


class Stop(Struct, frozen=True):
    """End the owner thread; the kernel state stays as it is."""


Event = (
    Listed
    | Changed
    | Deleted
    | Rejected
    | SourceProblems
    | ClusterNodeAddresses
    | NodePresence
    | NodeAddressesChanged
    | DummyInterfaceChanged
    | RulesChanged
    | Stop
)
