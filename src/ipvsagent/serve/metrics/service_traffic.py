"""The large metric families: traffic and connections of every Service port, and of real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ipvsagent.errors import AgentError
from ipvsagent.model.state import RealServerKey, VirtualServerKey, endpoint_text
from ipvsagent.model.statistics import Counts, KernelStatistics, ServicePortName
from ipvsagent.serve.metrics import definitions as names
from ipvsagent.serve.metrics.cumulative_totals import Totals
from ipvsagent.serve.metrics.inputs import MetricsInputs
from ipvsagent.serve.metrics.text_format import Labels, family_text


class ServiceTraffic:
    """The kernel's counts by Service port, and the last reading."""

    def __init__(self, inputs: MetricsInputs, clock: Callable[[], float]) -> None:
        self._inputs = inputs
        self._clock = clock
        self._services: Totals[VirtualServerKey, ServicePortName] = Totals()
        self._real_servers: Totals[tuple[VirtualServerKey, RealServerKey], tuple[ServicePortName, str]] = Totals()
        self._names: dict[VirtualServerKey, ServicePortName] = {}
        self._labels = Labels()
        self.last: KernelStatistics | None = None
        self.read_seconds = 0.0
        self.failures = 0

    def read(self) -> None:
        """Read the kernel's counts; after a failure the last reading is kept."""
        recreated = self._inputs.counters.recreated
        before = recreated.copy()
        began = self._clock()
        self._inputs.ask_for_counts()
        try:
            reading = self._inputs.read_statistics()
        except AgentError:
            self.failures += 1
            return
        self.read_seconds = self._clock() - began
        after = recreated.copy()
        self.last, self._names = reading, self._inputs.port_names()
        # If a virtual server was recreated during the listing, its counts may be old or new: use the next reading.
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
        current = last.estimation or self._inputs.counters.estimation_rounds
        if current:  # else they do not change, as if there were no traffic
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
        counts: dict[tuple[VirtualServerKey, RealServerKey], Counts] = {}
        named: dict[tuple[VirtualServerKey, RealServerKey], tuple[ServicePortName, str]] = {}
        marks: dict[tuple[VirtualServerKey, RealServerKey], object] = {}
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
    """Metric families from rows that have one value for each family."""
    for index, definition in enumerate(definitions):
        samples = [(labels, row[index]) for labels, row in rows]
        yield from family_text(definition.name, definition.kind, definition.documentation, samples)
