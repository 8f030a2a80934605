"""An in-memory kernel that rejects what the real kernel rejects.

It keeps state and enforces the kernel's measured rules (EEXIST for a second add, ESRCH and ENOENT for missing objects,
EBUSY for a set that a rule matches, and so on), because a permissive fake hides bugs. The contract suite runs on the
fake and on the real kernel. The fake records every modifying message in `log`, so that tests can check the cost of a
change.

Each table has a module beside this one: `ipvs`, `addresses`, `ipsets`, `rules`, `conntrack`.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import cast

from msgspec.structs import replace

from ipvsagent.errors import NotFound, kernel_error
from ipvsagent.kernel.api import Drivers, Rules
from ipvsagent.kernel.fake.addresses import FakeAddresses, FakeMonitor
from ipvsagent.kernel.fake.conntrack import FakeConntrack
from ipvsagent.kernel.fake.ipsets import FakeIpSets
from ipvsagent.kernel.fake.ipvs import FakeIpvs
from ipvsagent.kernel.fake.journal import Journal, LogEntry
from ipvsagent.kernel.fake.rules import FakeRules
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.rules import Chain, Rule, Table
from ipvsagent.model.state import (
    DUMMY_INTERFACE,
    ObservedRealServer,
    RealServerKey,
    SetSpec,
    VirtualServer,
    VirtualServerKey,
)

SCHEDULERS = ("dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "wlc", "wrr")

_IPVS_SYSCTLS = {
    "net/ipv4/vs/conntrack": "0",
    "net/ipv4/vs/conn_reuse_mode": "1",
    "net/ipv4/vs/expire_nodest_conn": "0",
    "net/ipv4/vs/expire_quiescent_template": "0",
    "net/ipv4/vs/run_estimation": "1",
}
_SYSCTLS = {
    "net/ipv4/tcp_keepalive_time": "7200",
    "net/ipv4/tcp_keepalive_intvl": "75",
    "net/ipv4/tcp_keepalive_probes": "9",
    "kernel/osrelease": "6.1.0-56-amd64",
    "net/ipv4/ip_forward": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv4/conf/all/arp_ignore": "0",
    "net/ipv4/conf/all/arp_announce": "0",
}
_CONNTRACK_SYSCTLS = {
    "net/netfilter/nf_conntrack_count": "0",
    "net/netfilter/nf_conntrack_max": "65536",
    "net/netfilter/nf_conntrack_buckets": "16384",
    "net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait": "60",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
    "net/netfilter/nf_conntrack_udp_timeout": "30",
    "net/netfilter/nf_conntrack_udp_timeout_stream": "120",
}


class FakeKernel:
    """One network namespace with its tables.

    Attributes:
        ipvs, addresses, ip_sets, rules, sysctls, modules, conntrack: the drivers.
        modules_available: modules that can be loaded.
        modules_loaded: modules that are loaded.
    """

    def __init__(self) -> None:
        self._journal = Journal()
        self.modules_available = {"ip_vs", "nf_conntrack", "dummy", *(f"ip_vs_{s}" for s in SCHEDULERS)}
        self.modules_loaded: set[str] = set()
        self.sysctls = FakeSysctls(self._journal)
        self.modules = FakeModules(self)
        self.ipvs = FakeIpvs(self._journal, modules=self.modules_loaded, schedulers=self.modules.available_schedulers)
        self.addresses = FakeAddresses(self._journal)
        self.conntrack = FakeConntrack(self._journal)
        self.ip_sets = FakeIpSets(self._journal, references=self._references)
        self.rules = {
            family: FakeRules(family, self._journal, set_names=lambda: self.ip_sets.sets) for family in Family
        }

    def drivers(self) -> Drivers:
        """Return all drivers of this kernel."""
        rules = cast("dict[Family, Rules]", dict(self.rules))
        return Drivers(self.ipvs, self.addresses, self.ip_sets, rules, self.sysctls, self.modules, self.conntrack)

    def monitor(self, dummy_name: str = DUMMY_INTERFACE) -> FakeMonitor:
        """Return a monitor that reports the changes from now on."""
        return FakeMonitor(self.addresses, dummy_name)

    @property
    def log(self) -> list[LogEntry]:
        """Return every modifying message that succeeded, in order; text for changes that have no operation."""
        return self._journal.entries

    @property
    def sends(self) -> int:
        """Return number of batches sent."""
        return self._journal.sends

    def clear_log(self) -> None:
        """Clear the log."""
        self._journal.clear()

    def snapshot(self) -> object:
        """Return a comparable value of the whole state."""
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
        """Return whether module ip_vs is loaded."""
        return "ip_vs" in self.modules_loaded

    # -- changes by other programs -------------------------------------------------------------------------------

    def add_link(self, name: str, kind: str = "") -> None:
        """Add a network interface."""
        self.addresses.put_link(name, kind)

    def add_address(self, link_name: str, address: Address, prefix_length: int) -> None:
        """Add an address to an interface."""
        self.addresses.put_address(link_name, address, prefix_length)

    def remove_address(self, link_name: str, address: Address) -> None:
        """Remove an address from an interface."""
        self.addresses.take_address(link_name, address)

    def add_foreign_virtual_server(self, key: str, scheduler: str, real_servers: Sequence[str] = ()) -> None:
        """Add a foreign virtual server such as ``192.0.2.1:443/TCP``; IPv4 only."""
        made = VirtualServer(_key(key), scheduler)
        keys = [_endpoint(text) for text in real_servers]
        self.ipvs.table[made.key] = (made, {key: ObservedRealServer(*key) for key in keys})

    def set_weight(self, key: str, real_server: str, weight: int) -> None:
        """Change a weight."""
        self._edit(key, real_server, weight=weight)

    def set_forwarding_method(self, key: str, real_server: str, method: int) -> None:
        """Change a forwarding method."""
        self._edit(key, real_server, forwarding_method=method)

    def set_thresholds(self, key: str, real_server: str, *, upper: int, lower: int) -> None:
        """Change the connection thresholds."""
        self._edit(key, real_server, upper_threshold=upper, lower_threshold=lower)

    def set_connections(self, key: str, real_server: str, *, active: int, inactive: int) -> None:
        """Set the numbers of connections."""
        self._edit(key, real_server, active_connections=active, inactive_connections=inactive)

    def add_foreign_set(self, spec: SetSpec) -> None:
        """Add a foreign ipset; `AlreadyExists` if the name is taken."""
        if spec.name in self.ip_sets.sets:
            raise kernel_error("create ipset", spec.name, errno.EEXIST)
        self.ip_sets.sets[spec.name] = (spec, set())

    def add_foreign_chain(self, family: Family, table: Table, chain: Chain) -> None:
        """Add a foreign chain with its rules."""
        self.rules[family].chains[table, chain.name] = chain.rules

    def append_foreign_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """Append a foreign rule to a chain."""
        held = self.rules[family]
        if (table, chain) in held.chains:
            held.chains[table, chain] += (rule,)
        else:
            held.builtin.setdefault((table, chain), []).append(rule)

    def delete_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """Remove the first copy of a rule from a built-in chain."""
        self.rules[family].builtin[table, chain].remove(rule)

    def _references(self, set_name: str) -> int:
        return sum(driver.references(set_name) for driver in self.rules.values())

    def _edit(self, key: str, real_server: str, **changes: int) -> None:
        reals = self.ipvs.table[_key(key)][1]
        at = _endpoint(real_server)
        reals[at] = replace(reals[at], **changes)


class FakeSysctls:
    """Files below /proc/sys; implements `api.Sysctls`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
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
        self._journal.record(f"write {key} {value}")


class FakeModules:
    """Kernel modules; implements `api.Modules`."""

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
            self.load("nf_conntrack")  # ip_vs depends on it
        elif name == "nf_conntrack":
            self._kernel.sysctls.values.update(_CONNTRACK_SYSCTLS)

    def available_schedulers(self) -> list[str]:
        """As in `api.Modules`."""
        names = self._kernel.modules_available | self._kernel.modules_loaded
        return sorted(n.removeprefix("ip_vs_") for n in names if n.startswith("ip_vs_"))


def _endpoint(text: str) -> RealServerKey:
    address, _, port = text.rpartition(":")
    return RealServerKey(Address.parse(address.strip("[]")), int(port))


def _key(text: str) -> VirtualServerKey:
    where, _, protocol = text.partition("/")
    address, port = _endpoint(where)
    return VirtualServerKey(Protocol[protocol], address, port)
