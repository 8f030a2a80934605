"""Read the kernel into a ledger: at the start, and again after the kernel turned out to differ.

A door, because cleanup and the doctor must recognise our virtual servers exactly as a running agent does.

Objects of this agent (or of kube-proxy in IPVS mode) are recognised by traces that both leave in the kernel: a virtual
server is ours if its address is on the dummy interface, or if one of our sets has an entry for it. Entries of node
ports contain no address: a virtual server with that port is ours on the addresses that the node has now, and on those
that this agent recorded when it served node ports there. Set entries are written before a virtual server and removed
after it, so a crash in between leaves no virtual server without a trace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ipvsagent.errors import NotFound
from ipvsagent.kernel.api import Addresses, IpSets, Ipvs
from ipvsagent.model.address import Address, Family, Network, Protocol
from ipvsagent.model.state import DUMMY_INTERFACE, SetEntry, SetSpec, SetType, VirtualServerKey
from ipvsagent.planner import sets
from ipvsagent.planner.facts import usable_node_addresses
from ipvsagent.reconciler.ledger.ledger import Ledger, from_observed


def read_kernel(
    ipvs: Ipvs,
    addresses: Addresses,
    ip_sets: IpSets,
    *,
    families: Sequence[Family],
    exclude: Sequence[Network] = (),
) -> Ledger:
    """Read virtual servers, addresses of the dummy interface and the entries of our sets.

    Args:
        families: families whose sets are read; a missing set counts as empty.
        exclude: networks whose virtual servers and addresses are never removed (DEV-28).

    Raises:
        KernelError: a listing failed; the state of the kernel is unknown.
    """
    ledger = Ledger()
    for family in families:
        for spec in sets.set_specs(family):
            ledger.replace_entries(spec.name, list_entries(ip_sets, spec))
    listed = addresses.list_addresses()
    on_dummy = {a.address for a in listed if a.link_name == DUMMY_INTERFACE}
    ledger.replace_addresses(a for a in on_dummy if not is_excluded(a, exclude))
    node_addresses = usable_node_addresses(a.address for a in listed if a.link_name != DUMMY_INTERFACE)
    traces = _Traces(on_dummy, ledger.entries, node_addresses)
    for observed in ipvs.list_virtual_servers():
        key = observed.key
        ledger.hold(from_observed(observed))
        if is_excluded(key.address, exclude) or key not in traces:
            ledger.mark_foreign(key)
    return ledger


def addresses_on_dummy(addresses: Addresses) -> set[Address]:
    """Return the current addresses of the dummy interface; none if it does not exist."""
    return {a.address for a in addresses.list_addresses() if a.link_name == DUMMY_INTERFACE}


def list_entries(ip_sets: IpSets, spec: SetSpec) -> Sequence[SetEntry]:
    """Return the entries of a set; a missing set counts as empty."""
    try:
        return ip_sets.list_entries(spec)
    except NotFound:
        return ()


def is_excluded(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether virtual servers and dummy addresses at an address are left alone (VS-08, ADR-07, DEV-28)."""
    return address.is_link_local_ipv6 or any(address in n for n in networks)


class _Traces:
    """The virtual servers that addresses and set entries in the kernel identify as ours."""

    def __init__(
        self, on_dummy: Collection[Address], entries: Iterable[SetEntry], node_addresses: Collection[Address]
    ) -> None:
        self._on_dummy = on_dummy
        self._node_addresses = set(node_addresses)
        self._keys: set[VirtualServerKey] = set()
        self._node_ports: set[tuple[Protocol, int, Family]] = set()
        by_name = {s.name: s for family in Family for s in sets.set_specs(family)}
        node_port_sets = {
            sets.set_name(every, family): (protocol, family)
            for protocol, (every, _) in sets.NODE_PORT_SETS.items()
            for family in Family
        }
        for entry in entries:
            if entry.address is not None and entry.protocol is not None:
                if by_name[entry.set_name].type is SetType.HASH_IP_PORT:
                    self._keys.add(VirtualServerKey(entry.protocol, entry.address, entry.port))
            elif entry.set_name in node_port_sets:
                protocol, family = node_port_sets[entry.set_name]
                self._node_ports.add((protocol, entry.port, family))
            elif entry.address is not None and entry.set_name in sets.NOTES:
                self._node_addresses.add(entry.address)

    def __contains__(self, key: VirtualServerKey) -> bool:
        if key.address in self._on_dummy or key in self._keys:
            return True
        is_node_port = (key.protocol, key.port, key.address.family) in self._node_ports
        return is_node_port and key.address in self._node_addresses
