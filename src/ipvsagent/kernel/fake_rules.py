"""The iptables rules of the fake kernel, one family."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ipvsagent.errors import Busy, ToolFailed
from ipvsagent.model.address import Family
from ipvsagent.model.rules import BuiltinJump, InSet, Jump, Rule, RuleSet, Table

Place = tuple[Table, str]


class FakeRules:
    """Chains with their rules, and the rules of built-in chains, ours and those of others.

    Args:
        record: called with a text for each commit.
        set_names: the ipsets that exist now.
    """

    def __init__(
        self, family: Family, *, record: Callable[[str], None], set_names: Callable[[], Collection[str]]
    ) -> None:
        self._family = family
        self._record = record
        self._set_names = set_names
        self.chains: dict[Place, tuple[Rule, ...]] = {}
        self.builtin: dict[Place, list[Rule]] = {}

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
        return all(self.chains.get((t.table, c.name)) == c.rules for t in rules.tables for c in t.chains) and all(
            self.builtin.get((t.table, j.builtin), []).count(j.rule) == 1 for t in rules.tables for j in t.jumps
        )

    def replace(self, rules: RuleSet) -> None:
        """As in `api.Rules`."""
        missing = {
            m.set_name
            for t in rules.tables
            for c in t.chains
            for r in c.rules
            for m in r.matches
            if isinstance(m, InSet)
        }
        missing -= set(self._set_names())
        if missing:
            raise ToolFailed("replace rules", detail=f"Set {min(missing)} doesn't exist.")
        for table in rules.tables:
            self.chains.update({(table.table, c.name): c.rules for c in table.chains})
            for builtin in dict.fromkeys(j.builtin for j in table.jumps):
                jumps = [j for j in table.jumps if j.builtin == builtin]
                self._insert(self.builtin.setdefault((table.table, builtin), []), jumps)
            self._record(f"commit {self._family.label} {table.table}")

    def _insert(self, present: list[Rule], jumps: list[BuiltinJump]) -> None:
        absent = []
        for jump in jumps:
            while present.count(jump.rule) > 1:
                present.remove(jump.rule)
            if jump.rule not in present:
                absent.append(jump.rule)
        present[:0] = absent

    def list_ours(self, rules: RuleSet) -> list[str]:
        """As in `api.Rules`."""
        found = []
        for table in rules.tables:
            found += [f"{table.table} {c.name}" for c in table.chains if (table.table, c.name) in self.chains]
            found += [
                f"{table.table} {j.builtin} jump to {_target(j.rule)}"
                for j in table.jumps
                if j.rule in self.builtin.get((table.table, j.builtin), [])
            ]
        return found

    def remove(self, rules: RuleSet) -> None:
        """As in `api.Rules`."""
        for table in rules.tables:
            ours = {c.name for c in table.chains}
            if not ours & {name for t, name in self.chains if t is table.table}:
                continue
            for jump in table.jumps:
                present = self.builtin.get((table.table, jump.builtin), [])
                present[:] = [r for r in present if r != jump.rule]
            self._remove_chains(table.table, ours)
            self._record(f"remove {self._family.label} {table.table}")

    def _remove_chains(self, table: Table, ours: set[str]) -> None:
        for name in ours & {n for t, n in self.chains if t is table}:
            users = [
                n for (t, n), rules in self.builtin.items() if t is table and any(_target(r) == name for r in rules)
            ]
            if users:
                self.chains[table, name] = ()
                raise Busy("remove chain", name, detail=f"a foreign rule of {users[0]} jumps to it")
            del self.chains[table, name]

    def references(self, set_name: str) -> int:
        """Number of rules that match a set."""
        every = (*self.chains.values(), *self.builtin.values())
        return sum(
            1 for rules in every for r in rules for m in r.matches if isinstance(m, InSet) and m.set_name == set_name
        )

    def snapshot(self) -> object:
        """A comparable value of the whole state."""
        return dict(self.chains), {at: tuple(rules) for at, rules in self.builtin.items() if rules}


def _target(rule: Rule) -> str:
    return rule.target.chain if isinstance(rule.target, Jump) else ""
