"""What `/metrics` answers. Importing this module imports prometheus_client, which takes 0.1 s: do it when it is served.

The scraping thread reads the kernel's counts itself, by one bulk listing over sockets of its own. Of the owner thread
it takes copies of plain numbers, each in one step of the interpreter, so a scrape never waits for a pass and a pass
never for a scrape. An answer stands for two seconds, in which the kernel would not count anew either.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, field, structs
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from ipvsagent.errors import AgentError
from ipvsagent.model.address import Family
from ipvsagent.model.counters import SUCCESS, Counters, Histogram
from ipvsagent.model.objects import Kind
from ipvsagent.model.requests import RequestCounts
from ipvsagent.model.state import NoLocalEndpoints, TrafficPolicyKind, VirtualServerKey, endpoint_text
from ipvsagent.model.statistics import Counts, KernelStatistics, Place, ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.serve import metric_names as names
from ipvsagent.serve.answers import AnswerCounts
from ipvsagent.serve.traffic import Labels, Totals, family_text

ANSWER_STANDS_SECONDS = 2.0
_OUR_SETS = "KUBE-"


class Sources(Struct):
    """Where the numbers come from; the functions may be called from any thread.

    Args:
        families: those this node serves.
        read_statistics: reads the kernel's counts; may raise `AgentError`. One thread at a time calls it.
        port_names: which Service's port each virtual server serves.
        silence_seconds: how long ago the API server last answered; None without one.
        requests: how requests to the API server went; None without one.
        ask_for_counts: told of each reading.
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


class Metrics:
    """Answers `/metrics`; from any number of threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made_at: float | None = None
        self._answer = b""
        self._traffic = _Traffic(sources, clock)
        self._registry = CollectorRegistry()
        self._registry.register(_OwnNumbers(sources, self._traffic))
        ProcessCollector(registry=self._registry)

    def render(self) -> tuple[str, bytes]:
        """The content type and the text; one that was just made is given again."""
        with self._lock:
            now = self._clock()
            if self._made_at is None or now - self._made_at >= ANSWER_STANDS_SECONDS:
                self._traffic.read()
                bulk = "".join(self._traffic.families())
                self._answer = generate_latest(self._registry) + bulk.encode()
                self._made_at = now
            return CONTENT_TYPE_PLAIN_0_0_4, self._answer


class _Traffic:
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


class _OwnNumbers(Collector):
    """Everything whose number of samples does not grow with the cluster."""

    def __init__(self, sources: Sources, traffic: _Traffic) -> None:
        self._sources = sources
        self._traffic = traffic

    def describe(self) -> Iterable[Metric]:
        """Nothing: names need no check, a test has it."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families, always in the same order."""
        yield from self._kube_proxy()
        yield from self._api_requests()
        yield from self._status()
        yield from self._work()
        yield from self._kernel()

    def _kube_proxy(self) -> Iterator[Metric]:
        """kube-proxy's names; one pass serves all families, so each has its numbers (MET-20)."""
        counters = self._sources.counters
        served = self._sources.families
        families = [f.label for f in served]
        prefix = "kubeproxy_sync_proxy_rules_"
        yield _histogram(prefix + "duration_seconds", counters.passes, families)
        yield _numbers(prefix + "last_queued_timestamp_seconds", {(f,): counters.queued_at for f in families})
        yield _numbers(prefix + "last_timestamp_seconds", {(f,): counters.synchronised_at for f in families})
        for word, kind in (("endpoint", Kind.ENDPOINT_SLICE), ("service", Kind.SERVICE)):
            yield _number(f"{prefix}{word}_changes_pending", counters.pending.get(kind, 0))
            yield _number(f"{prefix}{word}_changes_total", counters.changes.get(kind, 0))
        counts = self._sources.status().no_local_endpoints
        without = {(p.value, f.label): counts.get(NoLocalEndpoints(p, f), 0) for p in TrafficPolicyKind for f in served}
        yield _numbers(prefix + "no_local_endpoints_total", without)
        yield _numbers(prefix + "iptables_restore_failures_total", _by_family(counters.rule_failures))
        yield _histogram("kubeproxy_network_programming_duration_seconds", counters.programming, families)
        for path in ("healthz", "livez"):
            answers = {(str(code),): count for code, count in self._sources.answers.of(path).items()}
            yield _numbers(f"kubeproxy_proxy_{path}_total", answers)
        prefix = "kubeproxy_conntrack_reconciler_"
        yield _histogram(prefix + "sync_duration_seconds", counters.flow_cleanings, families)
        deleted = {(f,): 0 for f in families} | _by_family(counters.flows_deleted)
        yield _numbers(prefix + "deleted_entries_total", deleted)

    def _api_requests(self) -> Iterator[Metric]:
        requests = self._sources.requests
        if requests is None:
            return
        yield _numbers("rest_client_requests_total", requests.by_code())
        definition = names.BY_NAME["rest_client_request_duration_seconds"]
        family = HistogramMetricFamily(definition.name, definition.documentation, labels=definition.labels)
        for labels, histogram in requests.durations().items():
            family.add_metric(labels, _buckets(histogram), histogram.sum)
        yield family

    def _status(self) -> Iterator[Metric]:
        status = self._sources.status()
        yield _numbers("ipvsagent_build_info", {(self._sources.version, platform.python_version()): 1})
        yield _number("ipvsagent_complete", status.complete)
        yield _number("ipvsagent_synchronised", status.synchronised)
        yield _number("ipvsagent_configuration_refused", bool(status.configuration_refused))
        yield _number("ipvsagent_configuration_waiting_fields", len(status.waiting_for_restart))
        yield _number("ipvsagent_services", status.services)
        yield _number("ipvsagent_virtual_servers", status.virtual_servers)
        labels = Counter(p.label for p in status.problems)
        yield _number("ipvsagent_conflicts", labels["AddressConflict"])
        yield _number("ipvsagent_refused_addresses", labels["AddressRefused"])
        invalid = {(p.kind, p.name) for p in status.problems if p.label == "InvalidObject"}
        kinds = {(kind.value,): 0 for kind in Kind} | Counter((kind,) for kind, _ in invalid)
        yield _numbers("ipvsagent_invalid_objects", kinds)

    def _work(self) -> Iterator[Metric]:
        counters = self._sources.counters
        operations = {(_words(o), _result(r)): n for (o, r), n in counters.operations.copy().items()}
        yield _numbers("ipvsagent_kernel_operations_total", operations)
        yield _numbers("ipvsagent_node_tasks_total", counters.tasks.copy())
        yield _histogram("ipvsagent_change_to_kernel_seconds", counters.change_to_kernel)
        for word, found in (("found", counters.drift_found), ("repaired", counters.drift_repaired)):
            yield _numbers(f"ipvsagent_drift_{word}_total", {(k.value,): n for k, n in found.copy().items()})
        yield _number("ipvsagent_failing_items", counters.failing)
        yield _number("ipvsagent_draining_real_servers", counters.draining)
        if self._sources.silence_seconds is not None:
            yield _number("ipvsagent_api_data_age_seconds", self._sources.silence_seconds())

    def _kernel(self) -> Iterator[Metric]:
        yield _number("ipvsagent_statistics_failures_total", self._traffic.failures)
        last = self._traffic.last
        if last is None:
            return
        yield _number("ipvsagent_statistics_read_seconds", self._traffic.read_seconds)
        sets = [s for s in last.sets if s.name.startswith(_OUR_SETS)]
        yield _numbers("ipvsagent_ipset_entries", {(s.name,): s.entries for s in sets})
        yield _numbers("ipvsagent_ipset_max_entries", {(s.name,): s.max_elements for s in sets if s.max_elements})
        timeouts = structs.asdict(last.timeouts)
        yield _numbers(
            "ipvsagent_ipvs_timeout_seconds", {(n.removesuffix("_seconds"),): s for n, s in timeouts.items()}
        )
        yield _number("ipvsagent_ipvs_connection_table_size", last.connection_table_size)
        always = last.estimation and not self._sources.counters.estimation_rounds
        yield _number("ipvsagent_ipvs_estimation", always)
        for definition, total in zip(names.NODE_TRAFFIC, last.totals, strict=False):
            yield CounterMetricFamily(definition.name, definition.documentation, value=total)


_Values = (
    Mapping[tuple[()], float]
    | Mapping[tuple[str], float]
    | Mapping[tuple[str, str], float]
    | Mapping[tuple[str, str, str], float]
    | Mapping[tuple[str, ...], float]
)
"""Numbers by label values; no values where there are no labels."""


def _number(name: str, value: float) -> Metric:
    return _numbers(name, {(): value})


def _numbers(name: str, values: _Values) -> Metric:
    definition = names.BY_NAME[name]
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(name, definition.documentation, labels=definition.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, histogram: Histogram, families: Iterable[str] = ()) -> Metric:
    """The same numbers for each label, or once without any."""
    definition = names.BY_NAME[name]
    family = HistogramMetricFamily(name, definition.documentation, labels=definition.labels)
    buckets, total = _buckets(histogram), histogram.sum
    for labels in [[f] for f in families] if definition.labels else [[]]:
        family.add_metric(labels, buckets, total)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bounds with the numbers of all observations up to them."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts.copy(), strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", so_far))
    return buckets


def _by_family(counts: Mapping[Family, int]) -> dict[tuple[str, ...], int]:
    return {(family.label,): count for family, count in dict(counts).items()}


def _words(operation: type) -> str:
    """``AddVirtualServer`` as ``add_virtual_server``; what is done with a flow is deleting it."""
    word = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.__name__).lower()
    return f"delete_{word}" if word == "flow" else word


def _result(result: type) -> str:
    return SUCCESS if result is type(None) else _words(result)
