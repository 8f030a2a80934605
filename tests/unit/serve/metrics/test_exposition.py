"""What a scrape answers, read by Prometheus' own parser and by Prometheus itself."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from lab.speed import scaled
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ipvsagent.config.types import Settings
from ipvsagent.errors import DumpInterrupted
from ipvsagent.instrumentation.api_requests import NO_ANSWER, RequestCounts
from ipvsagent.instrumentation.counters import Counters, Drift
from ipvsagent.model.address import Family, Protocol
from ipvsagent.model.objects import Kind, Problem
from ipvsagent.model.ops import AddVirtualServer
from ipvsagent.model.state import (
    IpvsTimeouts,
    NoLocalEndpoints,
    ObservedSet,
    RealServerKey,
    TrafficPolicyKind,
    VirtualServer,
    VirtualServerKey,
)
from ipvsagent.model.statistics import KernelStatistics, RealServerStatistics, ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.serve.metrics import definitions as metric_names
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


@pytest.fixture
def scene() -> Scene:
    """A node with one Service that has a node port, and a virtual server of somebody else's."""
    return Scene()


@pytest.fixture
def busy() -> Scene:
    """As `scene`, with at least one sample of every metric."""
    made = Scene()
    counters = made.inputs.counters
    counters.note_operations([AddVirtualServer(VirtualServer(WEB, "rr"))] * 2, [None, DumpInterrupted("x")])
    counters.note_task("write rules", well=True)
    counters.note_change(Kind.SERVICE)
    counters.note_drift(Drift.RULES, 1, 1)
    counters.note_rule_failure(Family.IPV6)
    counters.note_flow_deleted(Family.IPV4)
    for histogram in (counters.passes, counters.change_to_kernel, counters.programming, counters.flow_cleanings):
        histogram.observe(0.3)
    made.inputs.requests = RequestCounts()
    made.inputs.requests.note("192.0.2.1:6443", "GET", "200", 0.3)
    made.inputs.requests.note_request_size("192.0.2.1:6443", "GET", 0)
    made.inputs.requests.note_response_size("192.0.2.1:6443", "GET", 5000)
    made.inputs.health_responses.note("healthz", 200)
    made.inputs.health_responses.note("livez", 503)
    return made


def test_every_family_that_is_served_is_documented_and_the_other_way_round(busy: Scene) -> None:
    """MET-01 to MET-15, MET-21: same name, type and labels."""
    served = {}
    for family in text_string_to_metric_families(busy.text()):
        name = family.name + "_total" * (family.type == "counter")
        labels = {frozenset(s.labels.keys() - {"le"}) for s in family.samples}
        assert len(labels) == 1, name
        served[name] = family.type, next(iter(labels))
    assert served == {d.name: (d.kind, frozenset(d.labels)) for d in metric_names.EVERY}


def test_no_sample_comes_twice(busy: Scene) -> None:
    """Prometheus would refuse the whole answer."""
    lines = [line.rpartition(" ")[0] for line in busy.text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_virtual_servers_of_a_port_are_one_series(scene: Scene) -> None:
    """Cluster IP and node port together; what is not of a Service is not there."""
    text = scene.text()
    assert text.count("ipvsagent_service_connections_total{") == 1
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 4
    assert scene.value("ipvsagent_service_incoming_bytes_total", **LABELS) == 3001
    assert scene.value("ipvsagent_service_active_connections", **LABELS) == 5
    assert scene.value("ipvsagent_real_server_connections_total", endpoint="10.244.0.11:8080", **LABELS) == 3


def test_real_servers_are_absent_unless_they_were_read(scene: Scene) -> None:
    """Switched on by a setting."""
    scene.reading = replace(READING, real_servers={})
    assert "ipvsagent_real_server_connections" not in scene.text()
    assert "endpoint=" not in scene.text()


def test_real_servers_without_room_are_told_of(scene: Scene) -> None:
    """Bounded in number."""
    scene.reading = replace(READING, real_servers_left_out=3)
    assert scene.value("ipvsagent_real_server_metrics_left_out") == 3


def test_versions_and_gates_have_the_names_of_kubernetes(scene: Scene) -> None:
    """MET-21: the labels are those of every component; a changed gate shows in the next answer."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    empty = dict.fromkeys(("build_date", "git_commit", "git_tree_state", "go_version"), "")
    labels = {
        "compiler": "CPython",
        "git_version": "v1.2.3",
        "major": "1",
        "minor": "2",
        "platform": f"linux/{machine}",
    }
    assert scene.value("kubernetes_build_info", **empty, **labels) == 1
    gate = {"name": "AllowServiceExternalIPs", "stage": "DEPRECATED"}
    assert scene.value("kubernetes_feature_enabled", **gate) == 1
    scene.inputs.settings = lambda: Settings(allow_external_ips=False)
    assert scene.value("kubernetes_feature_enabled", **gate) == 0
    assert scene.value("kubernetes_feature_enabled", name="ComponentStatusz", stage="BETA") == 1


def test_a_service_that_went_has_no_series(scene: Scene) -> None:
    """Bounded in number."""
    scene.text()
    scene.names = {}
    assert 'service="web"' not in scene.text()


def test_counts_that_stand_still_are_left_out_and_go_on_later(scene: Scene) -> None:
    """While estimation is off, connections and the node's counts are still right."""
    scene.text()
    scene.reading = replace(READING, estimation=False)
    assert scene.value("ipvsagent_service_connections_total", **LABELS) is None
    assert scene.value("ipvsagent_ipvs_estimation") == 0
    assert scene.value("ipvsagent_ipvs_connections_total") == 13
    assert scene.value("ipvsagent_service_active_connections", **LABELS) == 5
    scene.reading = replace(READING, counts={WEB: (10, 30, 20, 3000, 2000), NODE_PORT: (1, 1, 1, 1, 1)})
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 11


def test_each_reading_asks_for_counts_and_those_of_rounds_are_shown(scene: Scene) -> None:
    """Where estimation is off, the kernel counts up to date for whoever asks; an answer that stands asks nobody."""
    asked: list[float] = []
    scene.inputs.ask_for_counts = lambda: asked.append(scene.now)
    scene.reading = replace(READING, estimation=False)
    scene.inputs.counters.estimation_rounds = True
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 4
    assert scene.value("ipvsagent_ipvs_estimation") == 0
    scene.reading = replace(READING, estimation=True)  # a round is under way
    assert scene.value("ipvsagent_ipvs_estimation") == 0
    before = list(asked)
    scene.metrics.render()
    assert asked == before == [2.0, 4.0, 6.0]


def test_a_virtual_server_created_during_the_reading_is_counted_once(scene: Scene) -> None:
    """VS-05: its counts may be old or new ones; the next reading tells."""
    scene.text()
    scene.during = lambda: scene.inputs.counters.note_created(WEB)
    scene.reading = replace(READING, counts={WEB: (1, 1, 1, 1, 1), NODE_PORT: (1, 1, 1, 1, 1)})
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 4
    scene.during = lambda: None
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 5


def test_a_failed_reading_leaves_the_last_one_in_place(scene: Scene) -> None:
    """Counters neither fall nor go."""
    scene.text()
    scene.error = DumpInterrupted("list virtual servers")
    assert scene.value("ipvsagent_service_connections_total", **LABELS) == 4
    assert scene.value("ipvsagent_statistics_failures_total") == 2


def test_many_scrapes_at_once_read_the_kernel_once(scene: Scene) -> None:
    """An answer stands for two seconds."""
    first = scene.metrics.render()
    scene.now += ANSWER_STANDS_SECONDS / 2
    assert scene.metrics.render() == first
    assert scene.readings == 1
    assert first[0].startswith("text/plain; version=0.0.4")


def test_numbers_of_the_owner_thread_are_shown_in_words(busy: Scene) -> None:
    """MET-09, MET-12, MET-20, DEV-07: kinds, results and families."""
    name = "ipvsagent_kernel_operations_total"
    assert busy.value(name, operation="add_virtual_server", result="success") == 1
    assert busy.value(name, operation="add_virtual_server", result="dump_interrupted") == 1
    assert busy.value("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", ip_family="IPv6") == 1
    assert busy.value("kubeproxy_proxy_healthz_total", code="200") == 1
    assert busy.value("kubeproxy_sync_proxy_rules_duration_seconds_bucket", ip_family="IPv6", le="0.512") == 1
    assert busy.value("kubeproxy_sync_proxy_rules_duration_seconds_bucket", ip_family="IPv6", le="0.256") == 0
    assert busy.value("ipvsagent_invalid_objects", kind="Service") == 1
    assert busy.value("ipvsagent_conflicts") == 1
    assert busy.value("ipvsagent_configuration_refused") == 1
    assert busy.value("ipvsagent_configuration_waiting_fields") == 2
    assert busy.value("ipvsagent_api_data_age_seconds") == 4.5
    assert busy.value("ipvsagent_ipset_max_entries", set="KUBE-CLUSTER-IP") == 65536
    assert busy.value("ipvsagent_ipvs_timeout_seconds", kind="tcp") == 7875
    assert busy.value("ipvsagent_ipvs_timeout_seconds", kind="udp") == 300


def test_each_series_has_the_number_that_its_name_says() -> None:
    """MET-02 to MET-07, MET-13, MET-15: every number differs, so that none can stand in the place of another."""
    scene = Scene()
    counters = scene.inputs.counters
    counters.queued_at, counters.synchronised_at = 1001.0, 1002.0
    counters.pending = {Kind.ENDPOINT_SLICE: 3, Kind.SERVICE: 4}
    counters.changes = {Kind.ENDPOINT_SLICE: 5, Kind.SERVICE: 6}
    counters.flows_deleted = {Family.IPV6: 7}
    counters.flow_cleanings.observe(8.0)
    counters.change_to_kernel.observe(9.0)
    counters.tasks = {("write rules", "failure"): 10}
    counters.drift_found, counters.drift_repaired = {Drift.RULES: 11}, {Drift.RULES: 12}
    counters.failing, counters.draining = 13, 14
    problems = tuple(Problem("Service", f"shop/{n}", "", "x", "AddressRefused") for n in range(15))
    scene.inputs.status = lambda: Status(
        complete=True, synchronised=False, services=16, virtual_servers=17, problems=problems
    )
    for _ in range(18):
        scene.inputs.health_responses.note("livez", 503)
    sync, flows = "kubeproxy_sync_proxy_rules_", "kubeproxy_conntrack_reconciler_"
    expected: list[tuple[str, dict[str, str], float]] = [
        (f"{sync}last_queued_timestamp_seconds", {"ip_family": "IPv4"}, 1001),
        (f"{sync}last_timestamp_seconds", {"ip_family": "IPv4"}, 1002),
        (f"{sync}endpoint_changes_pending", {}, 3),
        (f"{sync}service_changes_pending", {}, 4),
        (f"{sync}endpoint_changes_total", {}, 5),
        (f"{sync}service_changes_total", {}, 6),
        (f"{flows}deleted_entries_total", {"ip_family": "IPv6"}, 7),
        (f"{flows}deleted_entries_total", {"ip_family": "IPv4"}, 0),
        (f"{flows}sync_duration_seconds_sum", {"ip_family": "IPv4"}, 8),
        ("ipvsagent_change_to_kernel_seconds_sum", {}, 9),
        ("ipvsagent_node_tasks_total", {"task": "write rules", "result": "failure"}, 10),
        ("ipvsagent_drift_found_total", {"kind": "rules"}, 11),
        ("ipvsagent_drift_repaired_total", {"kind": "rules"}, 12),
        ("ipvsagent_failing_items", {}, 13),
        ("ipvsagent_draining_real_servers", {}, 14),
        ("ipvsagent_refused_addresses", {}, 15),
        ("ipvsagent_complete", {}, 1),
        ("ipvsagent_synchronised", {}, 0),
        ("ipvsagent_services", {}, 16),
        ("ipvsagent_virtual_servers", {}, 17),
        ("kubeproxy_proxy_livez_total", {"code": "503"}, 18),
    ]
    assert [(name, labels, scene.value(name, **labels)) for name, labels, _ in expected] == expected


def test_metrics_are_not_imported_before_they_are_served() -> None:
    """Their library takes as long to import as a third of the agent."""
    code = "import sys, ipvsagent.agent; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_services_without_local_endpoints_are_counted_by_policy_and_family(scene: Scene) -> None:
    """MET-08: all four series are there from the start."""
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert scene.value(name, traffic_policy="internal", ip_family="IPv6") == 2
    assert scene.value(name, traffic_policy="internal", ip_family="IPv4") == 0
    assert scene.value(name, traffic_policy="external", ip_family="IPv4") == 0
    assert scene.value(name, traffic_policy="external", ip_family="IPv6") == 0
    assert scene.text().count(name + "{") == 4


def test_requests_to_the_api_server_have_client_go_s_names(busy: Scene) -> None:
    """MET-21: with client-go's labels, buckets and word for no answer."""
    assert busy.inputs.requests
    busy.inputs.requests.note("192.0.2.1:6443", "POST", NO_ANSWER, 10.0)
    where = {"host": "192.0.2.1:6443"}
    assert busy.value("rest_client_requests_total", **where, code="200", method="GET") == 1
    assert busy.value("rest_client_requests_total", **where, code="<error>", method="POST") == 1
    name = "rest_client_request_duration_seconds"
    assert busy.value(name + "_bucket", **where, verb="GET", le="0.25") == 0
    assert busy.value(name + "_bucket", **where, verb="GET", le="0.5") == 1
    assert busy.value(name + "_sum", **where, verb="POST") == 10
    busy.inputs.requests.note_request_size("192.0.2.1:6443", "POST", 300)
    busy.inputs.requests.note_response_size("192.0.2.1:6443", "POST", 5_000_000)
    for name, size, below, above in (
        ("rest_client_request_size_bytes", 300, "256", "512"),
        ("rest_client_response_size_bytes", 5_000_000, "4.194304e+06", "1.6777216e+07"),
    ):
        assert busy.value(name + "_bucket", **where, verb="POST", le=below) == 0
        assert busy.value(name + "_bucket", **where, verb="POST", le=above) == 1
        assert busy.value(name + "_sum", **where, verb="POST") == size


def test_promtool_finds_no_fault(busy: Scene) -> None:
    """Names, units and help as Prometheus wants them, but for one name, which is kube-proxy's (MET-08)."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=busy.text(), capture_output=True, text=True, check=False
    )
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert (done.stdout + done.stderr).splitlines() == [f'{name} non-counter metrics should not have "_total" suffix']


def test_prometheus_scrapes_it(busy: Scene, tmp_path: Path) -> None:
    """The real one, from a real server."""
    with serving(busy) as target, prometheus(target, tmp_path) as ask:
        wait_for(lambda: health(ask) == "up", lambda: f"{ask('targets')}")
        found = ask('query?query=ipvsagent_service_connections_total{service="web"}')["data"]["result"]
        assert [(r["metric"]["namespace"], r["value"][1]) for r in found] == [("shop", "4")]
        buckets = ask("query?query=kubeproxy_network_programming_duration_seconds_count")["data"]["result"]
        assert {r["metric"]["ip_family"] for r in buckets} == {"IPv4", "IPv6"}


def health(ask: Callable[[str], Any]) -> str | None:
    """What Prometheus says of its one target."""
    targets = ask("targets")["data"]["activeTargets"]
    return targets[0]["health"] if targets else None


def wait_for(condition: Callable[[], bool], explain: Callable[[], str]) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + scaled(60)
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@contextmanager
def serving(scene: Scene) -> Iterator[str]:
    """Serve a scene's answers; gives host and port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            content_type, body = scene.metrics.render()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Callable[[str], Any]]:
    """Run Prometheus; gives a function that asks its API."""
    configuration = {
        "scrape_configs": [{"job_name": "a", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}]
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={listen}",
    ]

    def ask(path: str) -> Any:
        with urlopen(f"http://{listen}/api/v1/{path}", timeout=scaled(10)) as answer:
            return json.load(answer)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        try:
            return bool(ask("targets"))
        except URLError:
            return False

    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log, cwd=folder) as process:
        try:
            wait_for(answers, lambda: (folder / "log").read_text(encoding="utf-8"))
            yield ask
        finally:
            process.kill()
