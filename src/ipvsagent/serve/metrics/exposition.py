"""The response of `/metrics`. This module imports prometheus_client, which takes 0.1 s: import it when it is needed.

The metrics server's thread reads the kernel's counts itself, with one bulk listing over separate sockets. It copies the
owner thread's numbers, each in one step of the interpreter, so scrapes and passes never wait for each other.
A response is reused for two seconds: the kernel does not update its counts more often either.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from msgspec import structs
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from ipvsagent.instrumentation.counters import Drift
from ipvsagent.model.objects import Kind
from ipvsagent.model.state import NoLocalEndpoints, TrafficPolicyKind
from ipvsagent.serve.metrics import definitions as names
from ipvsagent.serve.metrics.inputs import MetricsInputs
from ipvsagent.serve.metrics.metric_families import buckets, by_family, histogram, number, numbers, result, words
from ipvsagent.serve.metrics.service_traffic import ServiceTraffic

ANSWER_STANDS_SECONDS = 2.0
_OUR_SETS = "KUBE-"
_HEALTH_CODES = (200, 503)
"""The status codes of health checks; both are served from the start, so that the first failure is an increase."""
_GO_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Go's names of machine types that differ from Python's."""


class Metrics:
    """Creates the response of `/metrics`; any number of threads may use it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, inputs: MetricsInputs, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made_at: float | None = None
        self._answer = b""
        self._traffic = ServiceTraffic(inputs, clock)
        self._registry = CollectorRegistry()
        self._registry.register(_OwnNumbers(inputs, self._traffic))
        ProcessCollector(registry=self._registry)

    def render(self) -> tuple[str, bytes]:
        """Return content type and text; reuse a response that is less than two seconds old."""
        with self._lock:
            now = self._clock()
            if self._made_at is None or now - self._made_at >= ANSWER_STANDS_SECONDS:
                self._traffic.read()
                bulk = "".join(self._traffic.families())
                self._answer = generate_latest(self._registry) + bulk.encode()
                self._made_at = now
            return CONTENT_TYPE_PLAIN_0_0_4, self._answer


class _OwnNumbers(Collector):
    """The metrics whose number of samples does not grow with the cluster."""

    def __init__(self, inputs: MetricsInputs, traffic: ServiceTraffic) -> None:
        self._inputs = inputs
        self._traffic = traffic

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a test checks the names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families, always in the same order."""
        yield from self._kube_proxy()
        yield from self._api_requests()
        yield from self._build()
        yield from self._status()
        yield from self._work()
        yield from self._kernel()

    def _kube_proxy(self) -> Iterator[Metric]:
        """Metrics with kube-proxy's names; a pass writes all address families, so each gets its numbers (MET-20)."""
        counters = self._inputs.counters
        served = self._inputs.status().families
        families = [f.label for f in served]
        none_yet: dict[tuple[str, ...], int] = {(f,): 0 for f in families}
        prefix = "kubeproxy_sync_proxy_rules_"
        yield histogram(prefix + "duration_seconds", counters.passes, families)
        yield numbers(prefix + "last_queued_timestamp_seconds", {(f,): counters.queued_at for f in families})
        yield numbers(prefix + "last_timestamp_seconds", {(f,): counters.synchronised_at for f in families})
        for word, kind in (("endpoint", Kind.ENDPOINT_SLICE), ("service", Kind.SERVICE)):
            yield number(f"{prefix}{word}_changes_pending", counters.pending.get(kind, 0))
            yield number(f"{prefix}{word}_changes_total", counters.changes.get(kind, 0))
        counts = self._inputs.status().no_local_endpoints
        without = {(p.value, f.label): counts.get(NoLocalEndpoints(p, f), 0) for p in TrafficPolicyKind for f in served}
        yield numbers(prefix + "no_local_endpoints_total", without)
        yield numbers(prefix + "iptables_restore_failures_total", none_yet | by_family(counters.rule_failures))
        yield histogram("kubeproxy_network_programming_duration_seconds", counters.programming, families)
        for path in ("healthz", "livez"):
            answers = dict.fromkeys(_HEALTH_CODES, 0) | self._inputs.health_responses.of(path)
            yield numbers(f"kubeproxy_proxy_{path}_total", {(str(code),): count for code, count in answers.items()})
        prefix = "kubeproxy_conntrack_reconciler_"
        yield histogram(prefix + "sync_duration_seconds", counters.flow_cleanings, families)
        yield numbers(prefix + "deleted_entries_total", none_yet | by_family(counters.flows_deleted))

    def _api_requests(self) -> Iterator[Metric]:
        requests = self._inputs.requests
        if requests is None:
            return
        yield numbers("rest_client_requests_total", requests.by_code())
        for name, histograms in (
            ("rest_client_request_duration_seconds", requests.durations()),
            ("rest_client_request_size_bytes", requests.request_sizes()),
            ("rest_client_response_size_bytes", requests.response_sizes()),
        ):
            definition = names.BY_NAME[name]
            family = HistogramMetricFamily(definition.name, definition.documentation, labels=definition.labels)
            for labels, found in histograms.items():
                family.add_metric(labels, buckets(found), found.sum)
            yield family

    def _build(self) -> Iterator[Metric]:
        """Versions and feature gates, as Kubernetes' components show them; Go's labels are empty (MET-21)."""
        version = self._inputs.version
        yield numbers("ipvsagent_build_info", {(version, platform.python_version()): 1})
        major, _, rest = version.partition(".")
        machine = _GO_MACHINES.get(platform.machine(), platform.machine())
        values = {
            "compiler": platform.python_implementation(),
            "git_version": f"v{version}",
            "major": major,
            "minor": rest.partition(".")[0],
            "platform": f"{platform.system().lower()}/{machine}",
        }
        labels = names.BY_NAME["kubernetes_build_info"].labels
        yield numbers("kubernetes_build_info", {tuple(values.get(label, "") for label in labels): 1})
        gates = {(gate.name, gate.stage): int(gate.enabled) for gate in self._inputs.settings().feature_gates()}
        yield numbers("kubernetes_feature_enabled", gates)

    def _status(self) -> Iterator[Metric]:
        status = self._inputs.status()
        yield number("ipvsagent_complete", status.complete)
        yield number("ipvsagent_synchronised", status.synchronised)
        yield number("ipvsagent_configuration_refused", bool(status.configuration_refused))
        yield number("ipvsagent_configuration_waiting_fields", len(status.waiting_for_restart))
        yield number("ipvsagent_services", status.services)
        yield number("ipvsagent_virtual_servers", status.virtual_servers)
        labels = Counter(p.label for p in status.problems)
        yield number("ipvsagent_conflicts", labels["AddressConflict"])
        yield number("ipvsagent_refused_addresses", labels["AddressRefused"])
        invalid = {(p.kind, p.name) for p in status.problems if p.label == "InvalidObject"}
        kinds = {(kind.value,): 0 for kind in Kind} | Counter((kind,) for kind, _ in invalid)
        yield numbers("ipvsagent_invalid_objects", kinds)

    def _work(self) -> Iterator[Metric]:
        counters = self._inputs.counters
        operations = {(words(o), result(r)): n for (o, r), n in counters.operations.copy().items()}
        yield numbers("ipvsagent_kernel_operations_total", operations)
        yield numbers("ipvsagent_node_tasks_total", counters.tasks.copy())
        yield histogram("ipvsagent_change_to_kernel_seconds", counters.change_to_kernel)
        for word, found in (("found", counters.drift_found), ("repaired", counters.drift_repaired)):
            drift = dict.fromkeys(Drift, 0) | found.copy()
            yield numbers(f"ipvsagent_drift_{word}_total", {(kind.value,): count for kind, count in drift.items()})
        yield number("ipvsagent_failing_items", counters.failing)
        yield number("ipvsagent_draining_real_servers", counters.draining)
        if self._inputs.silence_seconds is not None:
            yield number("ipvsagent_api_data_age_seconds", self._inputs.silence_seconds())

    def _kernel(self) -> Iterator[Metric]:
        yield number("ipvsagent_statistics_failures_total", self._traffic.failures)
        last = self._traffic.last
        if last is None:
            return
        yield number("ipvsagent_statistics_read_seconds", self._traffic.read_seconds)
        sets = [s for s in last.sets if s.name.startswith(_OUR_SETS)]
        yield numbers("ipvsagent_ipset_entries", {(s.name,): s.entries for s in sets})
        yield numbers("ipvsagent_ipset_max_entries", {(s.name,): s.max_elements for s in sets if s.max_elements})
        timeouts = structs.asdict(last.timeouts)
        yield numbers("ipvsagent_ipvs_timeout_seconds", {(n.removesuffix("_seconds"),): s for n, s in timeouts.items()})
        yield number("ipvsagent_ipvs_connection_table_size", last.connection_table_size)
        yield number("ipvsagent_real_server_metrics_left_out", last.real_servers_left_out)
        always = last.estimation and not self._inputs.counters.estimation_rounds
        yield number("ipvsagent_ipvs_estimation", always)
        for definition, total in zip(names.NODE_TRAFFIC, last.totals, strict=False):
            yield CounterMetricFamily(definition.name, definition.documentation, value=total)
