"""Maintain what the node needs independent of Services: its facts, the constant rules, and ipsets."""

from __future__ import annotations

from functools import partial

from ipvsagent.config.types import Settings
from ipvsagent.errors import KernelError, NodeUnusable
from ipvsagent.instrumentation.counters import Counters, Drift
from ipvsagent.kernel.api import Drivers
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import MissingPart
from ipvsagent.model.objects import Problem
from ipvsagent.model.rules import RuleSet
from ipvsagent.planner.facts import NodeFacts, node_ips, primary_family, takes_traffic
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.reconciler.node.facts import own_node, read_facts, unknown_own_node
from ipvsagent.reconciler.node.families import ServedFamily
from ipvsagent.reconciler.node.preparation import prepare_node
from ipvsagent.reconciler.node.sets import ensure_sets
from ipvsagent.reconciler.objects.cache import ObjectCache
from ipvsagent.requirements import needed_from_node
from ipvsagent.transient_errors import retry_transient

_CHECKS_PER_LOOK = 30
"""Missing parts are looked for once in so many checks of the rules: about once a minute, as it starts programs."""


class NodeMaintenance:
    """Keeps rules, ipsets and facts of the node up to date; the settings may change, so each call passes them.

    Args:
        name: of this node (EP-09).
        families: the address families that this node may serve.
        random_fully: whether iptables supports ``--random-fully`` (IPT-05).

    Attributes:
        eligible: whether load balancers may send new traffic here (HC-03).
        unknown: a message if the cluster has no Node for this node; otherwise empty (DEV-65).
    """

    def __init__(
        self,
        drivers: Drivers,
        objects: ObjectCache,
        counters: Counters,
        log: Logger,
        *,
        name: str,
        families: tuple[Family, ...],
        random_fully: bool,
    ) -> None:
        self._drivers = drivers
        self._objects = objects
        self._counters = counters
        self._log = log
        self._name = name
        self._families = families
        self._random_fully = random_fully
        self._served = {family: ServedFamily(drivers, family) for family in families}
        self._rules: tuple[RuleSet, ...] = ()
        self._rules_checked = 0
        self._suspected: set[Family] = set()
        self.eligible = False
        self.unknown = ""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that this node serves now."""
        return tuple(f for f in self._families if self._served[f].is_served)

    def prepare(self, settings: Settings) -> None:
        """Prepare the node.

        Raises:
            NodeUnusable: the node lacks something that the agent cannot work without.
        """
        self.check_families(settings)
        prepare_node(self._drivers, settings, self._log)
        self._rules = self._plan_rules(settings)
        with needed_from_node():
            for rules in self._rules:
                self._prepare(rules, may_wait=True)
        if not self.families:
            missing = [part for family in self._served.values() for part in family.missing if part.is_vital]
            facts = "; ".join(f"{part.family.label}: {part.what}" for part in missing)
            remedies = "; ".join(dict.fromkeys(part.remedy for part in missing))
            raise NodeUnusable(f"no address family can be served: {facts}", remedies)
        self.check_families(settings)

    def changed(self, settings: Settings) -> bool:
        """Process a changed Node object; return whether it needs different rules."""
        node = own_node(self._objects, self._name)
        if node is not None:  # a deleted Node keeps its last known object (HC-03)
            self.eligible = takes_traffic(node)
        self.unknown = unknown_own_node(self._objects, self._name)
        problem = Problem("Node", self._name, "", self.unknown, "NodeUnknown")
        self._objects.problems.replace("own node", (problem,) if self.unknown else ())
        return self._plan_rules(settings) != self._rules

    def check_families(self, settings: Settings) -> None:
        """Check that this node serves its primary address family, once that is known.

        Raises:
            NodeUnusable: the node cannot serve it (SYN-01, SYN-02).
        """
        node = own_node(self._objects, self._name)
        known = node_ips(node.addresses if node else (), settings.bind_address)
        primary = primary_family(known)
        if known and primary not in self.families:
            missing = self._served[primary].missing if primary in self._served else ()
            raise NodeUnusable(
                f"{primary.label}, the family of this node's primary address {known[0]}, cannot be served"
                + "".join(f": {part.what}" for part in missing if part.is_vital),
                "; ".join(part.remedy for part in missing if part.is_vital) or "use an address of the other family",
            )

    def read_facts(self, settings: Settings) -> NodeFacts:
        """Return everything that plans must know about this node.

        Raises:
            KernelError: the addresses could not be listed.
        """
        return read_facts(
            self._drivers.addresses, self._objects, node_name=self._name, families=self.families, settings=settings
        )

    def write_rules(self, settings: Settings) -> None:
        """Write the rules of all families if the kernel's differ.

        Raises:
            KernelError: some could not be read or written.
        """
        self._rules = self._plan_rules(settings)
        for rules in self._rules:
            self._prepare(rules)

    def suspect_rules(self, family: Family) -> None:
        """Mark the rules of a family, which may have been changed, to be checked next."""
        self._suspected.add(family)

    def check_rules(self) -> None:
        """Repair the rules of the marked families; if none is marked, of one family in turn.

        Raises:
            KernelError: they could not be read or written.
        """
        self._rules_checked += 1
        suspected = [rules for rules in self._rules if rules.family in self._suspected]
        for rules in suspected or [self._rules[self._rules_checked % len(self._rules)]]:
            self._suspected.discard(rules.family)
            if self._check(rules):
                self._log.warning("rules were changed by another program; repaired", family=rules.family.label)
                self._counters.note_drift(Drift.RULES, 1, 1)

    def look_for_missing_parts(self) -> None:
        """Look for the parts that the kernel lacked, once in a while.

        Raises:
            KernelError: sets or rules could not be written.
        """
        if self._rules_checked % _CHECKS_PER_LOOK:
            return
        for rules in self._rules:
            if self._served[rules.family].missing:
                self._prepare(rules)

    def create_sets(self) -> None:
        """Create the missing sets.

        Raises:
            KernelError, NodeUnusable: some could not be created.
        """
        for rules in self._rules:
            if self._served[rules.family].is_served:
                ensure_sets(self._drivers, rules)

    def _plan_rules(self, settings: Settings) -> tuple[RuleSet, ...]:
        node = own_node(self._objects, self._name)
        return plan_rule_sets(settings, node, self._families, random_fully=self._random_fully)

    def _check(self, rules: RuleSet) -> bool:
        family = self._served[rules.family]
        if not family.is_served:
            return False
        try:
            return family.write_rules(rules)
        except KernelError:
            self._prepare(rules)  # says which part is missing, or what failed
            return False

    def _prepare(self, rules: RuleSet, *, may_wait: bool = False) -> None:
        """Write sets and rules of a family; only the start may wait, later the task is retried."""
        family = self._served[rules.family]
        before = family.missing
        write = partial(family.prepare, rules)
        try:
            retry_transient(write) if may_wait else write()
        except KernelError:
            self._counters.note_rule_failure(rules.family)
            raise
        if family.missing != before:
            self._report_missing(family, before)

    def _report_missing(self, family: ServedFamily, before: tuple[MissingPart, ...]) -> None:
        """Report what the kernel lacks: as a problem of this node, which is logged and becomes an event (DEV-81)."""
        label = family.family.label
        faults = tuple(
            Problem("Node", self._name, "", str(part), "KernelPartMissing")
            for part in family.missing
            if not part.is_chosen
        )
        self._objects.problems.replace(("kernel parts", label), faults)
        for part in family.missing:
            if part.is_chosen:
                self._log.warning("address family not served", family=label, reason=part.what)
        if before and not family.missing:
            self._log.info("nothing is missing in the kernel any more", family=label)
