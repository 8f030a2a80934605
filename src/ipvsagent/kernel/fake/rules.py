"""The iptables rules of the fake kernel, one family."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from ipvsagent.errors import Busy, NotSupported, ToolFailed
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, table_of, trial_rules
from ipvsagent.model.rules import InSet, Jump, Rule, RuleSet, Table, TableRules

TableChain = tuple[Table, str]
"""A chain: its table and its name."""

_VERDICTS = {"ACCEPT", "DROP", "RETURN"}


class FakeRules:
    """Our chains, foreign chains and built-in chains, with their rules; implements `api.Rules`.

    As in the kernel, a rule may refer only to chains and ipsets that exist, and neither can be removed while a rule
    refers to it.

    Args:
        set_names: returns the names of the ipsets.

    Attributes:
        chains: the rules of chains that are not built in.
        builtin: the rules of built-in chains; one that was never used may be absent.
        lacking: tables, matches and targets that this kernel does not have.
    """

    def __init__(self, family: Family, journal: Journal, *, set_names: Callable[[], Collection[str]]) -> None:
        self._family = family
        self._journal = journal
        self._set_names = set_names
        self.chains: dict[TableChain, tuple[Rule, ...]] = {}
        self.builtin: dict[TableChain, list[Rule]] = {}
        self.lacking: set[Extension] = set()

    @property
    def family(self) -> Family:
        """As in `api.Rules`."""
        return self._family

    @property
    def variant(self) -> str:
        """As in `api.Rules`."""
        return "nft"

    def matches(self, rules: RuleSet) -> bool:
        """As in `api.Rules`."""
        return all(self._table_matches(table) for table in rules.tables)

    def replace(self, rules: RuleSet) -> None:
        """As in `api.Rules`."""
        for table in rules.tables:
            self._check(table)
        for table in rules.tables:
            if not self._table_matches(table):
                self._write(table)
                self._journal.record(f"commit {self._family.label} {table.table}")

    def missing(self, rules: RuleSet) -> tuple[Extension, ...]:
        """As in `api.Rules`."""
        needed = {*map(table_of, rules.tables), *trial_rules(rules)}
        return tuple(sorted(needed & self.lacking))

    def list_ours(self, rules: RuleSet) -> list[str]:
        """As in `api.Rules`."""
        found = []
        for table in rules.tables:
            found += [f"{table.table} {c.name}" for c in table.chains if (table.table, c.name) in self.chains]
            found += [
                f"{table.table} {j.builtin} -j {_destination(j.rule)}"
                for j in table.jumps
                if j.rule in self.builtin.get((table.table, j.builtin), [])
            ]
        return found

    def remove(self, rules: RuleSet) -> None:
        """As in `api.Rules`.

        Raises:
            Busy: a chain was emptied but not removed, because a rule that is not ours jumps to it.
        """
        kept: list[str] = []
        for table in rules.tables:
            before = self.snapshot()
            kept += self._remove(table)
            if self.snapshot() != before:
                self._journal.record(f"remove {self._family.label} {table.table}")
        if kept:
            raise Busy("remove chain", ", ".join(kept), detail="rules that are not ours jump to it")

    def references(self, set_name: str) -> int:
        """Return how many rules match a set."""
        every = (*self.chains.values(), *self.builtin.values())
        return sum(set_name in _sets_of(rule) for rules in every for rule in rules)

    def snapshot(self) -> object:
        """Return a comparable value of the whole state."""
        return dict(self.chains), {at: tuple(rules) for at, rules in self.builtin.items() if rules}

    def _table_matches(self, table: TableRules) -> bool:
        return all(self.chains.get((table.table, c.name)) == c.rules for c in table.chains) and all(
            self.builtin.get((table.table, j.builtin), []).count(j.rule) == 1 for j in table.jumps
        )

    def _check(self, table: TableRules) -> None:
        """Refuse rules that refer to a missing set or chain, or that need a part which this kernel lacks."""
        if absent := self.missing(RuleSet(self._family, (table,))):
            raise NotSupported("replace rules", detail=f"{absent[0]} does not exist")
        chains = {name for t, name in self.chains if t is table.table} | {c.name for c in table.chains} | _VERDICTS
        for rule in _rules_of(table):
            for name in _sets_of(rule):
                if name not in self._set_names():
                    raise ToolFailed("replace rules", detail=f"set {name} does not exist")
            if isinstance(rule.target, Jump) and rule.target.chain not in chains:
                raise ToolFailed("replace rules", detail=f"chain {rule.target.chain} does not exist")

    def _write(self, table: TableRules) -> None:
        self.chains.update({(table.table, c.name): c.rules for c in table.chains})
        absent: dict[str, list[Rule]] = {}
        for jump in table.jumps:
            present = self.builtin.setdefault((table.table, jump.builtin), [])
            if jump.rule in present:
                first = present.index(jump.rule)
                present[first + 1 :] = [r for r in present[first + 1 :] if r != jump.rule]
            else:
                absent.setdefault(jump.builtin, []).append(jump.rule)
        for builtin, rules in absent.items():
            self.builtin[table.table, builtin][:0] = rules

    def _remove(self, table: TableRules) -> list[str]:
        """Remove our chains and jumps in one table.

        Returns:
            The emptied chains that were not removed.
        """
        for jump in table.jumps:
            present = self.builtin.get((table.table, jump.builtin), [])
            present[:] = [r for r in present if r != jump.rule]
        ours = {c.name for c in table.chains if (table.table, c.name) in self.chains}
        self.chains.update({(table.table, name): () for name in ours})
        needed = {
            _destination(rule)
            for chain, rules in (*self.chains.items(), *self.builtin.items())
            if chain[0] is table.table
            for rule in rules
        }
        for name in ours - needed:
            del self.chains[table.table, name]
        return [f"{table.table} {c.name}" for c in table.chains if c.name in ours & needed]


def _rules_of(table: TableRules) -> Iterator[Rule]:
    for chain in table.chains:
        yield from chain.rules
    for jump in table.jumps:
        yield jump.rule


def _sets_of(rule: Rule) -> set[str]:
    return {m.set_name for m in rule.matches if isinstance(m, InSet)}


def _destination(rule: Rule) -> str:
    return rule.target.chain if isinstance(rule.target, Jump) else ""
