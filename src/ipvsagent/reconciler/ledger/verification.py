"""Looking for drift: is the kernel still what the ledger says?

Notifications tell of lost addresses at once, and of changed rules where nf_tables holds them. The rest is looked for
once a second, at a cost that does not grow with the cluster: tripwires that are read in O(1) (number of virtual
servers, number of entries of each set), and a share of the virtual servers and one set in full, in turn. What differs
is put into the ledger as it was found; writing what is touched then repairs it like any other difference (DEV-01,
DEV-02, DEV-17).
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
"""One family's rules, and the kernel settings, are compared every so many ticks: that starts a program.

Legacy tables, of which nobody tells anything, are compared every tick; reading them is cheaper, too."""
RULES_SETTLE_SECONDS = 0.1
"""Rules that were told to have changed are compared so much later: a script has mostly more than one command."""
RULES_REST_SECONDS = 0.5
"""And so long after the end of the last comparison at the earliest, however much changes."""
TICKS_PER_KEY_CHECK = 30
"""The one look at everything: which virtual servers there are, for the IPv6 ones that the kernel does not count."""


class Finding(NamedTuple):
    """What one tick found.

    Args:
        touched: items whose place in the ledger was corrected.
        unknown: the kernel differs in a way that only reading all of it again can tell.
        sets_missing: a set of ours is gone or of the wrong kind.
        check_rules: whether one family's rules, or those that are suspected, and the kernel settings are to be
            compared now.
    """

    touched: Touched
    unknown: bool = False
    sets_missing: bool = False
    check_rules: bool = False

    def describe(self) -> str:
        """What differs, in a few words."""
        if self.unknown:
            return "virtual servers appeared or went"
        items = (*self.touched.virtual_servers, *self.touched.addresses, *self.touched.entries)
        rest = f" and {len(items) - 3} more" if len(items) > 3 else ""
        return ", ".join(str(i) for i in items[:3]) + rest


class Verification:
    """Compares the kernel with the ledger, a little every second."""

    def __init__(self, drivers: Drivers) -> None:
        self._drivers = drivers
        self._uncounted = 0  # virtual servers that the kernel counts and the ledger does not hold: by firewall mark
        self._share: Iterator[VirtualServerKey] = iter(())
        self._next_set = 0
        self._ticks = 0
        self._next_tick = math.inf
        legacy = any(rules.variant == "legacy" for rules in drivers.rules.values())
        self._ticks_per_rule_check = 1 if legacy else TICKS_PER_RULE_CHECK
        self._next_rule_check = math.inf
        self._rules_compared = -math.inf

    def begin(self, ledger: Ledger, now: float) -> None:
        """Begin to verify, or begin again: the ledger was just read from the kernel."""
        self._uncounted = self._drivers.ipvs.count_virtual_servers() - ledger.counted
        self._next_tick = now + TICK_SECONDS

    def next_time(self) -> float | None:
        """When to call `tick`; None before `begin`."""
        return None if math.isinf(self._next_tick) else min(self._next_tick, self._next_rule_check)

    def rules_changed(self, now: float) -> None:
        """Rules may have been changed: a coming tick has them compared."""
        at = max(now + RULES_SETTLE_SECONDS, self._rules_compared + RULES_REST_SECONDS)
        self._next_rule_check = min(self._next_rule_check, at)

    def rules_compared(self, now: float) -> None:
        """A comparison that a tick asked for has ended."""
        self._rules_compared = now

    def tick(
        self, ledger: Ledger, *, families: Sequence[Family], now: float, exclude: Sequence[Network]
    ) -> Finding | None:
        """Do one second's share, if it is time, or the comparison of rules alone that is due in between.

        Args:
            families: whose sets must exist.
            exclude: networks whose addresses are not ours to repair (DEV-28).

        Raises:
            KernelError: something could not be listed; the next tick tries again.
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
            self._share = iter(tuple(ledger.virtual_servers))  # the next round, on what there is then
        return share

    def _keys_differ(self, ledger: Ledger) -> bool:
        return self._drivers.ipvs.list_keys() != ledger.virtual_servers.keys()

    # -- sets --------------------------------------------------------------------------------------------------

    def _compare_sets(self, ledger: Ledger, families: Sequence[Family], touched: Touched) -> bool:
        """Compare numbers of entries, and all entries where those differ and of one set in turn."""
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
    """Count what somebody else changed, and what of it was written again.

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
