"""A process that has imported the whole agent and starts copies of itself in network namespaces.

In an emulated guest it takes ten seconds to import what the agent needs, and a moment to fork. This program is
started once a test session, before there is any thread in it or in its parent.

    python agent_server.py DESCRIPTOR

It reads requests from a socket until that closes. A request is JSON with ``argv``, ``environment``, and ``container``:
null, or a `confinement.confine.Container` as JSON. It comes with four file descriptors: the network namespace, stdout,
stderr, and a pipe to which ``pid NUMBER`` and, when the command has ended, ``exit STATUS`` are written. All that it
started ends with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import kubernetes.client
import kubernetes.config  # noqa: F401 - imported here once, needed by those that follow an API server

import ipvsagent.agent
import ipvsagent.cli.cleanup
import ipvsagent.cli.plan
import ipvsagent.cli.run  # noqa: F401
from ipvsagent.cli.main import main
from ipvsagent.config.watch import ConfigurationWatcher
from ipvsagent.kernel.iptables import child, legacy, programs
from ipvsagent.source.manifests import ManifestSource

sys.path.insert(0, str(Path(__file__).parents[1]))

from confinement.confine import Container, confine

_CLONE_NEWNET, _CLONE_NEWPID = 0x40000000, 0x20000000
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


def write_rules_in_a_fork(command: Sequence[str], text: str = "", operation: str = "run") -> str:
    """Take the place of `kernel.iptables.programs.run` for the child that writes legacy rules.

    It forks instead of starting an interpreter, which takes a second in user-mode Linux, twice for each agent. The tests
    of the driver (`tests/contract/test_rules.py`) and of the installed program start the child as it is.
    """
    if child.__name__ not in command:
        return programs.run(command, text, operation)
    stdin, to_child = os.pipe()
    from_child, stderr = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(to_child)
        os.dup2(stdin, 0)
        os.dup2(stderr, 2)
        _write_rules()
    os.close(stdin)
    os.close(stderr)
    with os.fdopen(to_child, "w", encoding="utf-8") as pipe:
        pipe.write(text)
    with os.fdopen(from_child, encoding="utf-8", errors="replace") as pipe:
        messages = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise programs.failure(operation, "python", status, messages)
    return ""


def _write_rules() -> NoReturn:
    sys.stdin, sys.stderr = os.fdopen(0, encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
    status = 1
    try:
        child.main()
        status = 0
    except BaseException as error:  # noqa: BLE001 - as the child's hook for exceptions does
        sys.excepthook(type(error), error, None)
    finally:
        sys.stderr.flush()
        os._exit(status)


def serve(control: socket.socket) -> None:
    """Start a keeper for each request."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no waiting for
    child.import_iptc()
    control.sendall(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            keep(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def keep(request: dict[str, object], namespace: int, stdout: int, stderr: int, status: int) -> NoReturn:
    """Start the command, wait for it and report how it ended."""
    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if request["container"] and _libc.unshare(_CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _end_with_parent()
        become(request, namespace, stdout, stderr)
    os.write(status, f"pid {pid}\n".encode())
    _, word = os.waitpid(pid, 0)
    os.write(status, f"exit {os.waitstatus_to_exitcode(word)}\n".encode())
    os._exit(0)


def become(request: dict[str, object], namespace: int, stdout: int, stderr: int) -> NoReturn:
    """Run one command in the namespace and end with its exit code."""
    code = 70
    try:
        if _libc.setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        for descriptor in (namespace, stdout, stderr):
            os.close(descriptor)
        if isinstance(request["container"], str):
            confine(Container.from_json(request["container"]))
        argv, environment = request["argv"], request["environment"]
        assert isinstance(argv, list)
        assert isinstance(environment, dict)
        os.environ.update(environment)
        legacy.run = write_rules_in_a_fork
        _look_often()
        sys.argv = ["ipvsagent", *argv]
        code = main(argv)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _look_often() -> None:
    """Shorten the periods in which the agent looks at its files: tests change them and wait all the time."""
    ConfigurationWatcher.__init__.__kwdefaults__ = {"poll_seconds": _POLL_SECONDS}
    ManifestSource.__init__.__defaults__ = (_POLL_SECONDS,)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
