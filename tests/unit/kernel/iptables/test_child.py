"""The child process that writes legacy rules: retries and reasons, without a kernel."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest

from ipvsagent.kernel.iptables.child import Request, _Writer
from ipvsagent.kernel.iptables.text import Declare, DeleteChain, TableCommands
from ipvsagent.model.address import Family


class LibraryError(Exception):
    """Stands for the library's own error."""


class FakeTable:
    """A table whose commit fails a number of times, as it does when another program changed the table."""

    def __init__(self, failures: int, reason: str) -> None:
        self.failures = failures
        self.reason = reason
        self.committed: set[str] = set()
        self._pending: set[str] = set()

    def refresh(self) -> None:
        self._pending = set(self.committed)

    def is_chain(self, name: str) -> bool:
        return name in self._pending

    def create_chain(self, name: str) -> None:
        self._pending.add(name)

    def delete_chain(self, name: str) -> None:
        self._pending.remove(name)

    def commit(self) -> None:
        if self.failures:
            self.failures -= 1
            self.committed.add("THEIRS")
            raise LibraryError(f"can't commit: b'{self.reason}'")
        self.committed = self._pending


LIBRARY = SimpleNamespace(IPTCError=LibraryError, Rule=object, Rule6=int, Table6=int)
CHANGE = TableCommands("nat", (Declare("KUBE-ONE"), Declare("KUBE-TWO"), DeleteChain("KUBE-TWO")))


def test_a_table_that_changed_meanwhile_is_read_and_written_again() -> None:
    """What the other program did is kept."""
    table = FakeTable(2, "Resource temporarily unavailable")
    _Writer(LIBRARY, table).write(CHANGE)
    assert table.committed == {"KUBE-ONE", "THEIRS"}


def test_a_table_that_keeps_changing_is_given_up() -> None:
    """The reason reaches the parent, who answers Busy."""
    table = FakeTable(5, "Resource temporarily unavailable")
    with pytest.raises(LibraryError, match="temporarily unavailable"):
        _Writer(LIBRARY, table).write(CHANGE)
    assert table.failures == 0


def test_any_other_failure_is_not_repeated() -> None:
    """Asking again would change nothing."""
    table = FakeTable(5, "Invalid argument")
    with pytest.raises(LibraryError, match="Invalid argument"):
        _Writer(LIBRARY, table).write(CHANGE)
    assert table.failures == 4


def test_the_process_says_in_one_line_what_is_wrong() -> None:
    """A request that cannot be read ends it with status 1, and no stack trace."""
    command = [sys.executable, "-W", "ignore", "-m", "ipvsagent.kernel.iptables.child"]
    done = subprocess.run(command, input='{"family": 5}', capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "family" in done.stderr


def test_a_request_survives_its_journey_as_json() -> None:
    """Commands keep their kinds."""
    request = Request(Family.IPV6, (CHANGE,))
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
