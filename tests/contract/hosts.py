"""The two places where the contract suite runs: the fake kernel, and a network namespace of the real one."""

from __future__ import annotations

import contextlib
import os
from functools import cached_property
from typing import Protocol

from lab.namespaces import Namespace

from ipvsagent.kernel.api import Addresses, IpSets, Ipvs, Modules, Monitor, Rules
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Address, Family
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddRealServer
from ipvsagent.model.rules import Chain, Rule, Table, quote
from ipvsagent.model.state import RealServer, VirtualServerKey


class Host(Protocol):
    """A kernel with a loopback interface and nothing else: its drivers, and what others do to it."""

    @property
    def ipvs(self) -> Ipvs:
        """The IPVS table; module ip_vs is loaded."""

    @property
    def addresses(self) -> Addresses:
        """Links and addresses."""

    @property
    def ip_sets(self) -> IpSets:
        """The ipsets."""

    @property
    def modules(self) -> Modules:
        """Kernel modules."""

    def rules(self, family: Family) -> Rules:
        """The rules of one family."""

    def monitor(self, dummy_name: str) -> Monitor[NodeAddressesChanged | DummyInterfaceChanged]:
        """A monitor that hears what happens from now on; `close` closes it."""

    def make_interface(self, name: str) -> None:
        """Make an interface, which stays down and has no addresses."""

    def give_address(self, interface: str, address: Address, prefix_length: int) -> None:
        """Somebody else adds an address to an interface."""

    def make_direct_real_server(self, key: VirtualServerKey, real_server: RealServer) -> None:
        """Somebody else adds a real server, by direct routing and with thresholds 9 and 5."""

    def make_chain(self, family: Family, table: Table, name: str) -> None:
        """Somebody else makes an empty chain."""

    def append_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """Somebody else adds a rule at the end of a chain."""

    def delete_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """Somebody else takes the first such rule out of a chain."""

    def chain_rules(self, family: Family, table: Table, chain: str) -> list[str]:
        """The rules of a chain, in the words of iptables-save."""

    def close(self) -> None:
        """End all of it."""


class FakeHost:
    """The fake kernel."""

    def __init__(self) -> None:
        self._kernel = FakeKernel()
        self._kernel.modules.load("ip_vs")
        self.ipvs: Ipvs = self._kernel.ipvs
        self.addresses: Addresses = self._kernel.addresses
        self.ip_sets: IpSets = self._kernel.ip_sets
        self.modules: Modules = self._kernel.modules
        self._monitors: list[Monitor[NodeAddressesChanged | DummyInterfaceChanged]] = []

    def rules(self, family: Family) -> Rules:
        """As in `Host`."""
        return self._kernel.rules[family]

    def monitor(self, dummy_name: str) -> Monitor[NodeAddressesChanged | DummyInterfaceChanged]:
        """As in `Host`."""
        self._monitors.append(self._kernel.monitor(dummy_name))
        return self._monitors[-1]

    def make_interface(self, name: str) -> None:
        """As in `Host`."""
        self._kernel.add_link(name, "dummy")

    def give_address(self, interface: str, address: Address, prefix_length: int) -> None:
        """As in `Host`."""
        self._kernel.add_address(interface, address, prefix_length)

    def make_direct_real_server(self, key: VirtualServerKey, real_server: RealServer) -> None:
        """As in `Host`."""
        assert self.ipvs.apply([AddRealServer(key, real_server)]) == [None]
        self._kernel.set_forwarding_method(str(key), str(real_server), 3)
        self._kernel.set_thresholds(str(key), str(real_server), upper=9, lower=5)

    def make_chain(self, family: Family, table: Table, name: str) -> None:
        """As in `Host`."""
        self._kernel.add_foreign_chain(family, table, Chain(name))

    def append_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """As in `Host`."""
        self._kernel.append_foreign_rule(family, table, chain, rule)

    def delete_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """As in `Host`."""
        self._kernel.delete_rule(family, table, chain, rule)

    def chain_rules(self, family: Family, table: Table, chain: str) -> list[str]:
        """As in `Host`."""
        held = self._kernel.rules[family]
        rules = [*held.chains.get((table, chain), ()), *held.builtin.get((table, chain), ())]
        return [" ".join(quote(word) for word in rule.words(family)) for rule in rules]

    def close(self) -> None:
        """As in `Host`."""
        for monitor in self._monitors:
            monitor.close()


class RealHost:
    """A fresh network namespace of this machine's kernel; the calling thread is in it until `close`.

    Args:
        variant: which iptables to use, ``legacy`` or ``nft``.
    """

    def __init__(self, variant: str = "legacy") -> None:
        self._variant = variant
        self._namespace = Namespace()
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._namespace.close)
        self._stack.enter_context(self._namespace.inside())
        self.modules.load("ipv6")
        # Where not even the loopback interface is up the kernel takes every IPv4 address for broadcast, and refuses
        # it as a real server.
        self._run("ip", "link", "set", "lo", "up")

    @cached_property
    def ipvs(self) -> Ipvs:
        """As in `Host`."""
        from ipvsagent.kernel.netlink.ipvs import IpvsDriver

        self.modules.load("ip_vs")
        driver = IpvsDriver()
        self._stack.callback(driver.close)
        return driver

    @cached_property
    def addresses(self) -> Addresses:
        """As in `Host`."""
        from ipvsagent.kernel.netlink.addresses import AddressDriver

        driver = AddressDriver()
        self._stack.callback(driver.close)
        return driver

    @cached_property
    def ip_sets(self) -> IpSets:
        """As in `Host`."""
        from ipvsagent.kernel.netlink.ipsets import IpSetDriver

        driver = IpSetDriver()
        self._stack.callback(driver.close)
        return driver

    @cached_property
    def modules(self) -> Modules:
        """As in `Host`."""
        from ipvsagent.kernel.modules import ModuleDriver

        return ModuleDriver()

    def rules(self, family: Family) -> Rules:
        """As in `Host`."""
        from ipvsagent.kernel.iptables.legacy import LegacyRules
        from ipvsagent.kernel.iptables.nft import NftRules

        return LegacyRules(family) if self._variant == "legacy" else NftRules(family)

    def monitor(self, dummy_name: str) -> Monitor[NodeAddressesChanged | DummyInterfaceChanged]:
        """As in `Host`."""
        from ipvsagent.kernel.netlink.addresses import RtnetlinkMonitor

        monitor = RtnetlinkMonitor(dummy_name)
        self._stack.callback(monitor.close)
        return monitor

    def make_interface(self, name: str) -> None:
        """As in `Host`; a machine that is no guest may lack dummy interfaces."""
        kind = ("dummy",) if "IN_GUEST" in os.environ else ("veth", "peer", "name", f"{name}-peer")
        self._run("ip", "link", "add", name, "type", *kind)

    def give_address(self, interface: str, address: Address, prefix_length: int) -> None:
        """As in `Host`."""
        self._run("ip", "address", "add", f"{address}/{prefix_length}", "dev", interface)

    def make_direct_real_server(self, key: VirtualServerKey, real_server: RealServer) -> None:
        """As in `Host`."""
        option = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}[key.protocol.name]
        service = str(key).partition("/")[0]
        self._run("ipvsadm", "-a", option, service, "-r", str(real_server), "-g", "-x", "9", "-y", "5")

    def make_chain(self, family: Family, table: Table, name: str) -> None:
        """As in `Host`."""
        self._iptables(family, "-t", table, "-N", name)

    def append_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """As in `Host`."""
        self._iptables(family, "-t", table, "-A", chain, *rule.words(family))

    def delete_rule(self, family: Family, table: Table, chain: str, rule: Rule) -> None:
        """As in `Host`."""
        self._iptables(family, "-t", table, "-D", chain, *rule.words(family))

    def chain_rules(self, family: Family, table: Table, chain: str) -> list[str]:
        """As in `Host`."""
        saved = self._run(f"{_program(family)}-{self._variant}-save", "-t", table)
        start = f"-A {chain} "
        return [line.removeprefix(start) for line in saved.splitlines() if line.startswith(start)]

    def close(self) -> None:
        """As in `Host`."""
        self._stack.close()

    def _iptables(self, family: Family, *words: str) -> None:
        self._run(f"{_program(family)}-{self._variant}", "-w", "60", *words)

    def _run(self, *words: str) -> str:
        return self._namespace.run(*words)


def _program(family: Family) -> str:
    return "iptables" if family is Family.IPV4 else "ip6tables"


def namespaces_work() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid():
        return False
    try:
        Namespace().close()
    except OSError:
        return False
    return True
