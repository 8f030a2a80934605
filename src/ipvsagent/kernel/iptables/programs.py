"""Find and run the iptables programs, and interpret their failures."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from ipvsagent.errors import Busy, KernelError, NotPermitted, NotSupported, ToolFailed, ToolMissing
from ipvsagent.model.address import Family

_TIMEOUT_SECONDS = 60.0
_PROGRAM_PREFIX = re.compile(r"^ip6?tables\S* v[\d.]+(?: \([a-z_]+\))?: ?")

_NO_NF_TABLES = ("failed to initialize nft", "rule set generation id: invalid argument")

# The messages of the programs and libiptc for each error; the first match counts.
_MEANINGS: tuple[tuple[type[KernelError], tuple[str, ...]], ...] = (
    (NotPermitted, ("permission denied", "operation not permitted", "must be root", "can't open socket to ipset")),
    (Busy, ("resource temporarily unavailable", "holding the xtables lock", "device or resource busy")),
    (
        NotSupported,
        (
            *_NO_NF_TABLES,
            "not supported",
            "protocol not available",
            "need to insmod",
            "can't initialize",
        ),
    ),
)


def base_name(family: Family) -> str:
    """``iptables`` or ``ip6tables``."""
    return "iptables" if family is Family.IPV4 else "ip6tables"


def find_program(family: Family, variant: str, suffix: str = "") -> str:
    """Return the path of a program of a variant, such as ``iptables-nft-save``.

    A host with only one variant may have it under the plain name (``iptables-save``).

    Args:
        suffix: empty, ``-save`` or ``-restore``.

    Raises:
        ToolMissing: it is not installed; the error names the program and its package.
    """
    name = f"{base_name(family)}-{variant}{suffix}"
    path = shutil.which(name)
    if path is None:
        plain = shutil.which(base_name(family) + suffix)
        if plain is not None and plain_variant(family) == variant:
            return plain
        raise ToolMissing("start", name, detail="it is not installed; the Debian package is `iptables`")
    return path


def plain_variant(family: Family) -> str | None:
    """Return the variant behind the plain name ``iptables``; None if there is no such program."""
    path = shutil.which(base_name(family))
    if path is None:
        return None
    return "nft" if "nf_tables" in _version_text(path) else "legacy"


def version(variant: str) -> tuple[int, ...]:
    """Return the version of a variant's iptables, such as (1, 8, 9); empty if it is unknown.

    Raises:
        ToolMissing: the variant is not installed for IPv4.
    """
    match = re.search(r"v(\d+(?:\.\d+)*)", _version_text(find_program(Family.IPV4, variant)))
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def run(command: Sequence[str], text: str = "", operation: str = "run") -> str:
    """Run a program in this thread's network namespace and return what it printed.

    Args:
        text: its standard input.
        operation: the purpose, for errors.

    Raises:
        NotPermitted, NotSupported, Busy: according to its message.
        ToolMissing: there is no such program.
        ToolFailed: it failed for another reason, or did not end within a minute.
    """
    name = command[0].rpartition("/")[2]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise ToolMissing(operation, name, detail="it is not installed") from error
    except PermissionError as error:
        raise NotPermitted(operation, name, detail=str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(operation, name, detail=f"did not end in {_TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode:
        raise failure(operation, name, done.returncode, done.stderr)
    return done.stdout


def failure(operation: str, name: str, status: int, stderr: str) -> KernelError:
    """Return the error that a program's exit status and messages stand for."""
    line = _first_line(stderr) or f"ended with status {status}"
    everything = stderr.lower()
    for error, phrases in _MEANINGS:
        if any(phrase in everything for phrase in phrases):
            if error is NotSupported and any(phrase in everything for phrase in _NO_NF_TABLES):
                line = "the kernel has no nf_tables (module `nf_tables`, `CONFIG_NF_TABLES`)"
            return error(operation, name, detail=line)
    return ToolFailed(operation, name, detail=line)


def _first_line(stderr: str) -> str:
    """Return the first line that is not empty, without the program's name and version."""
    lines = (_PROGRAM_PREFIX.sub("", line.strip()) for line in stderr.splitlines())
    return next(filter(None, lines), "")


def _version_text(path: str) -> str:
    try:
        return run([path, "--version"], operation="read the version of")
    except KernelError:
        return ""  # a program that cannot print its version will fail with a reason when it is used
