"""iptables rules through iptables-nft: each change is one ``iptables-nft-restore --noflush``.

nf_tables applies the changes of a table as one transaction, so no lock is needed.
"""

from __future__ import annotations

from ipvsagent.errors import Busy, NotSupported, ToolMissing
from ipvsagent.kernel.iptables.probe import missing_extensions
from ipvsagent.kernel.iptables.programs import find_program, run
from ipvsagent.kernel.iptables.text import (
    EMPTY_TABLE,
    ObservedTable,
    TableCommands,
    list_ours,
    parse_save,
    removal,
    replacement,
    restore_lines,
)
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension
from ipvsagent.model.rules import RuleSet

_LOCK_WAIT_SECONDS = "5"  # for iptables-restore; releases before 1.8 lock here, too


class NftRules:
    """The rules of one family as iptables-nft sees them; implements `api.Rules`."""

    variant = "nft"

    def __init__(self, family: Family) -> None:
        self._family = family

    @property
    def family(self) -> Family:
        """Return the family this driver serves."""
        return self._family

    def matches(self, rules: RuleSet) -> bool:
        """See `api.Rules.matches`."""
        observed = self._read()
        return not any(replacement(observed.get(t.table, EMPTY_TABLE), t, self._family) for t in rules.tables)

    def replace(self, rules: RuleSet) -> None:
        """See `api.Rules.replace`."""
        observed = self._read()
        for table in rules.tables:
            commands = replacement(observed.get(table.table, EMPTY_TABLE), table, self._family)
            if commands:
                self._write(TableCommands(table.table, commands))

    def missing(self, rules: RuleSet) -> tuple[Extension, ...]:
        """See `api.Rules.missing`."""
        return missing_extensions(self.variant, rules)

    def list_ours(self, rules: RuleSet) -> list[str]:
        """See `api.Rules.list_ours`; empty if the program or the kernel's nf_tables is missing."""
        observed = self._read_if_any()
        return [
            line
            for table in rules.tables
            if table.table in observed
            for line in list_ours(observed[table.table], table, self._family)
        ]

    def remove(self, rules: RuleSet) -> None:
        """See `api.Rules.remove`.

        Raises:
            Busy: a chain was emptied but not removed, because a rule that is not ours jumps to it.
        """
        observed = self._read_if_any()
        kept: list[str] = []
        for table in rules.tables:
            commands, needed = removal(observed.get(table.table, EMPTY_TABLE), table, self._family)
            kept += [f"{table.table} {chain}" for chain in needed]
            if commands:
                self._write(TableCommands(table.table, commands))
        if kept:
            raise Busy("remove chain", ", ".join(kept), detail="rules that are not ours jump to it")

    def _read(self) -> dict[str, ObservedTable]:
        program = find_program(self._family, self.variant, "-save")
        return parse_save(run([program], operation="list rules with"))

    def _read_if_any(self) -> dict[str, ObservedTable]:
        try:
            return self._read()
        except (ToolMissing, NotSupported):
            return {}

    def _write(self, commands: TableCommands) -> None:
        program = find_program(self._family, self.variant, "-restore")
        text = "\n".join(restore_lines(commands)) + "\n"
        run([program, "--noflush", "-w", _LOCK_WAIT_SECONDS], text, f"write table {commands.table} with")
