"""Remove what this agent or kube-proxy in IPVS mode created on a node, and nothing else.

Order: virtual servers, dummy interface, rules, sets. The traces that distinguish our virtual servers from others (see
`reconciler.adoption`) are removed last, so that an interrupted cleanup can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ipvsagent.errors import AgentError, KernelError, NotFound, NotSupported
from ipvsagent.kernel.api import Addresses, IpSets, Ipvs, Rules
from ipvsagent.model.address import Family, Network
from ipvsagent.model.ops import RemoveAddress, RemoveVirtualServer
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.planner.sets import NOTES, set_specs
from ipvsagent.reconciler.adoption import read_kernel
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.transient_errors import retry_transient


class Cleanup:
    """One cleanup run.

    Args:
        ipvs: None if the kernel has no IPVS now, and therefore no virtual servers.
        rules: rules drivers of every variant and family in use on this host.
        rule_sets: names of the chains and jumps, by family; their rules are ignored.
        exclude: networks whose virtual servers and addresses stay (DEV-28).
        all_virtual_servers: also remove virtual servers that others created.
        dry_run: change nothing.

    Attributes:
        found: what was removed, or would be; one line each.
        failed: what could not be removed; one line each.
    """

    def __init__(
        self,
        ipvs: Ipvs | None,
        addresses: Addresses,
        ip_sets: IpSets,
        *,
        rules: Sequence[Rules],
        rule_sets: dict[Family, RuleSet],
        exclude: Sequence[Network] = (),
        all_virtual_servers: bool = False,
        dry_run: bool = False,
    ) -> None:
        self._ipvs = ipvs
        self._addresses = addresses
        self._ip_sets = ip_sets
        self._rules = rules
        self._rule_sets = rule_sets
        self._exclude = exclude
        self._all = all_virtual_servers
        self._dry_run = dry_run
        self.found: list[str] = []
        self.failed: list[str] = []

    def agent_ran(self) -> bool:
        """Return whether this agent has written its sets on this node; kube-proxy has none of these names (DEV-89)."""
        return any(found.name in NOTES for found in self._ip_sets.list_sets())

    def run(self) -> None:
        """Remove everything of ours; note failures in `failed` and continue with the rest (DEV-30)."""
        self._remove_virtual_servers()
        self._remove_dummy()
        for driver in self._rules:
            self._remove_rules(driver)
        self._remove_sets()

    def _remove_virtual_servers(self) -> None:
        if self._ipvs is None:
            return
        try:
            ledger = retry_transient(partial(self._read_kernel, self._ipvs))
        except KernelError as error:
            self.failed.append(str(error))
            return
        if self._all:
            self._flush(self._ipvs, ledger)
            return
        keys = sorted((k for k in ledger.virtual_servers if k not in ledger.foreign), key=str)
        self.found += [f"virtual server {key}" for key in keys]
        if keys and not self._dry_run:
            results = self._ipvs.apply([RemoveVirtualServer(key) for key in keys])
            self._note_failures(r for r in results if not isinstance(r, NotFound))

    def _read_kernel(self, ipvs: Ipvs) -> Ledger:
        return read_kernel(ipvs, self._addresses, self._ip_sets, families=tuple(Family), exclude=self._exclude)

    def _flush(self, ipvs: Ipvs, ledger: Ledger) -> None:
        keys = sorted(ledger.virtual_servers, key=str)
        self.found += [f"virtual server {key}" for key in keys]
        by_mark = ipvs.count_virtual_servers() - sum(len(key.address) == 4 for key in keys)  # it counts IPv4 only
        if by_mark > 0:
            self.found.append(f"{by_mark} virtual servers by firewall mark")
        self._do(ipvs.flush)  # in any case: those by IPv6 firewall mark show in no count

    def _remove_dummy(self) -> None:
        addresses = self._addresses
        links = {link.name: link for link in retry_transient(addresses.list_links)}
        link = links.get(DUMMY_INTERFACE)
        if link is None or link.kind != "dummy":
            return
        held = [a.address for a in retry_transient(addresses.list_addresses) if a.link_name == DUMMY_INTERFACE]
        kept = [a for a in held if any(a in n for n in self._exclude)]
        if not kept:
            self.found.append(f"interface {DUMMY_INTERFACE} with {len(held)} addresses")
            self._do(lambda: addresses.remove_link(DUMMY_INTERFACE))
            return
        going = [a for a in held if a not in kept]
        self.found += [f"address {a} on {DUMMY_INTERFACE}" for a in going]
        if going and not self._dry_run:
            results = addresses.apply(DUMMY_INTERFACE, [RemoveAddress(a) for a in going])
            self._note_failures(r for r in results if not isinstance(r, NotFound))

    def _remove_rules(self, driver: Rules) -> None:
        rules = self._rule_sets[driver.family]
        try:
            ours = driver.list_ours(rules)
        except KernelError as error:
            self.failed.append(str(error))
            return
        program = "iptables" if driver.family is Family.IPV4 else "ip6tables"
        self.found += [f"{program}-{driver.variant} {line}" for line in ours]
        if ours:
            self._do(lambda: driver.remove(rules))

    def _remove_sets(self) -> None:
        try:
            present = {s.name for s in retry_transient(self._ip_sets.list_sets)}
        except NotSupported:
            return
        except KernelError as error:
            self.failed.append(str(error))
            return
        for name in (spec.name for family in Family for spec in set_specs(family)):
            if name in present:
                self.found.append(f"ipset {name}")
                self._destroy(name)

    def _destroy(self, name: str) -> None:
        self._do(lambda: self._ip_sets.destroy(name))

    def _do(self, action: Callable[[], None]) -> None:
        if self._dry_run:
            return
        try:
            action()
        except NotFound:
            pass  # already removed
        except AgentError as error:
            self.failed.append(str(error))

    def _note_failures(self, results: Iterable[KernelError | None]) -> None:
        self.failed += [str(error) for error in results if error is not None]
