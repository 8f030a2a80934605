"""What Kubernetes says: the known objects, indexed by Service, and the Services that a change affects.

Each object is stored once. An event that changes no used field marks no Service dirty (SYN-11, DEV-33).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ipvsagent.model.address import Address
from ipvsagent.model.events import (
    Changed,
    ClusterNodeAddresses,
    Deleted,
    Listed,
    NodePresence,
    Rejected,
    SourceProblems,
)
from ipvsagent.model.objects import (
    EndpointSlice,
    Kind,
    KubernetesObject,
    Node,
    ObjectKey,
    Problem,
    Service,
    kind_of,
)
from ipvsagent.planner.facts import is_infrastructure
from ipvsagent.reconciler.objects.departed_endpoints import DepartedEndpoints
from ipvsagent.reconciler.objects.problems import ProblemTable

ObjectEvent = Listed | Changed | Deleted | Rejected | SourceProblems | ClusterNodeAddresses | NodePresence


class ObjectCache:
    """Known objects.

    Args:
        own_node: this node's name.
        ask_for_node: asks whether the cluster has a node; the answer comes as `NodePresence`.

    Attributes:
        services: by key.
        nodes: by key; all known Node objects, including this node's.
        cluster_addresses: addresses of nodes without a known object, by name; may include this node.
        dirty: Services whose plan may have changed since `take_dirty`; a dict as an ordered set.
        infrastructure: the Services that every pod depends on.
        infrastructure_changed: whether one of them changed since `infrastructure_read`.
        problems: the last reported problems of objects and sources, by object or source.
        departed: endpoints and nodes that were removed.
    """

    def __init__(self, own_node: str = "", ask_for_node: Callable[[str], None] = lambda _name: None) -> None:
        self.services: dict[ObjectKey, Service] = {}
        self.nodes: dict[ObjectKey, Node] = {}
        self.cluster_addresses: Mapping[str, tuple[Address, ...]] = {}
        self.dirty: dict[ObjectKey, None] = {}
        self._nodes_changed = False
        self.infrastructure: dict[ObjectKey, Service] = {}
        self.infrastructure_changed = False
        self._slices: dict[ObjectKey, EndpointSlice] = {}
        self._slices_of: dict[ObjectKey, list[ObjectKey]] = {}
        self._listed: set[Kind] = set()
        self._troubled: dict[tuple[Kind, ObjectKey], None] = {}  # objects with problems
        self.problems = ProblemTable()
        self.departed = DepartedEndpoints(own_node, self.slices_of, ask_for_node)

    @property
    def complete(self) -> bool:
        """Return whether Services and EndpointSlices were both listed completely (SYN-04)."""
        return {Kind.SERVICE, Kind.ENDPOINT_SLICE} <= self._listed

    @property
    def nodes_listed(self) -> bool:
        """Return whether Nodes were listed completely; then this node exists only if it is in `nodes`."""
        return Kind.NODE in self._listed

    def slices_of(self, service: ObjectKey) -> list[EndpointSlice]:
        """Return all slices of a Service."""
        return [self._slices[key] for key in self._slices_of.get(service, ())]

    def take_dirty(self) -> dict[ObjectKey, None]:
        """Return the Services to plan; the next call returns those that change after this call."""
        dirty, self.dirty = self.dirty, {}
        return dirty

    def take_nodes_changed(self) -> bool:
        """Return whether a Node changed since the last call."""
        changed, self._nodes_changed = self._nodes_changed, False
        return changed

    def infrastructure_read(self) -> None:
        """Note that the facts about the node include the current infrastructure Services."""
        self.infrastructure_changed = False

    def apply(self, event: ObjectEvent) -> None:
        """Process one event."""
        match event:
            case Listed():
                self._replace_all(event)
            case Changed():
                kind = kind_of(event.object)
                self._note(kind, event.object.key, event.problems)
                self._store(event.object)
            case Deleted():
                self._note(event.kind, event.key, ())
                self._remove(event.kind, event.key)
            case Rejected():
                self._note(event.kind, event.key, event.problems)
            case ClusterNodeAddresses(addresses):
                self.departed.nodes_listed(self.cluster_addresses, addresses)
                self._nodes_changed |= addresses != self.cluster_addresses
                self.cluster_addresses = addresses
            case NodePresence(name, present):
                (self.departed.node_present if present else self.departed.node_gone)(name)
            case SourceProblems():
                self.problems.replace(event.origin, event.problems)

    def _replace_all(self, event: Listed) -> None:
        present = {o.key for o in event.objects} | set(event.rejected)
        known = self._known(event.kind)
        for key in [k for k in known if k not in present]:
            self._remove(event.kind, key)
        for kind, key in [k for k in self._troubled if k[0] is event.kind and k[1] not in event.problems]:
            self._note(kind, key, ())
        for key, problems in event.problems.items():
            self._note(event.kind, key, problems)
        for item in event.objects:
            self._store(item)
        self._nodes_changed |= event.kind is Kind.NODE and not self.nodes_listed
        self._listed.add(event.kind)

    def _known(self, kind: Kind) -> Mapping[ObjectKey, KubernetesObject]:
        match kind:
            case Kind.SERVICE:
                return self.services
            case Kind.ENDPOINT_SLICE:
                return self._slices
            case Kind.NODE:
                return self.nodes

    def _note(self, kind: Kind, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        self._troubled.pop((kind, key), None)
        if problems:
            self._troubled[kind, key] = None
        self.problems.replace((kind, key), problems)

    def _store(self, item: KubernetesObject) -> None:
        match item:
            case Service():
                if self.services.get(item.key) != item:
                    self.services[item.key] = item
                    self.dirty[item.key] = None
                    self._note_infrastructure(item.key, item if is_infrastructure(item) else None)
            case EndpointSlice():
                self._store_slice(item)
            case Node():
                self.departed.node_present(item.name)
                if self.nodes.get(item.key) != item:
                    self.nodes[item.key] = item
                    self._nodes_changed = True

    def _note_infrastructure(self, key: ObjectKey, service: Service | None) -> None:
        self.infrastructure_changed |= self.infrastructure.pop(key, None) != service
        if service is not None:
            self.infrastructure[key] = service

    def _store_slice(self, item: EndpointSlice) -> None:
        known = self._slices.get(item.key)
        if known == item:
            return
        if known is not None and known.service != item.service:
            self._remove(Kind.ENDPOINT_SLICE, item.key)
            known = None
        if known is None:
            self._slices_of.setdefault(item.service, []).append(item.key)
        else:
            self.departed.note(known, item)
        self._slices[item.key] = item
        self.dirty[item.service] = None

    def _remove(self, kind: Kind, key: ObjectKey) -> None:
        if kind is Kind.SERVICE and key in self.services:
            del self.services[key]
            self.dirty[key] = None
            self._note_infrastructure(key, None)
        elif kind is Kind.NODE and key in self.nodes:
            self.departed.node_gone(self.nodes.pop(key).name)
            self._nodes_changed = True
        elif kind is Kind.ENDPOINT_SLICE:
            known = self._slices.pop(key, None)
            if known is not None:
                self.departed.note(known, None)
                keys = self._slices_of[known.service]
                keys.remove(key)
                if not keys:
                    del self._slices_of[known.service]
                self.dirty[known.service] = None
