"""The filter of system calls that a pod with seccomp profile `RuntimeDefault` gets.

The profile is the one of Debian's package `golang-github-containers-common`, which CRI-O uses. It lets more pass than
containerd's; what that one refuses in addition is refused here, too.
"""

from __future__ import annotations

import base64
import errno
import json
import platform
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyseccomp

PROFILE = Path("/usr/share/containers/seccomp.json")

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_COMPARISONS = {
    "SCMP_CMP_NE": pyseccomp.NE,
    "SCMP_CMP_EQ": pyseccomp.EQ,
    "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ,
}
# containerd wants SYS_ADMIN for these.
_FOR_ADMINISTRATORS = (
    *("mount", "mount_setattr", "move_mount", "open_tree", "fsconfig", "fsmount", "fsopen", "fspick"),
    *("umount", "umount2", "unshare", "setns", "pivot_root", "keyctl", "add_key", "request_key"),
)
_NEW_NAMESPACES = 0x7E020000  # all CLONE_NEW*


def filter_for(capabilities: Iterable[str]) -> str:
    """Instructions for the kernel, in base64.

    Args:
        capabilities: names such as ``NET_ADMIN``; some system calls are let through to those alone who hold them.
    """
    held = {f"CAP_{name}" for name in capabilities}
    profile = json.loads(PROFILE.read_text(encoding="utf-8"))
    made = pyseccomp.SyscallFilter(pyseccomp.ERRNO(profile["defaultErrnoRet"]))
    made.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)
    stricter = set() if "CAP_SYS_ADMIN" in held else {*_FOR_ADMINISTRATORS, "clone", "clone3"}
    for rule in profile["syscalls"]:
        if _applies(rule, held):
            for name in set(rule["names"]) - stricter:
                _add(made, _action(rule), name, [_argument(a) for a in rule.get("args") or ()])
    if stricter:
        for name in _FOR_ADMINISTRATORS:
            _add(made, pyseccomp.ERRNO(errno.EPERM), name, [])
        _add(made, pyseccomp.ALLOW, "clone", [pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _NEW_NAMESPACES, 0)])
        assert profile["defaultErrno"] == "ENOSYS"  # what is to come of `clone3`, so that `clone` is used
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return base64.b64encode(file.read()).decode("ascii")


def _applies(rule: dict[str, Any], held: set[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    architecture = _ARCHITECTURES[platform.machine()]
    if architecture not in includes.get("arches", [architecture]) or architecture in excludes.get("arches", []):
        return False
    return held.issuperset(includes.get("caps", [])) and held.isdisjoint(excludes.get("caps", []))


def _action(rule: dict[str, Any]) -> int:
    return int(pyseccomp.ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else pyseccomp.ERRNO(rule["errnoRet"]))


def _argument(argument: dict[str, Any]) -> pyseccomp.Arg:
    operation = _COMPARISONS[argument["op"]]
    return pyseccomp.Arg(argument["index"], operation, argument["value"], argument["valueTwo"])


def _add(made: pyseccomp.SyscallFilter, action: int, name: str, arguments: list[pyseccomp.Arg]) -> None:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number >= 0:  # others belong to other architectures, or are newer than the library
        made.add_rule(action, number, *arguments)
