"""What the owner thread hears: one value a change, put on its queue by sources, monitors and timers."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem


class Listed(Struct, frozen=True):
    """All objects of one kind, listed to the end; what is not among them (or in `rejected`) is gone.

    Args:
        rejected: keys of objects that exist but cannot be used; a version known before stays in force.
        problems: what was wrong with the objects listed, by object.
    """

    kind: Kind
    objects: tuple[KubernetesObject, ...]
    rejected: tuple[ObjectKey, ...] = ()
    problems: Mapping[ObjectKey, tuple[Problem, ...]] = {}


class Changed(Struct, frozen=True):
    """An object appeared or changed.

    Args:
        problems: parts of it that are ignored; they replace those reported for it before.
        triggered_at: Unix time of what made a slice change; 0 if unknown. No part of the object, since a slice that
            differs in nothing else is the same (SYN-11).
    """

    object: KubernetesObject
    problems: tuple[Problem, ...] = ()
    triggered_at: float = 0.0


class Deleted(Struct, frozen=True):
    """An object is gone."""

    kind: Kind
    key: ObjectKey


class Rejected(Struct, frozen=True):
    """An object exists but cannot be used at all; a version known before stays in force."""

    kind: Kind
    key: ObjectKey
    problems: tuple[Problem, ...]


class SourceProblems(Struct, frozen=True):
    """Problems that belong to no object, such as a file that does not parse; replaces the earlier ones.

    Args:
        origin: file path, or the name of what was being read.
        problems: empty once the origin is well again.
    """

    origin: str
    problems: tuple[Problem, ...]


class ClusterNodeAddresses(Struct, frozen=True):
    """The addresses of all nodes of the cluster, by node name; replaces the earlier ones."""

    addresses: Mapping[str, tuple[Address, ...]]


class NodePresence(Struct, frozen=True):
    """Whether the cluster has a node, asked by its name."""

    name: str
    present: bool


class NodeAddressesChanged(Struct, frozen=True):
    """Addresses of this node's interfaces changed, or may have; they are to be read again."""


class DummyInterfaceChanged(Struct, frozen=True):
    """Addresses left the dummy interface, or it is gone altogether.

    Args:
        removed: the addresses that went.
        gone: the interface itself was removed.
    """

    removed: tuple[Address, ...] = ()
    gone: bool = False


class RulesChanged(Struct, frozen=True):
    """Somebody changed the chains that rules of ours stand in, or may have; they are to be compared."""

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
