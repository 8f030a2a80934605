"""iptables rules through the kernel's legacy tables.

``iptables-legacy-save`` reads the rules, of tables in use only: opening another table would load its module.
python-iptables writes them in a short-lived child process (`kernel.iptables.child`), because the library is not
thread-safe, cannot serve both families in one process, and keeps memory.

libiptc reads a whole table, changes its copy and writes it back. A change that another program makes meanwhile could
be lost, so the driver holds the lock of the iptables programs from reading to writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ipvsagent.errors import Busy, NotPermitted, kernel_error
from ipvsagent.kernel.iptables.child import Request
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
)
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension
from ipvsagent.model.rules import RuleSet

_LOCK_WAIT_SECONDS = 5.0
_LOCK_RETRY_SECONDS = 0.05


def tables_in_use(family: Family) -> frozenset[str]:
    """Return the legacy tables that are in use in this network namespace; reading them loads no module.

    Raises:
        NotPermitted: only root may read the file.
    """
    name = "ip_tables_names" if family is Family.IPV4 else "ip6_tables_names"
    # /proc/net shows the namespace of the main thread.
    path = Path("/proc/thread-self/net") / name
    try:
        return frozenset(path.read_text(encoding="ascii").split())
    except FileNotFoundError:
        return frozenset()  # the module is not loaded
    except PermissionError as error:
        raise NotPermitted("list rules of", str(path), detail=str(error)) from error


@contextlib.contextmanager
def xtables_lock(
    wait_seconds: float = _LOCK_WAIT_SECONDS, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Hold the lock of the iptables programs.

    Raises:
        Busy: another program held it the whole time.
        KernelError: the lock file cannot be opened.
    """
    path = os.environ.get("XTABLES_LOCKFILE", "/run/xtables.lock")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        detail = f"{error.strerror}; in a container, mount the host's file, or name it in XTABLES_LOCKFILE"
        raise kernel_error("open", path, error.errno or 0, detail) from error
    try:
        deadline = clock() + wait_seconds
        while not _try_lock(descriptor):
            if clock() >= deadline:
                raise Busy("lock", path, detail=f"another program has held it for {wait_seconds:g} s")
            time.sleep(_LOCK_RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LegacyRules:
    """The rules of one family in the kernel's legacy tables; implements `api.Rules`."""

    variant = "legacy"

    def __init__(self, family: Family) -> None:
        self._family = family

    @property
    def family(self) -> Family:
        """Return the family this driver serves."""
        return self._family

    def matches(self, rules: RuleSet) -> bool:
        """See `api.Rules.matches`."""
        observed = self._read(rules)
        return not any(replacement(observed.get(t.table, EMPTY_TABLE), t, self._family) for t in rules.tables)

    def replace(self, rules: RuleSet) -> None:
        """See `api.Rules.replace`."""
        with xtables_lock():
            observed = self._read(rules)
            changes = [
                TableCommands(t.table, replacement(observed.get(t.table, EMPTY_TABLE), t, self._family))
                for t in rules.tables
            ]
            self._write(changes)

    def missing(self, rules: RuleSet) -> tuple[Extension, ...]:
        """See `api.Rules.missing`."""
        return missing_extensions(self.variant, rules)

    def list_ours(self, rules: RuleSet) -> list[str]:
        """See `api.Rules.list_ours`."""
        observed = self._read(rules)
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
        if not self._in_use(rules):
            return
        kept: list[str] = []
        with xtables_lock():
            observed = self._read(rules)
            changes = []
            for table in rules.tables:
                commands, needed = removal(observed.get(table.table, EMPTY_TABLE), table, self._family)
                changes.append(TableCommands(table.table, commands))
                kept += [f"{table.table} {chain}" for chain in needed]
            self._write(changes)
        if kept:
            raise Busy("remove chain", ", ".join(kept), detail="rules that are not ours jump to it")

    def _in_use(self, rules: RuleSet) -> bool:
        return any(t.table in tables_in_use(self._family) for t in rules.tables)

    def _read(self, rules: RuleSet) -> dict[str, ObservedTable]:
        if not self._in_use(rules):
            return {}
        # Without `-t` it prints the tables in use and opens no other.
        program = find_program(self._family, self.variant, "-save")
        return parse_save(run([program], operation="list rules with"))

    def _write(self, changes: list[TableCommands]) -> None:
        """Apply the changes, with one commit for each table; the caller holds the lock."""
        changes = [change for change in changes if change.commands]
        if not changes:
            return
        request = msgspec.json.encode(Request(self._family, tuple(changes))).decode()
        command = [sys.executable, "-P", "-W", "ignore", "-m", "ipvsagent.kernel.iptables.child"]
        run(command, request, f"write {', '.join(c.table for c in changes)} through libiptc with")
