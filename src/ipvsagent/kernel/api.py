"""The kernel as the reconciler sees it: one protocol for each kernel table, for the real and the fake kernel.

Common rules:

- Drivers are strict and thin: no retries, no policy, no logging. Errors are those of `errors.KernelError`.
- ``apply`` sends a batch of operations. It returns one item for each operation (for `AddRealServers`, one for each real
  server), in order: None if the kernel acknowledged it, else the error. After a failed operation the next ones are
  still sent. An operation without an answer gets `AcknowledgementsLost`: the kernel may or may not have applied it.
- ``list`` methods return complete answers or raise (`DumpInterrupted` if the table changed meanwhile).
- A driver object belongs to one thread and to the network namespace of the thread that created it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from ipvsagent.errors import KernelError
from ipvsagent.model.address import Address, Family
from ipvsagent.model.flows import Flow
from ipvsagent.model.kernel_parts import Extension
from ipvsagent.model.ops import AddressOperation, EntryOperation, IpvsOperation
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import (
    IpvsTimeouts,
    Link,
    LinkAddress,
    ObservedRealServer,
    ObservedSet,
    ObservedVirtualServer,
    SetEntry,
    SetSpec,
    VirtualServerKey,
)

E_co = TypeVar("E_co", covariant=True)

Results = list[KernelError | None]
"""One item for each operation, in order: None if the kernel acknowledged it, else the error."""


class Ipvs(Protocol):
    """The IPVS table of this network namespace (generic netlink family ``IPVS``)."""

    def list_virtual_servers(self) -> list[ObservedVirtualServer]:
        """Return all virtual servers by address with their real servers; those by firewall mark are left out."""

    def list_real_servers(self, key: VirtualServerKey) -> list[ObservedRealServer]:
        """Return the real servers of one virtual server; empty if there is no such virtual server."""

    def find_virtual_server(self, key: VirtualServerKey) -> ObservedVirtualServer | None:
        """Return one virtual server with its real servers; None if there is none."""

    def list_keys(self) -> set[VirtualServerKey]:
        """Return the keys of all virtual servers by address."""

    def count_virtual_servers(self) -> int:
        """Return the number of IPv4 virtual servers, including those by firewall mark, in O(1).

        The kernel does not count IPv6 virtual servers.
        """

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        """Send a batch of operations.

        Errors are the kernel's: adding an existing virtual or real server is `AlreadyExists`; a missing
        virtual server, a missing real server or an unknown scheduler is `NotFound`.
        """

    def timeouts(self) -> IpvsTimeouts:
        """Return the connection timeouts in force."""

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """Set the connection timeouts that are not 0."""

    def flush(self) -> None:
        """Remove all virtual servers of this namespace, whoever created them."""


class Addresses(Protocol):
    """Links and addresses (rtnetlink)."""

    def list_links(self) -> list[Link]:
        """Return all network interfaces."""

    def list_addresses(self) -> list[LinkAddress]:
        """Return all addresses of all interfaces."""

    def add_dummy(self, name: str) -> None:
        """Create a dummy interface and leave it down (ADR-01). `AlreadyExists` if the name is taken."""

    def remove_link(self, name: str) -> None:
        """Delete an interface with its addresses. `NotFound` if there is none."""

    def apply(self, link_name: str, operations: Sequence[AddressOperation]) -> Results:
        """Add and remove addresses of one interface. `AlreadyExists` and `NotFound` are the kernel's.

        Raises:
            NotFound: there is no such interface.
            KernelError: the interface could not be looked up; nothing was changed.
        """


class Monitor(Protocol[E_co]):
    """Notifications about links and addresses, or about nf_tables; a separate thread may read them."""

    def read(self) -> Sequence[E_co]:
        """Wait for notifications and return them as events; if some were lost, return "everything changed".

        IPv6 link-local addresses are skipped: they come and go with the interface of each pod.
        """

    def close(self) -> None:
        """End a pending `read`, which then returns an empty list."""


class IpSets(Protocol):
    """The ipsets of this network namespace (nfnetlink)."""

    def list_sets(self) -> list[ObservedSet]:
        """Return the headers of all sets."""

    def list_entries(self, spec: SetSpec) -> list[SetEntry]:
        """Return the entries of one set. `NotFound` if there is no such set."""

    def create(self, spec: SetSpec) -> None:
        """Create a set. `AlreadyExists` if any set has this name."""

    def destroy(self, name: str) -> None:
        """Remove a set. `NotFound` if there is none, `Busy` while a rule refers to it."""

    def swap(self, first: str, second: str) -> None:
        """Exchange two sets of the same type in one step, even while rules refer to them."""

    def apply(self, operations: Sequence[EntryOperation]) -> Results:
        """Add and remove entries, many in one message.

        Adding an entry that exists, or removing one that does not, is not an error (as in the kernel without
        NLM_F_EXCL). A missing set is `NotFound`; a full one is `SetFull`.
        """


class Rules(Protocol):
    """The iptables rules of one family, in one of the two variants."""

    @property
    def family(self) -> Family:
        """Return the family this driver serves."""

    @property
    def variant(self) -> str:
        """``legacy`` or ``nft``."""

    def matches(self, rules: RuleSet) -> bool:
        """Return whether the kernel has exactly these chains and rules, and each jump once in its built-in chain."""

    def replace(self, rules: RuleSet) -> None:
        """Write these chains and jumps, in one atomic commit for each table; other rules are not changed.

        A jump that exists in its built-in chain keeps its position. Missing jumps are inserted at the top, in the
        order given. Surplus copies are removed.

        Raises:
            ToolMissing, ToolFailed, NotPermitted, NotSupported, Busy: nothing of the table was changed.
        """

    def missing(self, rules: RuleSet) -> tuple[Extension, ...]:
        """The tables, matches and targets of these rules that the kernel or the installed iptables lacks.

        Asked by trying, which may load modules and changes nothing else. The ipsets must exist.
        """

    def list_ours(self, rules: RuleSet) -> list[str]:
        """Chains and jumps of this rule set that exist now, one line each, such as ``nat KUBE-SERVICES``."""

    def remove(self, rules: RuleSet) -> None:
        """Remove the jumps and chains named in this rule set, whatever the chains contain; skip missing ones."""


class Sysctls(Protocol):
    """Files below /proc/sys of this network namespace."""

    def read(self, key: str) -> str:
        """Return the value of a key such as ``net/ipv4/vs/conntrack``, stripped. `NotFound` if there is no such key."""

    def write(self, key: str, value: str) -> None:
        """Set a value. `NotFound`, `NotPermitted` and `InvalidRequest` are the kernel's."""


class Modules(Protocol):
    """Kernel modules."""

    def load(self, name: str) -> None:
        """Load a module, unless it is loaded or built in.

        Raises:
            NotFound: this kernel has no such module.
            NotPermitted: the process may not load modules.
            ToolMissing: there is no modprobe, and the module is not loaded.
        """

    def available_schedulers(self) -> list[str]:
        """Return the IPVS schedulers that are loaded or can be loaded, sorted."""


class Conntrack(Protocol):
    """The flows that this network namespace tracks (ctnetlink)."""

    def list_flows(self, family: Family) -> list[Flow]:
        """Return the UDP and SCTP flows of one family, in no order."""

    def list_connections(self, answering: Address) -> list[Flow]:
        """Return the TCP flows whose replies come from an address, in no order."""

    def delete(self, flows: Sequence[Flow]) -> Results:
        """Delete flows; the next packet starts a new flow. `NotFound` if a flow does not exist or was replaced."""


class Drivers(Struct):
    """All drivers of one network namespace.

    Args:
        rules: one for each family.
        close: closes the drivers' sockets; the drivers cannot be used afterwards.
    """

    ipvs: Ipvs
    addresses: Addresses
    ip_sets: IpSets
    rules: dict[Family, Rules]
    sysctls: Sysctls
    modules: Modules
    conntrack: Conntrack
    close: Callable[[], None] = lambda: None
