"""Listing and watching one resource, with a scripted server and a clock that only sleeping moves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from ipvsagent.errors import SourceError
from ipvsagent.model.events import Changed, Deleted, Event, Listed
from ipvsagent.model.objects import Kind
from ipvsagent.source.connection_state import ConnectionState
from ipvsagent.source.reflector import Reflector, Resource
from ipvsagent.source.transport import JSON, Answer, NoAnswer, Silence
from support.fake_node import SilentLogger

SERVICES = Resource(Kind.SERVICE, "/api/v1/services")
Line = dict[str, Any] | SourceError | float  # an event, how the watch breaks, or seconds that pass


class Reply:
    """One scripted answer."""

    def __init__(self, status: int = 200, body: object = None, lines: tuple[Line, ...] = ()) -> None:
        self.status = status
        self._body = body
        self._lines = lines
        self.clock: Clock

    retry_after_seconds: float | None = None

    def read(self) -> bytes:
        if isinstance(self._body, SourceError):
            raise self._body
        return self._body if isinstance(self._body, bytes) else json.dumps(self._body).encode()

    def message(self) -> str:
        return "scripted"

    def without_secrets(self, text: str) -> str:
        return text

    def lines(self) -> Iterator[bytes]:
        for line in self._lines:
            if isinstance(line, float):
                self.clock.sleep(line)
            elif isinstance(line, SourceError):
                raise line
            else:
                yield json.dumps(line).encode()


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Server:
    """Answers lists and watches as told; what is left of the script repeats its last answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lists: list[Reply | SourceError] = []
        self.watches: list[Reply | SourceError] = []
        self.asked: list[str] = []

    def get(
        self, path: str, query: Mapping[str, str], *, read_timeout_seconds: float, accept: str = JSON
    ) -> AbstractContextManager[Answer]:
        del path, read_timeout_seconds, accept
        watch = "watch" in query
        self.asked.append(f"watch from {query['resourceVersion']}" if watch else "list")
        script = self.watches if watch else self.lists
        reply = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(reply, SourceError):
            raise reply
        reply.clock = self._clock
        return nullcontext(reply)

    def post(self, path: str, body: bytes) -> int:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def listed(version: int, *names: str, kind: str = "ServiceList") -> Reply:
    """A list."""
    items = [item(name) for name in names]
    return Reply(body={"kind": kind, "metadata": {"resourceVersion": str(version)}, "items": items})


def item(name: str, version: int = 1) -> dict[str, Any]:
    """A Service."""
    spec = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}, "spec": spec}


def event(version: int, name: str = "a", type_: str = "MODIFIED") -> Line:
    """A watch event."""
    return {"type": type_, "object": item(name, version)}


def bookmark(version: int) -> Line:
    """A bookmark."""
    return {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": str(version)}}}


def error(code: int) -> Line:
    """An error in the stream."""
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "scripted"}}


class Running:
    """A reflector at a scripted server."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.server = Server(self.clock)
        self.log = SilentLogger()
        self.events: list[Event] = []
        self.state = ConnectionState(self.log, self.clock)
        self.reflector = Reflector(
            SERVICES,
            self.server,
            self.events.append,
            state=self.state,
            log=self.log,
            sleep=self._sleep,
            clock=self.clock,
            randomness=random.Random(1),
        )
        self.oldest = 0.0

    def _sleep(self, seconds: float) -> None:
        self.clock.sleeps.append(seconds)
        self.clock.sleep(seconds)
        self.oldest = max(self.oldest, self.age())

    def age(self) -> float:
        """Seconds since the server confirmed anything."""
        return self.clock.now - self.reflector.confirmed_at

    def steps(self, count: int) -> None:
        """Take steps."""
        for _ in range(count):
            self.reflector.step()

    def until(self, seconds: float) -> None:
        """Take steps until so much time has passed."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.reflector.step()

    def lines(self) -> list[str]:
        """The log without debug lines."""
        return [line for line in self.log.lines if not line.startswith("debug")]


@pytest.fixture
def running() -> Running:
    """A reflector whose server has one Service."""
    made = Running()
    made.server.lists = [listed(5, "a")]
    made.server.watches = [Reply(lines=(bookmark(6), 400.0))]
    return made


NEVER = [
    Reply(500),
    Reply(504),
    Reply(403),
    Reply(lines=(error(500),)),
    Reply(lines=(error(504),)),
    Reply(lines=(0.5, SourceError("cut"))),
    Reply(lines=()),
    Reply(lines=(bookmark(5), error(500))),
    Reply(lines=({"type": "MODIFIED", "object": {}},)),
    Reply(lines=({"type": "NEW", "object": item("a", 9)},)),
    Reply(lines=({"type": "MODIFIED", "object": {**item("a", 9), "kind": "Pod"}},)),
]


@pytest.mark.parametrize("watch", NEVER, ids=range(len(NEVER)))
def test_watches_that_always_fail_lead_to_lists_with_growing_delays(running: Running, watch: Reply) -> None:
    """What is served is never older than the longest delay, and the log has one line."""
    running.server.watches = [watch]
    running.until(1200.0)
    lists = running.server.asked.count("list")
    assert 20 <= lists <= 40
    assert len(running.server.asked) <= 2 * lists + 2
    assert running.oldest <= 61.0
    assert max(running.clock.sleeps) > 30.0
    assert [line.partition(" resource=")[0] for line in running.lines()] == [
        "warning: connection to the API server broke"
    ]
    assert len(running.state.faults()) == 1


def test_an_object_that_appears_while_watches_fail_is_found(running: Running) -> None:
    """By the third request after the first list."""
    running.server.lists = [listed(5, "a"), listed(7, "a", "b")]
    running.server.watches = [Reply(lines=(error(500),))]
    running.steps(4)
    assert running.server.asked == ["list", "watch from 5", "watch from 5", "list"]
    (_, second) = running.events
    assert isinstance(second, Listed)
    assert [o.key.name for o in second.objects] == ["a", "b"]


def test_a_watch_that_brought_something_is_resumed_without_a_list(running: Running) -> None:
    """However often it breaks: each brings the version forward."""
    running.server.watches = [Reply(lines=(event(v), SourceError("cut"))) for v in range(6, 16)]
    running.steps(11)
    assert running.server.asked == ["list", *(f"watch from {v}" for v in range(5, 15))]
    assert max(running.clock.sleeps) < 1.7
    assert sum(isinstance(e, Changed) for e in running.events) == 10


UNREACHABLE: list[Callable[[], Reply | SourceError]] = [lambda: NoAnswer("refused"), lambda: Reply(429)]


@pytest.mark.parametrize("answer", UNREACHABLE)
def test_a_server_that_is_away_or_busy_leaves_the_version_as_it_is(
    running: Running, answer: Callable[[], Reply | SourceError]
) -> None:
    """Thousands of nodes must not list at once when it is back."""
    running.server.watches = [answer(), answer(), answer(), Reply(lines=(event(6),))]
    running.steps(5)
    assert running.server.asked == ["list", *["watch from 5"] * 4]


def test_two_silent_watches_lead_to_a_list(running: Running) -> None:
    """No event and no bookmark: an open connection proves nothing."""
    running.server.watches = [Reply(lines=(120.0, Silence("nothing")))]
    running.steps(4)
    assert running.server.asked == ["list", "watch from 5", "watch from 5", "list"]
    assert running.age() == 0.0
    assert running.lines() == []


def test_watches_that_end_in_order_without_data_lead_to_a_list(running: Running) -> None:
    """As through a proxy that ends idle connections."""
    running.server.watches = [Reply(lines=(100.0,))]
    running.steps(5)
    assert running.server.asked == ["list", *["watch from 5"] * 3, "list"]


GARBAGE = [
    Reply(body=b"<html>hello</html>"),
    Reply(body=b"{}"),
    Reply(body=b"[" * 100_000),
    Reply(body={"metadata": {"resourceVersion": "9"}}),
    listed(9, "a", kind="PodList"),
    Reply(body={"kind": "Status", "status": "Success", "metadata": {}}),
    Reply(body=Silence("hangs")),
    Reply(500),
    Reply(410),
]


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
def test_an_answer_that_is_not_a_list_confirms_and_removes_nothing(running: Running, answer: Reply) -> None:
    """Its age grows, and the log says once what is wrong."""
    running.server.lists = [listed(5, "a"), answer]
    running.server.watches = [Reply(410)]
    running.until(900.0)
    assert len(running.events) == 1
    assert running.age() >= 890.0
    assert len(running.lines()) == 1


def test_an_old_version_is_ordinary(running: Running) -> None:
    """410 Gone, on opening or in the stream: a list follows, and the log has no warning."""
    running.server.watches = [Reply(410), Reply(lines=(error(410),)), Reply(lines=(bookmark(8),))]
    running.steps(6)
    assert running.server.asked == ["list", "watch from 5", "list", "watch from 5", "list", "watch from 5"]
    assert running.lines() == []
    assert running.state.faults() == ()


def test_versions_that_are_always_too_old_are_a_fault(running: Running) -> None:
    """A server that forgets what it has just listed."""
    running.server.watches = [Reply(410)]
    running.until(300.0)
    assert len(running.lines()) == 1
    assert "the API server answered 410" in running.lines()[0]


def test_a_break_has_one_line_and_its_end_has_one_with_the_gap(running: Running) -> None:
    """The gap ends where the request began that brought data, and 404 s are no part of it."""
    running.server.watches = [
        Reply(lines=(bookmark(6), SourceError("the connection broke"))),
        NoAnswer("connection refused"),
        Reply(lines=(404.0, bookmark(7))),
        Reply(lines=(bookmark(8), 10.0)),
    ]
    running.steps(6)
    gap = sum(running.clock.sleeps)
    assert 2.4 <= gap <= 4.8
    assert running.lines() == [
        "warning: connection to the API server broke resource=/api/v1/services reason=the connection broke",
        f"info: connection to the API server is back resource=/api/v1/services gap_seconds={gap:.1f}",
    ]
    assert running.state.faults() == ()


def test_an_empty_list_is_believed_when_it_comes_twice_and_is_reported(running: Running) -> None:
    """One empty list among right ones removes nothing."""
    running.server.watches = [Reply(410)]
    running.server.lists = [listed(5, "a"), listed(6), listed(7, "a"), listed(8), listed(9)]
    running.steps(3)
    assert [len(e.objects) for e in running.events if isinstance(e, Listed)] == [1, 1]
    running.steps(2)
    assert [len(e.objects) for e in running.events if isinstance(e, Listed)] == [1, 1, 0]
    assert running.lines() == ["warning: the API server lists no objects any more resource=/api/v1/services known=1"]


def test_deletions_come_over_the_watch(running: Running) -> None:
    """As one value each."""
    running.server.watches = [Reply(lines=(event(6, type_="DELETED"),))]
    running.steps(2)
    assert isinstance(running.events[1], Deleted)
