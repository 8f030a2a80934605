"""The kernel as the reconciler sees it: one protocol a kernel table, real and fake side by side.

Common rules:

- Drivers are strict and thin: no retries, no policy, no logging. Errors are those of `errors.KernelError`.
- ``apply`` carries out a batch. It answers with one item an operation (of `AddRealServers`: one a real server), in
  order: None where the kernel has acknowledged it, else the error. A failed operation does not stop the ones behind
  it. An operation whose answer is missing gets `AcknowledgementsLost`: it may or may not have been carried out.
- ``list`` methods return complete answers or raise (`DumpInterrupted` where the table changed meanwhile).
- A driver object belongs to one thread and to the network namespace of the thread that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from ipvsagent.errors import KernelError
from ipvsagent.model.address import Address, Family
from ipvsagent.model.flows import Flow
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
"""One item an operation, in order: None where it was acknowledged."""


class Ipvs(Protocol):
    """The IPVS table of this network namespace (generic netlink family ``IPVS``)."""

    def list_virtual_servers(self) -> list[ObservedVirtualServer]:
        """All virtual servers by address with their real servers; those by firewall mark are left out."""

    def list_real_servers(self, key: VirtualServerKey) -> list[ObservedRealServer]:
        """The real servers of one virtual server; empty also where there is no such virtual server."""

    def find_virtual_server(self, key: VirtualServerKey) -> ObservedVirtualServer | None:
        """One virtual server with its real servers; None if there is none."""

    def list_keys(self) -> set[VirtualServerKey]:
        """The keys of all virtual servers by address."""

    def count_virtual_servers(self) -> int:
        """The number of IPv4 virtual servers, those by firewall mark included, at a cost of O(1).

        The kernel keeps no count of IPv6 ones.
        """

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        """Carry out a batch.

        Errors as the kernel has them: adding an existing virtual or real server is `AlreadyExists`; a missing
        virtual server, a missing real server or an unknown scheduler is `NotFound`.
        """

    def timeouts(self) -> IpvsTimeouts:
        """The connection timeouts in force."""

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """Set the connection timeouts that are not 0."""

    def flush(self) -> None:
        """Remove every virtual server of this namespace, whoever made it."""


class Addresses(Protocol):
    """Links and addresses (rtnetlink)."""

    def list_links(self) -> list[Link]:
        """All network interfaces."""

    def list_addresses(self) -> list[LinkAddress]:
        """All addresses of all interfaces."""

    def add_dummy(self, name: str) -> None:
        """Create a dummy interface and leave it down (ADR-01). `AlreadyExists` if the name is taken."""

    def remove_link(self, name: str) -> None:
        """Delete an interface with its addresses. `NotFound` if there is none."""

    def apply(self, link_name: str, operations: Sequence[AddressOperation]) -> Results:
        """Add and remove addresses of one interface. `AlreadyExists`, `NotFound` as the kernel says.

        Raises:
            NotFound: there is no such interface.
            KernelError: it could not be looked up; nothing was changed.
        """


class Monitor(Protocol[E_co]):
    """Notifications about links and addresses, or about nf_tables; may be read by a thread of its own."""

    def read(self) -> Sequence[E_co]:
        """Wait for notifications and return what they mean; lost ones come back as "everything changed".

        IPv6 link-local addresses are no news: they come and go with the interface of each pod.
        """

    def close(self) -> None:
        """End a pending `read`, which then returns an empty list."""


class IpSets(Protocol):
    """The ipsets of this network namespace (nfnetlink)."""

    def list_sets(self) -> list[ObservedSet]:
        """The headers of all sets."""

    def list_entries(self, spec: SetSpec) -> list[SetEntry]:
        """The entries of one set. `NotFound` if there is no such set."""

    def create(self, spec: SetSpec) -> None:
        """Create a set. `AlreadyExists` if the name is taken, by whatever."""

    def destroy(self, name: str) -> None:
        """Remove a set. `NotFound` if there is none, `Busy` while a rule refers to it."""

    def swap(self, first: str, second: str) -> None:
        """Exchange two sets of the same type, also while rules refer to them, in one step."""

    def apply(self, operations: Sequence[EntryOperation]) -> Results:
        """Put entries in and take entries out, many a message.

        Adding an entry that is there and removing one that is not are no errors (the kernel's answer without
        NLM_F_EXCL). A missing set is `NotFound`; a full one is `SetFull`.
        """


class Rules(Protocol):
    """The iptables rules of one family, in one of the two variants."""

    @property
    def family(self) -> Family:
        """The family this driver serves."""

    @property
    def variant(self) -> str:
        """``legacy`` or ``nft``."""

    def matches(self, rules: RuleSet) -> bool:
        """Whether the kernel holds exactly these chains, rules and, in each built-in chain, each jump once."""

    def replace(self, rules: RuleSet) -> None:
        """Make the kernel hold these chains and jumps; one atomic commit a table, foreign rules untouched.

        A jump that stands somewhere in its built-in chain is left where it is; a missing one is inserted at the
        top, in the order given; surplus copies go.

        Raises:
            ToolMissing, ToolFailed, NotPermitted, NotSupported, Busy: nothing of the table was changed.
        """

    def list_ours(self, rules: RuleSet) -> list[str]:
        """Chains and jumps of this rule set that exist now, one line each, such as ``nat KUBE-SERVICES``."""

    def remove(self, rules: RuleSet) -> None:
        """Remove the jumps and chains named in this rule set, whatever the chains hold; missing ones are fine."""


class Sysctls(Protocol):
    """Files below /proc/sys of this network namespace."""

    def read(self, key: str) -> str:
        """The value of a key such as ``net/ipv4/vs/conntrack``, stripped. `NotFound` if there is no such key."""

    def write(self, key: str, value: str) -> None:
        """Set a value. `NotFound`, `NotPermitted`, `InvalidRequest` as the kernel says."""


class Modules(Protocol):
    """Kernel modules."""

    def load(self, name: str) -> None:
        """Load a module; nothing happens if it is loaded or built in.

        Raises:
            NotFound: this kernel has no such module.
            NotPermitted: the process may not load modules.
            ToolMissing: there is no modprobe, and the module is not loaded.
        """

    def available_schedulers(self) -> list[str]:
        """IPVS schedulers that this kernel has, loaded or loadable, sorted."""


class Conntrack(Protocol):
    """The flows that this network namespace tracks (ctnetlink)."""

    def list_flows(self, family: Family) -> list[Flow]:
        """The UDP and SCTP flows of one family, in no order."""

    def list_connections(self, answering: Address) -> list[Flow]:
        """The TCP flows that an address answers, in no order."""

    def delete(self, flows: Sequence[Flow]) -> Results:
        """Forget flows; their next packet begins a new one. `NotFound` if a flow has gone, or is not the same one."""


class Drivers(Struct):
    """All drivers of one network namespace.

    Args:
        rules: one a usable family; a family that cannot be served has none (SYN-01).
        close: closes the drivers' sockets; nothing may be asked of them afterwards.
    """

    ipvs: Ipvs
    addresses: Addresses
    ip_sets: IpSets
    rules: dict[Family, Rules]
    sysctls: Sysctls
    modules: Modules
    conntrack: Conntrack
    close: Callable[[], None] = lambda: None
