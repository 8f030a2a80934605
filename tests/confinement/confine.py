"""Put this process into a container without a container engine: what a runtime does between fork and exec.

    python confine.py CONTAINER.json -- PROGRAM [ARGUMENT...]

or `confine`, in a process that has forked. A namespace of mounts with a root of its own, made of the host's folders;
the user, the capabilities and the limits of the container. `confinement.container` makes the description from what the
chart renders. Nothing but the standard library is used, so that a plain process starts quickly.
"""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# include/uapi/linux: mount.h, sched.h, prctl.h, seccomp.h, capability.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_CLONE_NEWNS = 0x20000
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CAPABILITY_VERSION_3 = 0x20080522

# The new root is built here, over whatever the host has in this folder.
_ROOT = "/mnt"
# What a runtime creates, or the image has empty.
_EMPTY = ("dev", "media", "mnt", "proc", "run", "sys", "tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# Of /proc, as container runtimes have it.
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED = ("kcore", "keys", "latency_stats", "timer_list", "sched_debug")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of the container.

    Args:
        source: a path of the host; empty for an empty folder in memory.
        target: the path in the container.
        mebibytes: size of the empty folder.
    """

    source: str
    target: str
    read_only: bool
    mebibytes: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """What a process is limited to.

    Args:
        user: its number, and that of the group.
        capabilities: numbers of all that it has and can ever have.
        no_new_privileges: no program gives more rights than the process has.
        read_only: nothing of the root can be written but the mounts that may.
        out_of_memory_score: as the kubelet sets it.
        system_calls: filter of system calls, the kernel's own instructions in base64.
        visible: paths of the host that are shown, read-only, where a mount would hide them.
    """

    user: int
    group: int
    capabilities: tuple[int, ...]
    no_new_privileges: bool
    read_only: bool
    out_of_memory_score: int
    system_calls: str
    mounts: tuple[Mount, ...]
    environment: dict[str, str]
    visible: tuple[str, ...]

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Container:
        """What `to_json` wrote."""
        fields = json.loads(text)
        fields["mounts"] = tuple(Mount(**mount) for mount in fields["mounts"])
        for name in ("capabilities", "visible"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def confine(container: Container) -> None:
    """Enter the container, for good; to be called by a process with one thread, as root.

    Raises:
        OSError: the kernel refused a step.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount(None, "/", _MS_REC | _MS_PRIVATE)
    writable = set(_build_root(container))
    if container.read_only:
        for path in _mounts_below(_ROOT):
            if path not in writable and os.path.exists(path):  # one mount may hide another
                _mount(None, path, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    os.chroot(_ROOT)
    os.chdir("/")
    Path("/proc/self/oom_score_adj").write_text(str(container.out_of_memory_score), encoding="ascii")
    os.environ.update(container.environment)
    _limit(container)


def _build_root(container: Container) -> Iterator[str]:
    """Mount everything, still writable; yields where it stays so."""
    shown = [(path, os.open(path, os.O_PATH)) for path in container.visible]
    settings = {m.source: os.open(m.source, os.O_PATH) for m in container.mounts if m.source}
    _mount("tmpfs", _ROOT, options="mode=755")
    _show_host(container)
    yield from _make_special()
    # Outer folders first.
    for mount in sorted(container.mounts, key=lambda m: _inside(m.target).count("/")):
        target = _inside(mount.target)
        if mount.source:
            _bind(settings[mount.source], target)
        else:
            os.makedirs(target, exist_ok=True)
            _mount("tmpfs", target, _MS_NOSUID | _MS_NODEV, f"size={mount.mebibytes}m,mode=1777")
        if not mount.read_only:
            yield target
    for path, descriptor in shown:
        if not os.path.exists(_ROOT + path):
            _bind(descriptor, _ROOT + path)
    for descriptor in [*settings.values(), *(d for _, d in shown)]:
        os.close(descriptor)


def _show_host(container: Container) -> None:
    """The host's folders stand for those of the image."""
    for entry in os.scandir("/"):
        path = f"{_ROOT}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), path)
        elif entry.is_dir():
            os.mkdir(path)
            if entry.name in _EMPTY:
                continue
            missing = [m.target for m in container.mounts if _lacks(entry.path, m.target)]
            if missing:
                _mount_with_folders(entry.path, path, missing)
            else:
                _mount(entry.path, path, _MS_BIND | _MS_REC)


def _lacks(folder: str, target: str) -> bool:
    """Whether a target lies in this folder of the host and does not exist there."""
    real = os.path.realpath(target)
    return real.startswith(f"{folder}/") and not os.path.exists(real)


def _mount_with_folders(source: str, target: str, missing: Sequence[str]) -> None:
    """Show a folder of the host with empty folders added to it, which the image's own would not need."""
    skeleton = f"{_ROOT}/.folders{source}"
    for path in (skeleton, *(f"{_ROOT}/.folders{os.path.realpath(m)}" for m in missing)):
        os.makedirs(path, exist_ok=True)
    _mount("overlay", target, options=f"lowerdir={skeleton}:{source}")


def _make_special() -> Iterator[str]:
    """Make /proc, /sys and /dev; yields what a runtime leaves writable."""
    proc, dev = f"{_ROOT}/proc", f"{_ROOT}/dev"
    _mount("proc", proc, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for name in _READ_ONLY:
        if os.path.exists(f"{proc}/{name}"):
            _mount(f"{proc}/{name}", f"{proc}/{name}", _MS_BIND | _MS_REC)
    for name in _MASKED:
        if os.path.exists(f"{proc}/{name}"):
            _mount("/dev/null", f"{proc}/{name}", _MS_BIND)
    _mount("sysfs", f"{_ROOT}/sys", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount("tmpfs", dev, _MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        Path(dev, name).touch()
        _mount(f"/dev/{name}", f"{dev}/{name}", _MS_BIND)
        yield f"{dev}/{name}"
    for name, path in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{path}", f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    _mount("tmpfs", f"{dev}/shm", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=1777,size=64m")
    yield from (proc, dev, f"{dev}/shm")


def _bind(descriptor: int, target: str) -> None:
    """Mount an open path of the host, whatever hides it by now."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    _mount(f"/proc/self/fd/{descriptor}", target, _MS_BIND | _MS_REC)


def _inside(target: str) -> str:
    """A path of the container, seen from outside: no link leads out of the new root."""
    return _ROOT + os.path.realpath(target)


def _mounts_below(root: str) -> list[str]:
    """Where something is mounted, `root` itself included."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4].encode("ascii").decode("unicode_escape") for line in lines]
    return [p for p in points if p == root or p.startswith(f"{root}/")]


def _limit(container: Container) -> None:
    """User, capabilities and system calls: what cannot be undone."""
    os.setgroups([])
    os.setresgid(container.group, container.group, container.group)
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl ambient")
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for number in range(last + 1):
        if number not in container.capabilities:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "prctl bounding set")
    os.setresuid(container.user, container.user, container.user)
    held = sum(1 << number for number in container.capabilities)
    low, high = held & 0xFFFFFFFF, held >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice
    _check(_libc.capset(header, sets), "capset")
    if container.no_new_privileges:
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no new privileges")
    instructions = base64.b64decode(container.system_calls)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    program = Program(len(instructions) // 8, instructions)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)), "prctl seccomp")


def _mount(source: str | None, target: str, flags: int = 0, options: str = "") -> None:
    kind = None if source is None or flags & _MS_BIND else source.encode()
    words = (source.encode() if source else None, target.encode(), kind, ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*words), f"mount {source} on {target}")


def _check(status: int, step: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f"{step}: {os.strerror(number)}")


def main(words: list[str]) -> None:
    """Enter the container and become the program."""
    description, separator, *program = words
    assert separator == "--"
    confine(Container.from_json(Path(description).read_text(encoding="utf-8")))
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
