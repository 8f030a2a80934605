"""What the metrics are made of."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from ipvsagent.config.types import Settings
from ipvsagent.instrumentation.api_requests import RequestCounts
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.instrumentation.health_responses import HealthResponseCounts
from ipvsagent.model.address import Family
from ipvsagent.model.state import VirtualServerKey
from ipvsagent.model.statistics import KernelStatistics, ServicePortName
from ipvsagent.model.status import Status


class MetricsInputs(Struct):
    """Where the numbers come from; the functions may be called from any thread.

    Args:
        families: those this node serves.
        read_statistics: reads the kernel's counts; may raise `AgentError`. One thread at a time calls it.
        port_names: which Service's port each virtual server serves.
        silence_seconds: how long ago the API server last answered; None without one.
        requests: how requests to the API server went; None without one.
        ask_for_counts: told of each reading.
        settings: those in force.
    """

    counters: Counters
    version: str
    families: tuple[Family, ...]
    read_statistics: Callable[[], KernelStatistics]
    port_names: Callable[[], dict[VirtualServerKey, ServicePortName]]
    status: Callable[[], Status]
    silence_seconds: Callable[[], float] | None = None
    health_responses: HealthResponseCounts = field(default_factory=HealthResponseCounts)
    requests: RequestCounts | None = None
    ask_for_counts: Callable[[], None] = lambda: None
    settings: Callable[[], Settings] = Settings
