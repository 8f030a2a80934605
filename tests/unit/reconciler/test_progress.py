"""What the owner thread says of its own progress, of the node, and of health check ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.errors import KernelError, ToolFailed
from ipvsagent.kernel.api import Drivers, Rules
from ipvsagent.model.address import Family, Network
from ipvsagent.model.events import Changed, Deleted, Listed, Stop
from ipvsagent.model.objects import Kind, Node, ObjectKey
from ipvsagent.model.rules import RuleSet
from ipvsagent.model.state import HealthCheck
from ipvsagent.model.status import Progress, Status
from ipvsagent.reconciler.mailbox import ProgressMarks
from ipvsagent.reconciler.tasks import Task
from ipvsagent.reconciler.writing.failures import Failures
from support.builders import addresses, endpoint, endpoint_slice, key, port, service
from support.fake_node import Clock, FakeNode, SilentLogger
from support.waiting import wait_until

NODE_KEY = ObjectKey("", "node-1")
OWN = Node("node-1", addresses("192.168.60.1"), pod_networks=(Network.parse("10.244.0.0/24"),))


def test_marks_keep_the_oldest_work_until_a_pass_gets_through() -> None:
    """HC-02, DEV-32: the first unserved request sets the clock; only a pass that gets through clears it."""
    clock = Clock()
    marks = ProgressMarks(clock)
    assert marks.read() == Progress(1000.0)
    clock.now = 1001.0
    marks.queued()
    clock.now = 1002.0
    marks.queued()
    assert marks.read() == Progress(1000.0, 1001.0)
    marks.begin()
    clock.now = 1003.0
    assert marks.read() == Progress(1000.0, 1001.0)
    marks.end(through=False)
    marks.queued()
    marks.begin()
    assert marks.read() == Progress(1000.0, 1001.0)
    clock.now = 1004.0
    marks.end(through=True)
    assert marks.read() == Progress(1004.0)


def test_a_pass_that_nobody_asked_for_counts_while_it_runs_and_when_it_fails() -> None:
    """DEV-32: kube-proxy looks healthy while its timer syncs fail or hang."""
    clock = Clock()
    marks = ProgressMarks(clock)
    marks.begin()
    clock.now = 1100.0
    assert marks.read() == Progress(1000.0, 1000.0)
    marks.end(through=False)
    assert marks.read() == Progress(1000.0, 1000.0)


def test_a_request_during_a_pass_stays_outstanding_after_it() -> None:
    """HC-02: what came after a pass began is not served by it."""
    clock = Clock()
    marks = ProgressMarks(clock)
    marks.begin()
    clock.now = 1001.0
    marks.queued()
    marks.end(through=True)
    assert marks.read() == Progress(1001.0, 1001.0)


class Running:
    """A node whose owner thread runs, on the fake kernel and the real clock."""

    def __init__(
        self, settings: Settings | None = None, wrap: Callable[[Drivers], Drivers] = lambda drivers: drivers
    ) -> None:
        self.node = FakeNode(settings=settings, wrap=wrap, families=(Family.IPV4,), clock=time.monotonic)
        self.put = self.node.mailbox.put
        self.progress = self.node.mailbox.progress
        self.thread = threading.Thread(target=self.node.reconciler.run, daemon=True)
        self.thread.start()

    def list_all(self) -> None:
        """Hear a complete, empty cluster."""
        self.put(Listed(Kind.SERVICE, ()))
        self.put(Listed(Kind.ENDPOINT_SLICE, ()))

    def wait(self, condition: Callable[[Progress], object]) -> None:
        """Wait until the progress is such."""
        wait_until(lambda: condition(self.progress()), lambda: f"the progress changes; it is {self.progress()}")

    def wait_for_another(self, status: Status) -> None:
        """Wait until another status was published."""
        self.wait(lambda _: self.node.status() is not status)


def test_a_running_owner_thread_completes_what_it_is_asked_for() -> None:
    """HC-02: nothing is outstanding once the queue is empty and all is written; before the lists there is no work."""
    running = Running()
    began = running.progress().completed_at
    running.list_all()
    running.wait(lambda p: p.outstanding_since is None and p.completed_at > began)
    assert running.node.status().prepared
    running.put(Stop())
    running.thread.join()


class RulesThatMayFail:
    """A rules driver whose writes fail while `failing` is set."""

    def __init__(self, rules: Rules, failing: threading.Event) -> None:
        self._rules = rules
        self._failing = failing

    def __getattr__(self, name: str) -> object:
        return getattr(self._rules, name)

    def replace(self, rules: RuleSet) -> None:
        if self._failing.is_set():
            raise ToolFailed("write rules", detail="no")
        self._rules.replace(rules)


def test_a_stage_that_fails_leaves_the_work_outstanding_until_it_is_done() -> None:
    """HC-02, DEV-07, DEV-32: rules that cannot be written keep the mark although passes go on."""
    failing = threading.Event()

    def may_fail(drivers: Drivers) -> Drivers:
        return replace(drivers, rules={f: RulesThatMayFail(rules, failing) for f, rules in drivers.rules.items()})

    running = Running(Settings(local_detection=LocalDetection(LocalDetectionMode.NODE_CIDR)), wrap=may_fail)
    failing.set()
    running.list_all()
    running.put(Changed(OWN))
    running.wait(lambda p: p.outstanding_since is not None and running.node.status().failures)
    since = running.progress().outstanding_since
    for _ in range(3):
        before = running.node.status()
        running.put(Changed(OWN))
        running.wait_for_another(before)
        assert running.progress().outstanding_since == since
    failing.clear()
    running.wait(lambda p: p.outstanding_since is None)
    running.put(Stop())
    running.thread.join()


def test_what_fails_for_one_object_or_aside_does_not_count_against_the_node() -> None:
    """HC-02: one virtual server that the kernel refuses is no reason to take the node out of all load balancers."""
    failures = Failures(SilentLogger(), Clock())
    failures.failed(Task.CLEAN_FLOWS, KernelError("delete flows"))
    failures.failed(addresses("10.96.0.10")[0], KernelError("add address"))
    assert not failures.a_stage_fails()
    failures.failed(Task.CREATE_SETS, KernelError("create set"))
    assert failures.a_stage_fails()
    failures.succeeded(Task.CREATE_SETS)
    assert not failures.a_stage_fails()


def test_the_node_is_eligible_as_its_last_known_object_says() -> None:
    """HC-03: unknown is not eligible; a deleted Node keeps its last known object."""
    node = FakeNode()
    node.hear_all()
    assert not node.status().node_eligible
    node.hear(Changed(OWN))
    assert node.status().node_eligible
    node.hear(Deleted(Kind.NODE, NODE_KEY))
    assert node.status().node_eligible
    node.hear(Changed(Node("node-1", taint_keys=("ToBeDeletedByClusterAutoscaler",))))
    assert not node.status().node_eligible
    node.hear(Deleted(Kind.NODE, NODE_KEY))
    assert not node.status().node_eligible


def test_health_checks_are_published_with_where_they_are_served() -> None:
    """HC-10, HC-14, SVC-15: in the status that is published at the end of a pass."""
    node = FakeNode()
    web = service(
        type="LoadBalancer", external_policy="Local", health_check_node_port=32000, ports=[port(80, node_port=30080)]
    )
    node.hear_all([web], [endpoint_slice(endpoint("10.244.0.11", node="node-1"))])
    assert node.statuses[-1] is node.status()
    assert node.status().health_checks == {key("shop/web"): (HealthCheck(Family.IPV4, 32000, 1),)}
    assert node.status().health_check_addresses == addresses("0.0.0.0", "::")
    node.hear(Changed(endpoint_slice(endpoint("10.244.1.11", node="node-2"))))
    assert node.status().health_checks == {key("shop/web"): (HealthCheck(Family.IPV4, 32000, 0),)}
    node.hear(Deleted(Kind.SERVICE, web.key))
    assert node.status().health_checks == {}
