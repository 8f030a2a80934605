"""A scrape and a pass of the owner thread never wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.speed import scaled
from msgspec.structs import replace

from ipvsagent.kernel.api import Drivers, Ipvs, Results
from ipvsagent.model.events import Changed
from ipvsagent.model.ops import IpvsOperation
from ipvsagent.model.statistics import KernelStatistics
from ipvsagent.serve.metrics.exposition import Metrics
from ipvsagent.serve.metrics.inputs import MetricsInputs
from support.builders import endpoint_slice, service
from support.fake_node import FakeNode

EMPTY = KernelStatistics({}, {}, {})


class Gate:
    """A place where a thread stays until it is let through."""

    def __init__(self) -> None:
        self.closed = False
        self.reached, self._open = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        """Stay here if the gate is closed."""
        if self.closed:
            self.reached.set()
            assert self._open.wait(scaled(30))

    def open(self) -> None:
        """Let everybody through."""
        self.closed = False
        self._open.set()


class SlowIpvs:
    """A kernel that takes its time for writes."""

    def __init__(self, ipvs: Ipvs, gate: Gate) -> None:
        self._ipvs = ipvs
        self._gate = gate

    def __getattr__(self, name: str) -> object:
        return getattr(self._ipvs, name)

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        self._gate.pass_through()
        return self._ipvs.apply(operations)


@contextmanager
def _meanwhile(work: object, gate: Gate) -> Iterator[None]:
    """Another thread works, and is at the gate during the block."""
    gate.closed = True
    thread = threading.Thread(target=work)  # type: ignore[arg-type]  # any callable without arguments
    thread.start()
    try:
        assert gate.reached.wait(scaled(30))
        yield
    finally:
        gate.open()
        thread.join()


def _metrics(node: FakeNode, gate: Gate) -> Metrics:
    def read() -> KernelStatistics:
        gate.pass_through()
        return EMPTY

    reconciler = node.reconciler
    return Metrics(
        MetricsInputs(
            counters=reconciler.counters,
            version="1.2.3",
            read_statistics=read,
            port_names=reconciler.port_names,
            status=node.status,
            ask_for_counts=reconciler.request_counters,
        )
    )


def test_a_scrape_is_answered_while_the_owner_thread_writes() -> None:
    """MET-04: with what is known then; the change is still pending."""
    gate = Gate()

    def slow(drivers: Drivers) -> Drivers:
        return replace(drivers, ipvs=SlowIpvs(drivers.ipvs, gate))

    node = FakeNode(wrap=slow)
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    metrics = _metrics(node, Gate())
    with _meanwhile(lambda: node.hear(Changed(endpoint_slice("10.244.0.12"))), gate):
        text = metrics.render()[1].decode()
    assert "ipvsagent_services 1.0" in text
    assert "kubeproxy_sync_proxy_rules_endpoint_changes_pending 1.0" in text


def test_the_owner_thread_writes_while_a_scrape_reads_the_kernel() -> None:
    """A slow listing delays no change."""
    gate = Gate()
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    metrics = _metrics(node, gate)
    with _meanwhile(metrics.render, gate):
        node.kernel.clear_log()
        node.hear(Changed(endpoint_slice("10.244.0.11", "10.244.0.12")))
        assert node.operations() == ["add real server 10.244.0.12:8080 to 10.96.0.10:80/TCP"]
