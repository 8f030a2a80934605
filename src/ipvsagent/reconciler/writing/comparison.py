"""Compare the desired state with the ledger: what must be written, in the order of writes.

Only touched items are compared, so the cost depends on the change and not on the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ipvsagent.model.address import Address, Network
from ipvsagent.model.state import SetEntry, VirtualServerKey
from ipvsagent.planner.desired import Desired, Touched
from ipvsagent.planner.sets import LOAD_BALANCER_FW, set_name
from ipvsagent.reconciler.adoption import is_excluded
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.writing.diff import ServerChange, diff_virtual_server

Item = VirtualServerKey | Address | SetEntry
"""What is written, retried and reported separately."""


@dataclass(slots=True)
class Differences:
    """What must be added, changed and removed in the kernel.

    Attributes:
        entries_to_add: of our sets.
        servers: desired virtual servers; some need no operation, see `ServerChange`.
        addresses_to_add: to the dummy interface.
        servers_to_remove: our virtual servers that are not desired.
        addresses_to_remove: from the dummy interface.
        entries_to_remove: from our sets.
    """

    entries_to_add: list[SetEntry] = field(default_factory=list)
    servers: list[ServerChange] = field(default_factory=list)
    addresses_to_add: list[Address] = field(default_factory=list)
    servers_to_remove: list[ServerChange] = field(default_factory=list)
    addresses_to_remove: list[Address] = field(default_factory=list)
    entries_to_remove: list[SetEntry] = field(default_factory=list)


def compare(touched: Touched, desired: Desired, ledger: Ledger, exclude: Sequence[Network]) -> Differences:
    """Compare the touched items.

    Args:
        exclude: networks in which nothing is ever removed (DEV-28).
    """
    found = Differences()
    _compare_virtual_servers(touched, desired, ledger, exclude, found)
    for entry in touched.entries:
        if entry in desired.entries:
            if entry not in ledger.entries:
                found.entries_to_add.append(entry)
        elif entry in ledger.entries:
            found.entries_to_remove.append(entry)
    for address in touched.addresses:
        if address in desired.addresses:
            if address not in ledger.addresses:
                found.addresses_to_add.append(address)
        elif address in ledger.addresses and not is_excluded(address, exclude):
            found.addresses_to_remove.append(address)
    return found


def _compare_virtual_servers(
    touched: Touched, desired: Desired, ledger: Ledger, exclude: Sequence[Network], found: Differences
) -> None:
    wanted_servers, held_servers = desired.virtual_servers, ledger.virtual_servers
    for key in touched.virtual_servers:
        wanted, held = wanted_servers.get(key), held_servers.get(key)
        if wanted is not None:
            change = diff_virtual_server(key, held, wanted)
            found.servers.append(change)
            if change.operations and (entry := firewall_entry(key)) in desired.entries:
                touched.entries[entry] = None  # the writer must know whether it exists (DEV-80)
        elif held is not None and key not in ledger.foreign and not is_excluded(key.address, exclude):
            found.servers_to_remove.append(diff_virtual_server(key, held, None))


def firewall_entry(key: VirtualServerKey) -> SetEntry:
    """Return the entry that keeps other clients out if the virtual server has source ranges."""
    return SetEntry(set_name(LOAD_BALANCER_FW, key.address.family), key.port, key.protocol, key.address)


def surplus(desired: Desired, ledger: Ledger) -> Touched:
    """Return everything that is held but not desired."""
    return Touched(
        dict.fromkeys(k for k in ledger.virtual_servers if k not in desired.virtual_servers),
        dict.fromkeys(a for a in ledger.addresses if a not in desired.addresses),
        dict.fromkeys(e for e in ledger.entries if e not in desired.entries),
    )


def everything(desired: Desired, ledger: Ledger) -> Touched:
    """Return everything that is desired or held, to compare all of it."""
    return Touched(
        dict.fromkeys((*desired.virtual_servers, *ledger.virtual_servers)),
        dict.fromkeys((*desired.addresses, *ledger.addresses)),
        dict.fromkeys((*desired.entries, *ledger.entries)),
    )


def unbound_addresses(desired: Desired, ledger: Ledger) -> Touched:
    """Return the addresses that are desired but not held."""
    missing = desired.addresses.keys() - ledger.addresses
    return Touched(addresses=dict.fromkeys(sorted(missing, key=lambda a: a.sort_key)))
