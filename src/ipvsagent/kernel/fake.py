"""An in-memory kernel that refuses what the real one refuses.

It holds state and enforces the kernel's rules (measured ones: EEXIST on a second add, ESRCH and ENOENT on what is
missing, no set destroyed while a rule matches it, …), because a permissive fake hides bugs. The contract suite runs
on this and on the real kernel. It also records every modifying message in `log`, so that tests can say what a
change cost.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import cast

from msgspec.structs import replace

from ipvsagent.errors import KernelError, NotFound, NotSupported, SetFull, kernel_error
from ipvsagent.kernel.api import Drivers, Results, Rules
from ipvsagent.kernel.fake_rules import FakeRules
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import (
    AddAddress,
    AddEntry,
    AddRealServer,
    AddressOperation,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    EntryOperation,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import (
    IpvsTimeouts,
    Link,
    LinkAddress,
    ObservedRealServer,
    ObservedSet,
    ObservedVirtualServer,
    SetEntry,
    SetSpec,
    SetType,
    VirtualServer,
    VirtualServerKey,
)

SCHEDULERS = ("dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr")

_IPVS_SYSCTLS = {
    "net/ipv4/vs/conntrack": "0",
    "net/ipv4/vs/conn_reuse_mode": "1",
    "net/ipv4/vs/expire_nodest_conn": "0",
    "net/ipv4/vs/expire_quiescent_template": "0",
}
_SYSCTLS = {
    "kernel/osrelease": "6.1.0-56-amd64",
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/arp_ignore": "0",
    "net/ipv4/conf/all/arp_announce": "0",
    "net/netfilter/nf_conntrack_max": "65536",
    "net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait": "60",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
    "net/netfilter/nf_conntrack_udp_timeout": "30",
    "net/netfilter/nf_conntrack_udp_timeout_stream": "120",
}

LogEntry = IpvsOperation | AddressOperation | EntryOperation | str


class FakeKernel:
    """One network namespace with its tables.

    Attributes:
        log: every modifying message that was carried out, in order; text where there is no operation for it.
        sends: number of batches sent.
        modules_available: modules that can be loaded.
        modules_loaded: modules that are.
    """

    def __init__(self) -> None:
        self.log: list[LogEntry] = []
        self.sends = 0
        self.modules_available = {"ip_vs", "nf_conntrack", "dummy", *(f"ip_vs_{s}" for s in SCHEDULERS)}
        self.modules_loaded: set[str] = set()
        self.ipvs = FakeIpvs(self)
        self.addresses = FakeAddresses(self)
        self.ip_sets = FakeIpSets(self)
        self.sysctls = FakeSysctls(self)
        self.modules = FakeModules(self)
        self.rules = {
            family: FakeRules(family, record=self.log.append, set_names=lambda: self.ip_sets.sets) for family in Family
        }

    def drivers(self) -> Drivers:
        """All drivers of this kernel."""
        rules = cast("dict[Family, Rules]", dict(self.rules))
        return Drivers(self.ipvs, self.addresses, self.ip_sets, rules, self.sysctls, self.modules)

    def clear_log(self) -> None:
        """Forget what was sent."""
        self.log.clear()
        self.sends = 0

    def snapshot(self) -> object:
        """A comparable value of the whole state."""
        servers = sorted(self.ipvs.list_virtual_servers(), key=lambda v: str(v.key)) if self.has_ipvs else []
        return (
            [replace(v, real_servers=tuple(sorted(v.real_servers, key=str))) for v in servers],
            sorted(self.addresses.list_addresses(), key=str),
            {name: (spec, sorted(map(str, members))) for name, (spec, members) in self.ip_sets.sets.items()},
            {family: driver.snapshot() for family, driver in self.rules.items()},
            dict(self.sysctls.values),
        )

    @property
    def has_ipvs(self) -> bool:
        """Whether module ip_vs is loaded."""
        return "ip_vs" in self.modules_loaded

    # -- what others do to the node ------------------------------------------------------------------------------

    def add_link(self, name: str, kind: str = "") -> None:
        """A network interface appears."""
        self.addresses.links[name] = Link(len(self.addresses.links) + 1, name, kind)

    def add_address(self, link_name: str, address: Address, prefix_length: int) -> None:
        """An interface gets an address."""
        self.addresses.held[link_name, address] = prefix_length

    def remove_address(self, link_name: str, address: Address) -> None:
        """An interface loses an address."""
        del self.addresses.held[link_name, address]

    def add_foreign_virtual_server(self, key: str, scheduler: str, real_servers: Sequence[str] = ()) -> None:
        """Somebody else makes a virtual server such as ``192.0.2.1:443/TCP``; IPv4 only."""
        made = VirtualServer(_key(key), scheduler)
        reals = {}
        for text in real_servers:
            address, port = _endpoint(text)
            reals[address, port] = ObservedRealServer(address, port)
        self.ipvs.table[made.key] = (made, reals)

    def set_weight(self, key: str, real_server: str, weight: int) -> None:
        """Somebody else changes a weight."""
        self._edit(key, real_server, weight=weight)

    def set_forwarding_method(self, key: str, real_server: str, method: int) -> None:
        """Somebody else changes a forwarding method."""
        self._edit(key, real_server, forwarding_method=method)

    def set_connections(self, key: str, real_server: str, *, active: int, inactive: int) -> None:
        """Clients connect and leave."""
        self._edit(key, real_server, active_connections=active, inactive_connections=inactive)

    def _edit(self, key: str, real_server: str, **changes: int) -> None:
        reals = self.ipvs.table[_key(key)][1]
        at = _endpoint(real_server)
        reals[at] = replace(reals[at], **changes)


class FakeIpvs:
    """The IPVS table."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.table: dict[VirtualServerKey, tuple[VirtualServer, dict[tuple[Address, int], ObservedRealServer]]] = {}
        self._timeouts = IpvsTimeouts(900, 120, 300)

    def list_virtual_servers(self) -> list[ObservedVirtualServer]:
        """As in `api.Ipvs`."""
        self._require()
        return [
            ObservedVirtualServer(s.key, s.scheduler, s.flags, s.persistence_timeout_seconds, tuple(reals.values()))
            for s, reals in self.table.values()
        ]

    def list_real_servers(self, key: VirtualServerKey) -> list[ObservedRealServer]:
        """As in `api.Ipvs`."""
        self._require()
        return list(self.table[key][1].values()) if key in self.table else []

    def count_virtual_servers(self) -> int:
        """As in `api.Ipvs`."""
        self._require()
        return sum(len(key.address) == 4 for key in self.table)

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        """As in `api.Ipvs`."""
        self._require()
        self._kernel.sends += 1
        results: Results = []
        for operation in operations:
            number = self._carry_out(operation)
            results.append(kernel_error(str(operation), "", number) if number else None)
            if not number:
                self._kernel.log.append(operation)
        return results

    def timeouts(self) -> IpvsTimeouts:
        """As in `api.Ipvs`."""
        self._require()
        return self._timeouts

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """As in `api.Ipvs`."""
        self._require()
        old = self._timeouts
        self._timeouts = IpvsTimeouts(
            timeouts.tcp_seconds or old.tcp_seconds,
            timeouts.tcp_fin_seconds or old.tcp_fin_seconds,
            timeouts.udp_seconds or old.udp_seconds,
        )
        self._kernel.log.append("set timeouts")

    def flush(self) -> None:
        """As in `api.Ipvs`."""
        self._require()
        self.table.clear()
        self._kernel.log.append("flush virtual servers")

    def _require(self) -> None:
        if not self._kernel.has_ipvs:
            raise NotSupported("use IPVS", detail="module ip_vs is not loaded")

    def _carry_out(self, operation: IpvsOperation) -> int:
        """Do one operation; answer its errno, 0 for success."""
        match operation:
            case AddVirtualServer(server):
                return self._put_virtual_server(server, exists=False)
            case ChangeVirtualServer(server):
                return self._put_virtual_server(server, exists=True)
            case RemoveVirtualServer(key):
                return 0 if self.table.pop(key, None) else errno.ESRCH
            case AddRealServer() | ChangeRealServer():
                return self._put_real_server(operation)
            case RemoveRealServer(key, address, port):
                if key not in self.table:
                    return errno.ESRCH
                return 0 if self.table[key][1].pop((address, port), None) else errno.ENOENT

    def _put_virtual_server(self, server: VirtualServer, *, exists: bool) -> int:
        if not exists and server.key in self.table:
            return errno.EEXIST
        if exists and server.key not in self.table:
            return errno.ESRCH
        if f"ip_vs_{server.scheduler}" not in self._kernel.modules_available:
            return errno.ENOENT
        reals = self.table[server.key][1] if exists else {}
        self.table[server.key] = (server, reals)
        return 0

    def _put_real_server(self, operation: AddRealServer | ChangeRealServer) -> int:
        server = operation.real_server
        if operation.key not in self.table:
            return errno.ESRCH
        if server.address.family is not operation.key.address.family:
            return errno.EINVAL
        if server.weight < 0:
            return errno.ERANGE
        reals = self.table[operation.key][1]
        at = (server.address, server.port)
        if isinstance(operation, AddRealServer) == (at in reals):
            return errno.EEXIST if at in reals else errno.ENOENT
        known = reals.get(at, ObservedRealServer(*at))
        reals[at] = replace(known, weight=server.weight, forwarding_method=0, upper_threshold=0, lower_threshold=0)
        return 0


class FakeAddresses:
    """Links and their addresses."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.links: dict[str, Link] = {"lo": Link(1, "lo")}
        self.held: dict[tuple[str, Address], int] = {("lo", Address.parse("127.0.0.1")): 8}

    def list_links(self) -> list[Link]:
        """As in `api.Addresses`."""
        return list(self.links.values())

    def list_addresses(self) -> list[LinkAddress]:
        """As in `api.Addresses`."""
        return [LinkAddress(link, address, length) for (link, address), length in self.held.items()]

    def add_dummy(self, name: str) -> None:
        """As in `api.Addresses`."""
        if name in self.links:
            raise kernel_error("add interface", name, errno.EEXIST)
        self.links[name] = Link(len(self.links) + 1, name, "dummy")
        self._kernel.log.append(f"add interface {name}")

    def remove_link(self, name: str) -> None:
        """As in `api.Addresses`."""
        if self.links.pop(name, None) is None:
            raise kernel_error("remove interface", name, errno.ENODEV)
        self.held = {at: length for at, length in self.held.items() if at[0] != name}
        self._kernel.log.append(f"remove interface {name}")

    def apply(self, link_name: str, operations: Sequence[AddressOperation]) -> Results:
        """As in `api.Addresses`."""
        if link_name not in self.links:
            raise kernel_error("change addresses of", link_name, errno.ENODEV)
        self._kernel.sends += 1
        results: Results = []
        for operation in operations:
            at = (link_name, operation.address)
            adding = isinstance(operation, AddAddress)
            if adding == (at in self.held):
                number = errno.EEXIST if adding else errno.EADDRNOTAVAIL
                results.append(kernel_error(str(operation), "", number))
                continue
            if adding:
                self.held[at] = operation.address.family.bits
            else:
                del self.held[at]
            self._kernel.log.append(operation)
            results.append(None)
        return results


class FakeIpSets:
    """The ipsets."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.sets: dict[str, tuple[SetSpec, set[SetEntry]]] = {}

    def list_sets(self) -> list[ObservedSet]:
        """As in `api.IpSets`."""
        return [
            ObservedSet(name, spec.type, spec.family, spec.max_elements, self._references(name), len(members))
            for name, (spec, members) in self.sets.items()
        ]

    def list_entries(self, spec: SetSpec) -> list[SetEntry]:
        """As in `api.IpSets`."""
        self._require(spec.name)
        return [replace(e, set_name=spec.name) for e in self.sets[spec.name][1]]

    def create(self, spec: SetSpec) -> None:
        """As in `api.IpSets`."""
        if spec.name in self.sets:
            raise kernel_error("create ipset", spec.name, errno.EEXIST)
        self.sets[spec.name] = (spec, set())
        self._kernel.log.append(f"create ipset {spec.name}")

    def destroy(self, name: str) -> None:
        """As in `api.IpSets`."""
        self._require(name)
        if self._references(name):
            raise kernel_error("destroy ipset", name, errno.EBUSY)
        del self.sets[name]
        self._kernel.log.append(f"destroy ipset {name}")

    def swap(self, first: str, second: str) -> None:
        """As in `api.IpSets`."""
        self._require(first)
        self._require(second)
        one, two = self.sets[first], self.sets[second]
        if (one[0].type, one[0].family) != (two[0].type, two[0].family):
            raise kernel_error("swap ipsets", f"{first} {second}", errno.EINVAL)
        self.sets[first], self.sets[second] = _renamed(two, first), _renamed(one, second)
        self._kernel.log.append(f"swap ipsets {first} {second}")

    def apply(self, operations: Sequence[EntryOperation]) -> Results:
        """As in `api.IpSets`."""
        self._kernel.sends += 1
        results: Results = []
        for operation in operations:
            error = self._carry_out(operation)
            results.append(error)
            if error is None:
                self._kernel.log.append(operation)
        return results

    def _carry_out(self, operation: EntryOperation) -> KernelError | None:
        entry = operation.entry
        if entry.set_name not in self.sets:
            return kernel_error(str(operation), "", errno.ENOENT)
        spec, members = self.sets[entry.set_name]
        if entry.other_prefix_length == 0:
            return kernel_error(str(operation), "", errno.EINVAL)
        if not isinstance(operation, AddEntry):
            members.discard(entry)
        elif entry not in members and spec.type is not SetType.BITMAP_PORT and len(members) >= spec.max_elements:
            return SetFull(str(operation))
        else:
            members.add(entry)
        return None

    def _require(self, name: str) -> None:
        if name not in self.sets:
            raise kernel_error("use ipset", name, errno.ENOENT)

    def _references(self, name: str) -> int:
        return sum(driver.references(name) for driver in self._kernel.rules.values())


class FakeSysctls:
    """Files below /proc/sys."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.values = dict(_SYSCTLS)

    def read(self, key: str) -> str:
        """As in `api.Sysctls`."""
        if key not in self.values:
            raise kernel_error("read", key, errno.ENOENT)
        return self.values[key]

    def write(self, key: str, value: str) -> None:
        """As in `api.Sysctls`."""
        if key not in self.values:
            raise kernel_error("write", key, errno.ENOENT)
        self.values[key] = value
        self._kernel.log.append(f"write {key} {value}")


class FakeModules:
    """Kernel modules."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def load(self, name: str) -> None:
        """As in `api.Modules`."""
        if name in self._kernel.modules_loaded:
            return
        if name not in self._kernel.modules_available:
            raise NotFound("load module", name, errno.ENOENT)
        self._kernel.modules_loaded.add(name)
        if name == "ip_vs":
            self._kernel.sysctls.values.update(_IPVS_SYSCTLS)

    def available_schedulers(self) -> list[str]:
        """As in `api.Modules`."""
        names = self._kernel.modules_available | self._kernel.modules_loaded
        return sorted(n.removeprefix("ip_vs_") for n in names if n.startswith("ip_vs_"))


def _renamed(held: tuple[SetSpec, set[SetEntry]], name: str) -> tuple[SetSpec, set[SetEntry]]:
    spec, members = held
    return replace(spec, name=name), {replace(e, set_name=name) for e in members}


def _endpoint(text: str) -> tuple[Address, int]:
    address, _, port = text.rpartition(":")
    return Address.parse(address.strip("[]")), int(port)


def _key(text: str) -> VirtualServerKey:
    where, _, protocol = text.partition("/")
    address, port = _endpoint(where)
    return VirtualServerKey(Protocol[protocol], address, port)
