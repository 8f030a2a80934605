"""Search for drift: differences between the kernel and the ledger.

The kernel notifies the agent of removed addresses, and of changed rules if nf_tables holds them. Everything else is
checked once a second, at a cost that does not grow with the cluster: tripwires that are read in O(1) (number of virtual
servers, number of entries of each set), and a share of the virtual servers and one set in full, in turn. Differences
are recorded in the ledger as found; the next write repairs them like any other difference (DEV-01, DEV-02, DEV-17).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple

from ipvsagent.instrumentation.counters import Counters, Drift
from ipvsagent.kernel.api import Drivers
from ipvsagent.model.address import Family, Network
from ipvsagent.model.state import RealServer, SetSpec, VirtualServer, VirtualServerKey
from ipvsagent.planner.desired import Touched
from ipvsagent.planner.sets import set_specs
from ipvsagent.reconciler.adoption import addresses_on_dummy, is_excluded, list_entries
from ipvsagent.reconciler.ledger.ledger import Ledger, from_observed

TICK_SECONDS = 1.0
VIRTUAL_SERVERS_PER_TICK = 64
TICKS_PER_RULE_CHECK = 2
"""Ticks between comparisons of one family's rules and the kernel settings: a comparison starts a program.

Legacy tables, which send no notifications, are compared every tick; reading them is also cheaper."""
RULES_SETTLE_SECONDS = 0.1
"""Delay of a comparison after a notification of changed rules: a script usually runs several commands."""
RULES_REST_SECONDS = 0.5
"""Minimum time after the end of the last comparison, however much changes."""
TICKS_PER_KEY_CHECK = 30
"""Ticks between listings of all keys, which find changes of IPv6 virtual servers: the kernel counts only IPv4."""


class Finding(NamedTuple):
    """The result of one tick.

    Args:
        touched: items that were corrected in the ledger.
        unknown: the kernel differs in a way that only reading all of it again can show.
        sets_missing: a set of ours is missing or of the wrong kind.
        check_rules: whether to compare the rules (of one family or of those that may have changed) and the kernel
            settings now.
    """

    touched: Touched
    unknown: bool = False
    sets_missing: bool = False
    check_rules: bool = False

    def describe(self) -> str:
        """Return a short description of what differs."""
        if self.unknown:
            return "virtual servers were added or removed"
        items = (*self.touched.virtual_servers, *self.touched.addresses, *self.touched.entries)
        rest = f" and {len(items) - 3} more" if len(items) > 3 else ""
        return ", ".join(str(i) for i in items[:3]) + rest


class Verification:
    """Compares the kernel with the ledger, a little every second."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers
        self._uncounted = 0  # virtual servers by firewall mark: counted by the kernel, not in the ledger
        self._share: Iterator[VirtualServerKey] = iter(())
        self._next_set = 0
        self._ticks = 0
        self._next_tick = math.inf
        legacy = any(rules.variant == "legacy" for rules in drivers.rules.values())
        self._ticks_per_rule_check = 1 if legacy else TICKS_PER_RULE_CHECK
        self._next_rule_check = math.inf
        self._rules_compared = -math.inf

    def begin(self, ledger: Ledger, now: float) -> None:
        """Start or restart verification: the ledger was just read from the kernel."""
        self._uncounted = self._drivers.ipvs.count_virtual_servers() - ledger.counted
        self._next_tick = now + TICK_SECONDS

    def next_time(self) -> float | None:
        """Return when to call `tick`; None before `begin`."""
        return None if math.isinf(self._next_tick) else min(self._next_tick, self._next_rule_check)

    def rules_changed(self, now: float) -> None:
        """Schedule a comparison of the rules, which may have changed."""
        at = max(now + RULES_SETTLE_SECONDS, self._rules_compared + RULES_REST_SECONDS)
        self._next_rule_check = min(self._next_rule_check, at)

    def rules_compared(self, now: float) -> None:
        """Note that a comparison requested by a tick has ended."""
        self._rules_compared = now

    def tick(
        self, ledger: Ledger, *, families: Sequence[Family], now: float, exclude: Sequence[Network]
    ) -> Finding | None:
        """Check one second's share if it is due; between two ticks, request only a due comparison of rules.

        Args:
            families: families whose sets must exist.
            exclude: networks whose addresses are not repaired (DEV-28).

        Raises:
            KernelError: something could not be listed; the next tick retries.
        """
        due = self.next_time()
        if due is None or now < due:
            return None
        suspected = now >= self._next_rule_check
        if suspected:
            self._next_rule_check = math.inf
        if now < self._next_tick:
            return Finding(Touched(), check_rules=True)
        self._next_tick = now + TICK_SECONDS
        self._ticks += 1
        touched = Touched()
        missing = self._compare_sets(ledger, families, touched)
        unknown = self._drivers.ipvs.count_virtual_servers() != ledger.counted + self._uncounted
        if not unknown:
            if self._ticks % TICKS_PER_KEY_CHECK == 0:
                unknown = self._keys_differ(ledger)
                self._compare_addresses(ledger, touched, exclude)
            self._compare_virtual_servers(ledger, touched)
        return Finding(touched, unknown, missing, suspected or self._ticks % self._ticks_per_rule_check == 0)

    # -- virtual servers ---------------------------------------------------------------------------------------

    def _compare_virtual_servers(self, ledger: Ledger, touched: Touched) -> None:
        for key in self._next_share(ledger):
            held = ledger.virtual_servers.get(key)
            if held is None or key in ledger.foreign:
                continue
            observed = self._drivers.ipvs.find_virtual_server(key)
            if observed is None:
                ledger.forget(key)
                touched.virtual_servers[key] = None
                continue
            found = from_observed(observed)
            if found.settings != held.settings or _by_place(found) != _by_place(held):
                ledger.hold(found)
                touched.virtual_servers[key] = None

    def _next_share(self, ledger: Ledger) -> list[VirtualServerKey]:
        share = list(islice(self._share, VIRTUAL_SERVERS_PER_TICK))
        if len(share) < VIRTUAL_SERVERS_PER_TICK:
            self._share = iter(tuple(ledger.virtual_servers))  # the next round, with the virtual servers that exist now
        return share

    def _keys_differ(self, ledger: Ledger) -> bool:
        return self._drivers.ipvs.list_keys() != ledger.virtual_servers.keys()

    # -- sets --------------------------------------------------------------------------------------------------

    def _compare_sets(self, ledger: Ledger, families: Sequence[Family], touched: Touched) -> bool:
        """Compare the number of entries of each set; compare all entries if it differs, and of one set in turn."""
        present = {s.name: s for s in self._drivers.ip_sets.list_sets()}
        specs = [spec for family in families for spec in set_specs(family)]
        turn = specs[self._next_set % len(specs)] if specs else None
        self._next_set += 1
        missing = False
        for spec in specs:
            observed = present.get(spec.name)
            missing |= observed is None
            if spec is turn or (observed.entries if observed else 0) != len(ledger.entries.of(spec.name)):
                self._compare_entries(spec, ledger, touched)
        return missing

    def _compare_entries(self, spec: SetSpec, ledger: Ledger, touched: Touched) -> None:
        held, found = ledger.entries.of(spec.name), set(list_entries(self._drivers.ip_sets, spec))
        touched.entries.update(dict.fromkeys(sorted(held ^ found, key=str)))
        ledger.replace_entries(spec.name, found)

    # -- addresses ---------------------------------------------------------------------------------------------

    def _compare_addresses(self, ledger: Ledger, touched: Touched, exclude: Sequence[Network]) -> None:
        found = {a for a in addresses_on_dummy(self._drivers.addresses) if not is_excluded(a, exclude)}
        differing = ledger.addresses ^ found
        ledger.replace_addresses(found)
        touched.addresses.update(dict.fromkeys(sorted(differing, key=lambda a: a.sort_key)))


def count_repairs(counters: Counters, touched: Touched, failed: AbstractSet[object]) -> None:
    """Count the items that another program changed, and how many were repaired.

    Args:
        failed: items that could not be written.
    """
    for kind, items in (
        (Drift.VIRTUAL_SERVER, touched.virtual_servers.keys()),
        (Drift.ADDRESS, touched.addresses.keys()),
        (Drift.SET_ENTRY, touched.entries.keys()),
    ):
        counters.note_drift(kind, len(items), len(items - failed))


def _by_place(server: VirtualServer) -> frozenset[RealServer]:
    return frozenset(server.real_servers)
