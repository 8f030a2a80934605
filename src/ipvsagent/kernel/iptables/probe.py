"""Which tables, matches and targets the kernel and the installed iptables lack: asked by trying.

Legacy: listing a table loads it, and a socket option answers whether the kernel has a match or target. nft: one
transaction makes a chain with a rule and deletes it, so nobody ever sees it. Both load a missing module if the process
may. An answer that does not say that something is missing counts for nothing: a family must not be given up because a
program failed once.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from pathlib import Path

from ipvsagent.errors import Busy, KernelError, NotPermitted, NotSupported, ToolMissing
from ipvsagent.kernel.iptables.programs import find_program, run
from ipvsagent.kernel.iptables.text import Append, Command, Declare, DeleteChain, TableCommands, restore_lines
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, ExtensionKind, table_of, trial_rules
from ipvsagent.model.rules import Rule, RuleSet, Table

_FIRST_CHAINS = {Table.NAT: "POSTROUTING", Table.FILTER: "INPUT", Table.MANGLE: "PREROUTING"}
_PROBE_CHAIN = "KUBE-IPVSAGENT-PROBE"
_LOCK_WAIT_SECONDS = "5"
_MISSING = ("no such file or directory", "missing kernel module", "couldn't load")
_REVISION = struct.Struct("=29sB")  # struct xt_get_revision
# IPT_SO_GET_REVISION_MATCH and _TARGET; include/uapi/linux/netfilter_ipv4/ip_tables.h, and the same for IPv6
_REVISION_OPTIONS = {
    (Family.IPV4, ExtensionKind.MATCH): 66,
    (Family.IPV4, ExtensionKind.TARGET): 67,
    (Family.IPV6, ExtensionKind.MATCH): 68,
    (Family.IPV6, ExtensionKind.TARGET): 69,
}


def missing_extensions(variant: str, rules: RuleSet) -> tuple[Extension, ...]:
    """Return the tables, matches and targets of these rules that are missing.

    Raises:
        ToolMissing: iptables is not installed.
        NotPermitted: the process may not use iptables.
    """
    family = rules.family
    tables = {t.table: table_of(t) for t in rules.tables if not _has_table(family, variant, t.table)}
    trials = ((e, table, rule) for e, (table, rule) in trial_rules(rules).items() if table not in tables)
    if variant == "nft":
        others = [e for e, table, rule in trials if not _nft_accepts(family, table, rule)]
    else:
        others = [e for e, _table, _rule in trials if not _legacy_has(family, e)]
    return (*tables.values(), *others)


def registered_extensions(kind: ExtensionKind, family: Family, folder: Path) -> frozenset[str]:
    """Return the names of the tables, matches or targets that are loaded; nothing is tried.

    Args:
        folder: ``net`` in the process file system.
    """
    prefix = "ip" if family is Family.IPV4 else "ip6"
    kinds = {ExtensionKind.TABLE: "names", ExtensionKind.MATCH: "matches", ExtensionKind.TARGET: "targets"}
    try:
        return frozenset((folder / f"{prefix}_tables_{kinds[kind]}").read_text(encoding="ascii").split())
    except OSError:
        return frozenset()


def check_tables(family: Family, variant: str) -> None:
    """List each table, and write one with nft.

    Raises:
        KernelError: the variant cannot hold rules of this family.
    """
    for table in _FIRST_CHAINS:
        _list_table(family, variant, table)


def _has_table(family: Family, variant: str, table: Table) -> bool:
    try:
        _list_table(family, variant, table)
    except (NotPermitted, ToolMissing):
        raise
    except KernelError as error:
        return not _is_missing(error)
    return True


def _list_table(family: Family, variant: str, table: Table) -> None:
    program = find_program(family, variant)
    words = [program, "-w", _LOCK_WAIT_SECONDS, "-t", table.value, "-S", _FIRST_CHAINS[table]]
    run(words, operation=f"list table `{table}` with")
    if variant == "nft":  # if nf_tables lacks this family, the kernel lists an empty table without an error
        _try_chain(family, table, ())


def _nft_accepts(family: Family, table: Table, rule: Rule) -> bool:
    try:
        _try_chain(family, table, (Append(_PROBE_CHAIN, rule.words(family)), Declare(_PROBE_CHAIN)))
    except NotPermitted:
        raise
    except KernelError as error:
        return not _is_missing(error)
    return True


def _try_chain(family: Family, table: Table, commands: tuple[Command, ...]) -> None:
    """Create a chain, change it and delete it, all in one transaction."""
    trial = TableCommands(table, (Declare(_PROBE_CHAIN), *commands, DeleteChain(_PROBE_CHAIN)))
    text = "\n".join(restore_lines(trial)) + "\n"
    program = find_program(family, "nft", "-restore")
    run([program, "--noflush", "-w", _LOCK_WAIT_SECONDS], text, f"write table `{table}` with")


def _is_missing(error: KernelError) -> bool:
    if isinstance(error, Busy):
        return False
    words = error.detail.lower()
    return isinstance(error, NotSupported) or any(phrase in words for phrase in _MISSING)


def _legacy_has(family: Family, extension: Extension) -> bool:
    """Ask the kernel for a revision of a match or target; it loads the module first."""
    protocol, level = (
        (socket.AF_INET, socket.IPPROTO_IP) if family is Family.IPV4 else (socket.AF_INET6, socket.IPPROTO_IPV6)
    )
    request = ctypes.create_string_buffer(_REVISION.pack(extension.name.encode(), 0), _REVISION.size)
    length = ctypes.c_uint32(_REVISION.size)
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(protocol, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as control:
        option = _REVISION_OPTIONS[family, extension.kind]
        failed = libc.getsockopt(control.fileno(), level, option, request, ctypes.byref(length))
    return not failed or ctypes.get_errno() != errno.ENOENT
