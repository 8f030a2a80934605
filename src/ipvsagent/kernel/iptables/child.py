"""The child process that writes legacy iptables rules with python-iptables.

``python -m ipvsagent.kernel.iptables.child`` reads one request as JSON from its standard input, applies it with one
commit for each table, and exits with status 0, or with 1 and the reason on standard error. Its parent holds the xtables
lock. The module imports little else of the package, so that the process starts quickly.

A plain import of python-iptables starts ldconfig four times, and a compiler. `import_iptc` prevents this: it
passes the paths of its shared libraries and their extensions to the library.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from msgspec import Struct

from ipvsagent.kernel.iptables.text import (
    Append,
    Command,
    Declare,
    Delete,
    DeleteChain,
    Insert,
    TableCommands,
    Words,
)
from ipvsagent.model.address import Family

# Sonames by the names that python-iptables asks for; the first that loads is taken.
_LIBRARIES = {
    "c": ("libc.so.6", "libc.so"),
    "ip4tc": ("libip4tc.so.2", "libip4tc.so.0"),
    "ip6tc": ("libip6tc.so.2", "libip6tc.so.0"),
    "xtables": ("libxtables.so.12", "libxtables.so.11", "libxtables.so.10"),
}
_COMMIT_ATTEMPTS = 5


class Request(Struct, frozen=True):
    """The changes for the child to apply."""

    family: Family
    tables: tuple[TableCommands, ...]


def main() -> None:
    """Apply the request on standard input.

    Any exception (the library raises its own errors, ValueError, AttributeError and plain Exception) ends the process
    with status 1, and `_report` prints the reason.
    """
    sys.excepthook = _report
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    iptc = import_iptc()
    table_type = iptc.Table if request.family is Family.IPV4 else iptc.Table6
    for change in request.tables:
        _Writer(iptc, table_type(change.table, autocommit=False)).write(change)


def _report(_type: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print an error in one line, without the `b'...'` that the library leaves in its messages."""
    text = str(error).replace("b'", "").replace("'", "").replace("\n", " ")
    sys.stderr.write(f"{text or type(error).__name__}\n")


def import_iptc() -> Any:  # Any: the library has no types
    """Import python-iptables without the programs it would start."""
    util: Any = ctypes.util
    find_library, util.find_library = util.find_library, _find_library
    if "XTABLES_LIBDIR" not in os.environ and (directory := _extension_directory()):
        os.environ["XTABLES_LIBDIR"] = directory
    # The library asks distutils for a path, which would load setuptools; without distutils it asks sysconfig.
    sys.modules["distutils"] = None  # type: ignore[assignment]  # None: the import fails at once
    try:
        import iptc
    finally:
        del sys.modules["distutils"]
        util.find_library = find_library
    return iptc


def _find_library(name: str) -> str | None:
    return next((n for n in _LIBRARIES.get(name, ()) if _loads(n)), None)


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _extension_directory() -> str | None:
    """Return the folder of iptables' extensions: below the folder of the loaded libxtables, or below a usual one."""
    _find_library("xtables")
    places = [*_loaded_folders("libxtables."), "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"]
    folders = (Path(place) / "xtables" for place in places)
    return next((str(f) for f in folders if any(f.glob("libxt_*.so"))), None)


def _loaded_folders(prefix: str) -> Iterator[str]:
    """Yield the folders of this process's shared libraries whose names have a prefix."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        folder, _, name = line.rpartition("/")
        if name.startswith(prefix):
            yield "/" + folder.partition("/")[2]


class _Writer:
    """Applies the changes of one table.

    Args:
        iptc: the library.
        table: its table object, without autocommit.
    """

    def __init__(self, iptc: Any, table: Any) -> None:
        self._iptc = iptc
        self._table = table
        base = iptc.Rule6 if isinstance(table, iptc.Table6) else iptc.Rule
        # To distinguish chains from targets, the library opens all tables of the family, which loads their modules.
        # This table is enough.
        self._rule_type = type("TableRule", (base,), {"tables": (table,)})

    def write(self, change: TableCommands) -> None:
        """Apply the changes in one commit; retry if another program changed the table meanwhile."""
        for attempt in range(_COMMIT_ATTEMPTS):
            self._table.refresh()
            for command in change.commands:
                self._carry_out(command)
            try:
                self._table.commit()
            except self._iptc.IPTCError as error:
                if os.strerror(errno.EAGAIN) not in str(error) or attempt == _COMMIT_ATTEMPTS - 1:
                    raise
            else:
                return

    def _carry_out(self, command: Command) -> None:
        table = self._table
        match command:
            case Declare(chain):
                if table.is_chain(chain):
                    table.flush_entries(chain)
                else:
                    table.create_chain(chain)
            case Append(chain, words):
                table.append_entry(chain, self._rule(words).rule)
            case Insert(chain, position, words):
                table.insert_entry(chain, self._rule(words).rule, position - 1)
            case Delete(chain, words):
                rule = self._rule(words)
                table.delete_entry(chain, rule.rule, rule.mask)
            case DeleteChain(chain):
                table.delete_chain(chain)

    def _rule(self, words: Words) -> Any:
        """Build a rule from the words of iptables-save."""
        rule: Any = self._rule_type()
        module: Any = None
        rest = list(words)
        while rest:
            sign = rest.pop(0) if rest[0] == "!" else ""
            option = rest.pop(0)
            match option:
                case "-s":
                    rule.src = sign + rest.pop(0)
                case "-i":
                    rule.in_interface = sign + rest.pop(0)
                case "-p":
                    rule.protocol = sign + rest.pop(0)
                case "-m":
                    module = rule.create_match(rest.pop(0))
                case "-j":
                    module = rule.create_target(rest.pop(0))
                case _:
                    values = _take_values(option, rest)
                    module.set_parameter(option.removeprefix("--"), [sign, *values] if sign else values)
        # The library's final check writes an extension out and parses it again, which leaves a backslash before
        # every single quote of a comment. A comment needs no check; MASQUERADE is incomplete without it.
        for module in (rule.target, *(m for m in rule.matches if m.name != "comment")):
            module.final_check()
        return rule


def _take_values(option: str, rest: list[str]) -> list[str]:
    """Remove an option's values from the words: one word for a comment, else all words up to the next option."""
    if option == "--comment":
        return [rest.pop(0)]
    values: list[str] = []
    while rest and rest[0] != "!" and not rest[0].startswith("-"):
        values.append(rest.pop(0))
    return values


if __name__ == "__main__":
    main()
