"""Network namespaces without names: each exists as long as a file of it is open, so none is left behind.

A socket belongs to the namespace that its thread was in when it was made, and a program to that of the thread that
started it. So one process can hold the servers and clients of many pods and start tools on any of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """A program ended with an error.

    Args:
        words: the program and its arguments.
        status: its exit status.
        output: what it printed, both streams.
    """

    def __init__(self, words: Sequence[str], status: int, output: str) -> None:
        self.status = status
        self.output = output
        super().__init__(f"`{' '.join(words)}` ended with {status}: {output}")


class Namespace:
    """A fresh network namespace with nothing but its loopback interface, which is down.

    Needs the capability SYS_ADMIN.
    """

    def __init__(self) -> None:
        home = _open_own()
        try:
            _check(_libc.unshare(_CLONE_NEWNET), "unshare")
            self.descriptor = _open_own()
            enter(home)
        finally:
            os.close(home)

    @property
    def path(self) -> str:
        """Return a path with which programs on this machine can open the namespace."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        """Close the namespace; it ends with the last socket and process in it."""
        os.close(self.descriptor)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Move the calling thread into this namespace inside the block."""
        home = _open_own()
        try:
            enter(self.descriptor)
            try:
                yield
            finally:
                enter(home)
        finally:
            os.close(home)

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run a program in this namespace and return its stdout.

        Args:
            stdin: what it reads.
            env: its whole environment; None passes on ours.

        Raises:
            CommandFailed: it ended with another status than 0.
        """
        result = self.attempt(*words, stdin=stdin, env=env)
        if result.returncode:
            raise CommandFailed(words, result.returncode, result.stdout + result.stderr)
        return result.stdout

    def attempt(
        self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program like `run`, and return the result even if it failed."""
        with self.inside():
            return subprocess.run(words, input=stdin, capture_output=True, text=True, env=env, check=False)


def enter(descriptor: int) -> None:
    """Move the calling thread into the namespace behind a file descriptor."""
    _check(_libc.setns(descriptor, _CLONE_NEWNET), "setns")


def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(status: int, call: str) -> None:
    if status:
        raise OSError(ctypes.get_errno(), call)
