"""A node whose numbers a test changes between scrapes."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from ipvsagent.errors import DumpInterrupted
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.objects import Problem
from ipvsagent.model.state import (
    IpvsTimeouts,
    NoLocalEndpoints,
    ObservedSet,
    RealServerKey,
    TrafficPolicyKind,
    VirtualServerKey,
)
from ipvsagent.model.statistics import KernelStatistics, RealServerStatistics, ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.serve.metrics.exposition import ANSWER_STANDS_SECONDS, Metrics
from ipvsagent.serve.metrics.inputs import MetricsInputs
from support.builders import address

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)
NODE_PORT = VirtualServerKey(Protocol.TCP, address("192.168.60.1"), 30080)
FOREIGN = VirtualServerKey(Protocol.TCP, address("192.0.2.1"), 25)
NAME = ServicePortName("shop", "web", "http", Protocol.TCP)
LABELS = {"namespace": "shop", "service": "web", "port": "http", "protocol": "TCP"}
READING = KernelStatistics(
    counts={WEB: (3, 30, 20, 3000, 2000), NODE_PORT: (1, 1, 1, 1, 1), FOREIGN: (9, 9, 9, 9, 9)},
    connections={WEB: (1, 2), NODE_PORT: (4, 0), FOREIGN: (9, 9)},
    real_servers={
        WEB: {RealServerKey(address("10.244.0.11"), 8080): RealServerStatistics((3, 30, 20, 3000, 2000), 1, 2)}
    },
    totals=(13, 40, 30, 4000, 3000),
    sets=(
        ObservedSet("KUBE-CLUSTER-IP", "hash:ip,port", Family.IPV4, 65536, 1, 7),
        ObservedSet("cali40", "hash:ip", None),
    ),
    connection_table_size=4096,
    timeouts=IpvsTimeouts(7875, 120, 300),
    virtual_servers=3,
)


class Scene:
    """MetricsInputs that a test changes between scrapes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reading = READING
        self.error: DumpInterrupted | None = None
        self.readings = 0
        self.names = {WEB: NAME, NODE_PORT: NAME}
        self.during: Callable[[], None] = lambda: None
        self.inputs = MetricsInputs(
            Counters(),
            "1.2.3",
            self._read,
            lambda: dict(self.names),
            lambda: Status(
                problems=(
                    Problem("Service", "shop/web", "", "no"),
                    Problem("Service", "a/b", "", "x", "AddressConflict"),
                ),
                configuration_refused="foo: is not a known field",
                no_local_endpoints={NoLocalEndpoints(TrafficPolicyKind.INTERNAL, Family.IPV6): 2},
                waiting_for_restart=("hostnameOverride", "oomScoreAdj"),
            ),
            lambda: 4.5,
        )
        self.metrics = Metrics(self.inputs, clock=lambda: self.now)

    def _read(self) -> KernelStatistics:
        self.readings += 1
        self.during()
        if self.error:
            raise self.error
        return self.reading

    def text(self) -> str:
        """A fresh answer."""
        self.now += ANSWER_STANDS_SECONDS
        return self.metrics.render()[1].decode()

    def value(self, name: str, /, **labels: str) -> float | None:
        """A sample of a fresh answer."""
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None
