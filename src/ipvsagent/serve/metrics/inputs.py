"""The inputs of the metrics."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from ipvsagent.config.types import Settings
from ipvsagent.instrumentation.api_requests import RequestCounts
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.instrumentation.health_responses import HealthResponseCounts
from ipvsagent.model.state import VirtualServerKey
from ipvsagent.model.statistics import KernelStatistics, ServicePortName
from ipvsagent.model.status import Status


class MetricsInputs(Struct):
    """The functions and counters that metrics are made from; any thread may call the functions.

    Args:
        read_statistics: reads the kernel's counts; may raise `AgentError`; called by one thread at a time.
        port_names: the Service port of each virtual server.
        silence_seconds: time since the API server last confirmed what is served; None without one.
        requests: counts of requests to the API server; None without one.
        ask_for_counts: called before each reading, to request current counts.
        settings: the settings in force.
    """

    counters: Counters
    version: str
    read_statistics: Callable[[], KernelStatistics]
    port_names: Callable[[], dict[VirtualServerKey, ServicePortName]]
    status: Callable[[], Status]
    silence_seconds: Callable[[], float] | None = None
    health_responses: HealthResponseCounts = field(default_factory=HealthResponseCounts)
    requests: RequestCounts | None = None
    ask_for_counts: Callable[[], None] = lambda: None
    settings: Callable[[], Settings] = Settings
