"""Where the numbers come from, and the large families among them: traffic of every Service's port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, field

from ipvsagent.config.types import Settings
from ipvsagent.errors import AgentError
from ipvsagent.model.address import Family
from ipvsagent.model.counters import Counters
from ipvsagent.model.requests import RequestCounts
from ipvsagent.model.state import VirtualServerKey, endpoint_text
from ipvsagent.model.statistics import Counts, KernelStatistics, Place, ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.serve import metric_names as names
from ipvsagent.serve.answers import AnswerCounts
from ipvsagent.serve.traffic import Labels, Totals, family_text


class Sources(Struct):
    """Where the numbers come from; the functions may be called from any thread.

    Args:
        families: those this node serves.
        read_statistics: reads the kernel's counts; may raise `AgentError`. One thread at a time calls it.
        port_names: which Service's port each virtual server serves.
        silence_seconds: how long ago the API server last confirmed what is served; None without one.
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
    answers: AnswerCounts = field(default_factory=AnswerCounts)
    requests: RequestCounts | None = None
    ask_for_counts: Callable[[], None] = lambda: None
    settings: Callable[[], Settings] = Settings


class KernelCounts:
    """The kernel's counts by Service, and the last reading."""

    def __init__(self, sources: Sources, clock: Callable[[], float]) -> None:
        self._sources = sources
        self._clock = clock
        self._services: Totals[VirtualServerKey, ServicePortName] = Totals()
        self._real_servers: Totals[tuple[VirtualServerKey, Place], tuple[ServicePortName, str]] = Totals()
        self._names: dict[VirtualServerKey, ServicePortName] = {}
        self._labels = Labels()
        self.last: KernelStatistics | None = None
        self.read_seconds = 0.0
        self.failures = 0

    def read(self) -> None:
        """Read the kernel; after a failure the last reading stands."""
        recreated = self._sources.counters.recreated
        before = recreated.copy()
        began = self._clock()
        self._sources.ask_for_counts()
        try:
            reading = self._sources.read_statistics()
        except AgentError:
            self.failures += 1
            return
        self.read_seconds = self._clock() - began
        after = recreated.copy()
        self.last, self._names = reading, self._sources.port_names()
        # What was created while it was listed may be in the listing as it was before or after: it waits for the next.
        unsure = {key for key, mark in after.items() if before.get(key) != mark}
        counts = {k: c for k, c in reading.counts.items() if k not in unsure} if unsure else reading.counts
        self._services.update(counts, self._names, after)
        self._update_real_servers(reading, unsure, after)
        self._labels.keep(len(self._services) + len(self._real_servers))

    def families(self) -> Iterator[str]:
        """The large families as text."""
        last = self.last
        if last is None:
            return
        text = self._labels.text
        current = last.estimation or self._sources.counters.estimation_rounds
        if current:  # else they stand still, and would say that there is no traffic
            yield from _counters(
                names.SERVICE_TRAFFIC, [(text(name), counts) for name, counts in self._services.items()]
            )
        yield from _counters(
            names.SERVICE_CONNECTIONS, [(text(name), both) for name, both in self._connections(last).items()]
        )
        if not last.real_servers:
            return
        if current:
            yield from _counters(
                names.REAL_SERVER_TRAFFIC, [(text(*name), counts) for name, counts in self._real_servers.items()]
            )
        yield from _counters(
            names.REAL_SERVER_CONNECTIONS,
            [(text(*name), both) for name, both in self._real_server_connections(last).items()],
        )

    def _update_real_servers(
        self, reading: KernelStatistics, unsure: set[VirtualServerKey], created: Mapping[VirtualServerKey, int]
    ) -> None:
        counts: dict[tuple[VirtualServerKey, Place], Counts] = {}
        named: dict[tuple[VirtualServerKey, Place], tuple[ServicePortName, str]] = {}
        marks: dict[tuple[VirtualServerKey, Place], object] = {}
        for key, servers in reading.real_servers.items():
            if key not in self._names:
                continue
            for place, statistics in servers.items():
                both = key, place
                named[both] = self._names[key], endpoint_text(*place)
                marks[both] = created.get(key)
                if key not in unsure:
                    counts[both] = statistics.counts
        self._real_servers.update(counts, named, marks)

    def _connections(self, last: KernelStatistics) -> dict[ServicePortName, tuple[int, int]]:
        found: dict[ServicePortName, tuple[int, int]] = {}
        for key, name in self._names.items():
            active, inactive = last.connections.get(key, (0, 0))
            if name in found:
                active, inactive = found[name][0] + active, found[name][1] + inactive
            found[name] = active, inactive
        return found

    def _real_server_connections(self, last: KernelStatistics) -> dict[tuple[ServicePortName, str], tuple[int, int]]:
        found: dict[tuple[ServicePortName, str], tuple[int, int]] = {}
        for key, servers in last.real_servers.items():
            if key not in self._names:
                continue
            for place, statistics in servers.items():
                name = self._names[key], endpoint_text(*place)
                active, inactive = found.get(name, (0, 0))
                found[name] = active + statistics.active, inactive + statistics.inactive
        return found


def _counters(definitions: Iterable[names.Definition], rows: list[tuple[str, Counts]]) -> Iterator[str]:
    """Families whose samples stand side by side in rows."""
    for index, definition in enumerate(definitions):
        samples = [(labels, row[index]) for labels, row in rows]
        yield from family_text(definition.name, definition.kind, definition.documentation, samples)
