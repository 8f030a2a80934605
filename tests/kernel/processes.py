"""Running the agent in tests: copies of one prepared process, as `agent_server` describes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.namespaces import Namespace
from lab.speed import scaled

from confinement.confine import Container
from support.waiting import wait_until

SLOW_GUEST = os.environ.get("IN_GUEST") == "qemu"
PATIENCE_SECONDS = scaled(100.0 if SLOW_GUEST else 60.0)


def wait_for(condition: Callable[[], object], what: str, timeout: float = PATIENCE_SECONDS) -> None:
    """Check a condition until it holds: `wait_until` with the patience that a guest needs.

    Args:
        what: the condition in words, for the failure.
        timeout: seconds after which the test fails.
    """
    wait_until(condition, what, limit_seconds=timeout, pause_seconds=0.02)


class Command:
    """A started command of the agent's."""

    def __init__(self, words: Sequence[str], status_reader: int, stdout: Path, stderr: Path) -> None:
        self.words = " ".join(words)
        self._status = os.fdopen(status_reader, encoding="ascii")
        self._stdout = stdout
        self._stderr = stderr
        self.pid = int(self._line("pid"))

    @property
    def stdout(self) -> str:
        """What was printed so far."""
        return self._stdout.read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What was logged so far."""
        return self._stderr.read_text(encoding="utf-8")

    def handles(self, number: signal.Signals) -> bool:
        """Whether it has a handler for a signal by now."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; that of a signal is negative."""
        code = int(self._line("exit"))
        self._status.close()
        return code

    def end(self) -> None:
        """Kill the command if it still runs."""
        if not self._status.closed:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.wait()

    def _line(self, word: str) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            assert selector.select(PATIENCE_SECONDS), f"no `{word}` in {PATIENCE_SECONDS:g} s:\n{self.stderr}"
        found, _, value = self._status.readline().partition(" ")
        assert found == word
        return value


class AgentServer:
    """The prepared process; started once a session."""

    def __init__(self) -> None:
        self._control, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("agent_server.py")), str(far_end.fileno())],
            pass_fds=(far_end.fileno(),),
        )
        far_end.close()
        self._ready = False

    def start(
        self,
        where: Namespace,
        argv: Sequence[str],
        output: Path,
        environment: Mapping[str, str] | None = None,
        container: Container | None = None,
    ) -> Command:
        """Start ``ipvsagent ARGV`` in a namespace.

        Args:
            output: folder for what it prints; later output is appended to earlier.
            container: what it is limited to; None: nothing.
        """
        if not self._ready:
            assert self._control.recv(16) == b"ready", "the agent does not import"
            self._ready = True
        stdout, stderr = output / "stdout", output / "stderr"
        reader, writer = os.pipe()
        with stdout.open("ab") as out, stderr.open("ab") as err:
            request = {
                "argv": list(argv),
                "environment": dict(environment or {}),
                "container": container and container.to_json(),
            }
            message = json.dumps(request).encode()
            socket.send_fds(self._control, [message], [where.descriptor, out.fileno(), err.fileno(), writer])
        os.close(writer)
        return Command(argv, reader, stdout, stderr)

    def close(self) -> None:
        """End the process and all that it started."""
        self._control.close()
        self._process.wait()
