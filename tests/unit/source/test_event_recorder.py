"""Events about problems."""

from __future__ import annotations

import datetime as dt
import threading

import msgspec
from lab.speed import scaled

from ipvsagent.errors import SourceError
from ipvsagent.model.objects import NodeNotice, Problem
from ipvsagent.source.event_recorder import EventRecorder, describe
from support.fake_node import SilentLogger

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
CONFLICT = Problem("Service", "shop/web", "", "belongs to another", "AddressConflict")


def test_every_node_makes_the_same_event() -> None:
    """DEV-14: one event a problem, however many nodes see it; another problem is another event."""
    here, there = describe(CONFLICT, "node-1", NOON), describe(CONFLICT, "node-2", NOON)
    other = describe(Problem("Service", "shop/web", "spec.ports[0]", "is wrong"), "node-1", NOON)
    assert here["metadata"] == there["metadata"] != other["metadata"]
    assert here["involvedObject"] == {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"}
    assert (here["type"], here["reason"]) == ("Warning", "AddressConflict")
    assert here["firstTimestamp"] == "2026-01-01T12:00:00Z"


def test_an_event_about_a_node_goes_to_the_default_namespace_and_long_words_are_cut() -> None:
    """The API refuses events without a namespace, and messages of more than 1,024 bytes."""
    event = describe(Problem("Node", "node-1", "", "x" * 5000), "node-1", NOON)
    assert event["metadata"]["namespace"] == "default"
    assert len(str(event["message"])) == 1000


def test_a_notice_is_an_event_of_this_node_each_time() -> None:
    """HC-30: what kubectl shows with the Node, Normal where nothing is wrong."""
    notice = NodeNotice("Starting", "ipvsagent 1.2.3 starts", warning=False)
    event, later = describe(notice, "node-1", NOON), describe(notice, "node-1", NOON + dt.timedelta(microseconds=1))
    other = describe(notice, "node-2", NOON)
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1"}
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "Starting", "StartKubeProxy")
    assert event["metadata"]["namespace"] == "default"
    assert len({e["metadata"]["name"] for e in (event, later, other)}) == 3


def test_a_warning_about_the_node_is_one() -> None:
    """HC-30: as kube-proxy's, but for its deprecation notice."""
    assert describe(NodeNotice("SchedulerFallback", "no `mh`"), "node-1", NOON)["type"] == "Warning"


class RefusingTransport:
    """Fails a number of times, then keeps what it is sent."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.sent: list[bytes] = []
        self.arrived = threading.Event()

    def post(self, path: str, body: bytes) -> int:
        assert path == "/api/v1/namespaces/shop/events"
        if self._failures:
            self._failures -= 1
            raise SourceError("the API server is away")
        self.sent.append(body)
        self.arrived.set()
        return 201


def test_problems_without_an_object_and_failures_cost_nothing() -> None:
    """A file's problem is no event; a failed event does not keep the next one back."""
    transport = RefusingTransport(1)
    recorder = EventRecorder(transport, "node-1", SilentLogger(), now=lambda: NOON, pause_seconds=0)
    for problem in (Problem("file", "a.yaml", "", "no YAML"), CONFLICT, Problem("Service", "shop/b", "", "second")):
        recorder.record(problem)
    recorder.start()
    assert transport.arrived.wait(scaled(10))
    recorder.stop()
    assert [msgspec.json.decode(b)["involvedObject"]["name"] for b in transport.sent] == ["b"]


def test_what_waits_is_created_before_an_agent_that_cannot_go_on_ends() -> None:
    """HC-06: otherwise nobody would learn the reason."""
    transport = RefusingTransport(0)
    recorder = EventRecorder(transport, "node-1", SilentLogger(), now=lambda: NOON, pause_seconds=0)
    recorder.start()
    recorder.record(CONFLICT)
    recorder.record(Problem("Service", "shop/b", "", "second"))
    recorder.finish(10)
    assert len(transport.sent) == 2
    recorder.stop()


def test_more_than_can_wait_is_dropped() -> None:
    """The queue is bounded, and telling never waits."""
    log = SilentLogger()
    recorder = EventRecorder(RefusingTransport(0), "node-1", log, now=lambda: NOON)
    for number in range(300):
        recorder.record(Problem("Service", f"shop/s{number}", "", "is wrong"))
    assert sum("event dropped" in line for line in log.lines) == 300 - 256
