"""Load kernel modules, and list the available IPVS schedulers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ipvsagent.errors import KernelError, NotFound, NotPermitted, ToolMissing, kernel_error

_PROGRAM_FOLDERS = "/usr/sbin:/sbin:/usr/bin:/bin"
_SCHEDULER_MODULE = re.compile(r"(?:^|/)ip_vs_([a-z]+)\.ko")
_LOADED_SCHEDULER = re.compile(r"^ip_vs_([a-z]+) ", re.MULTILINE)
_SCHEDULER_FUNCTION = re.compile(r" ip_vs_([a-z]+)_schedule$")  # built in: no module name in brackets follows
_UNKNOWN_MODULE = re.compile(r"[Mm]odule \S+ not found")  # messages of kmod and busybox
_NO_SCHEDULERS = {"ftp"}  # a protocol helper; the persistence engine ip_vs_pe_sip does not fit the pattern


class ModuleDriver:
    """Kernel modules of this machine.

    Args:
        proc: where the process file system is mounted.
        sys: where the kernel's objects are mounted.
        modules: folder of this kernel's modules; None: the running kernel's.
        program_folders: where `modprobe` is searched after PATH, separated by colons.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        modules: Path | None = None,
        *,
        program_folders: str = _PROGRAM_FOLDERS,
    ) -> None:
        self._proc = proc
        self._sys = sys
        self._modules = modules or Path("/lib/modules") / os.uname().release
        self._program_folders = program_folders
        self._built_in: frozenset[str] | None = None

    def load(self, name: str) -> None:
        """As in `api.Modules`."""
        if self._is_present(name):
            return
        program = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:{self._program_folders}")
        if program is None:
            raise ToolMissing("load module", name, detail="`modprobe` is not installed (package `kmod`)")
        words = [program, "--", name]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        except OSError as error:
            raise kernel_error("load module", name, error.errno or 0, f"`{program}`: {error.strerror}") from error
        if done.returncode:
            raise _load_error(name, done.stderr)

    def is_loaded(self, name: str) -> bool:
        """Return whether a module is loaded or built in."""
        return self._is_present(name)

    def is_loadable(self, name: str) -> bool:
        """Return whether the module can be loaded into the running kernel."""
        pattern = re.escape(name).replace("_", "[_-]")
        return bool(re.search(rf"(?:^|/){pattern}\.ko[^/]*:", _text(self._modules / "modules.dep"), re.MULTILINE))

    def has_listing(self) -> bool:
        """Return whether the running kernel's list of modules is readable: a container may lack the host's folder."""
        return (self._modules / "modules.dep").exists() or (self._modules / "modules.builtin").exists()

    def available_schedulers(self) -> list[str]:
        """As in `api.Modules`."""
        names = set(_LOADED_SCHEDULER.findall(_text(self._proc / "modules")))
        for listing in ("modules.dep", "modules.builtin"):
            for line in _text(self._modules / listing).splitlines():
                names.update(_SCHEDULER_MODULE.findall(line.partition(":")[0]))
        return sorted((names | self._built_in_schedulers()) - _NO_SCHEDULERS)

    def _is_present(self, name: str) -> bool:
        if (self._sys / "module" / name).is_dir():
            return True
        if re.search(rf"^{re.escape(name)} ", _text(self._proc / "modules"), re.MULTILINE):
            return True
        builtin = re.escape(name).replace("_", "[_-]")
        if re.search(rf"/{builtin}\.ko", _text(self._modules / "modules.builtin")):
            return True
        return name.startswith("ip_vs_") and name.removeprefix("ip_vs_") in self._built_in_schedulers()

    def _built_in_schedulers(self) -> frozenset[str]:
        """Return built-in schedulers, from the kernel's symbols if there is no list of built-in modules (DEV-66).

        A built-in scheduler has no folder in /sys/module. A test with a virtual server would also show it, but can make
        the kernel load a module under a lock (DEV-15).
        """
        if (self._modules / "modules.builtin").exists():
            return frozenset()
        if self._built_in is None:
            self._built_in = frozenset(_scheduler_functions(self._proc / "kallsyms"))
        return self._built_in


def _load_error(name: str, words: str) -> KernelError:
    line = next(iter(words.strip().splitlines()), "")
    if _UNKNOWN_MODULE.search(words):
        return NotFound("load module", name, detail=line)
    if "Operation not permitted" in words or "Permission denied" in words:
        return NotPermitted("load module", name, detail=line)
    return KernelError("load module", name, detail=line)


def _scheduler_functions(symbols: Path) -> list[str]:
    try:
        with symbols.open(encoding="utf-8", errors="replace") as lines:
            return [match[1] for line in lines if (match := _SCHEDULER_FUNCTION.search(line))]
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
