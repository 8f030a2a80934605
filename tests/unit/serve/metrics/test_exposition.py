"""What a scrape answers, read by Prometheus' own parser."""

from __future__ import annotations

import platform
import subprocess
import sys

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from ipvsagent.config.types import Settings
from ipvsagent.errors import DumpInterrupted
from ipvsagent.instrumentation.api_requests import NO_ANSWER
from ipvsagent.instrumentation.counters import Drift
from ipvsagent.model.address import Family
from ipvsagent.model.objects import Kind, Problem
from ipvsagent.model.status import Status
from ipvsagent.serve.metrics import definitions as metric_names
from ipvsagent.serve.metrics.exposition import ANSWER_STANDS_SECONDS
from unit.serve.metrics.scene import LABELS, NODE_PORT, READING, WEB, Scene


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


def test_real_servers_beyond_the_limit_are_reported(scene: Scene) -> None:
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


def test_counts_that_the_kernel_does_not_update_are_left_out_until_it_does(scene: Scene) -> None:
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
    """While estimation is off, a scrape makes the kernel update its counts; a cached answer does not."""
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
    """MET-02 to MET-07, MET-13, MET-15: every number differs, so that none can be mistaken for another."""
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


def test_counters_are_0_before_the_first_event(scene: Scene) -> None:
    """MET-09, MET-12, MET-13, MET-15: a series that begins with the first failure shows no increase."""
    for family in ("IPv4", "IPv6"):
        assert scene.value("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", ip_family=family) == 0
        assert scene.value("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family=family) == 0
    for code in ("200", "503"):
        assert scene.value("kubeproxy_proxy_healthz_total", code=code) == 0
        assert scene.value("kubeproxy_proxy_livez_total", code=code) == 0
    for kind in ("virtual_server", "address", "ipset_entry", "ipset", "rules", "table"):
        assert scene.value("ipvsagent_drift_found_total", kind=kind) == 0
        assert scene.value("ipvsagent_drift_repaired_total", kind=kind) == 0


def test_drift_that_was_never_repaired_can_be_subtracted(scene: Scene) -> None:
    """DEV-01: the alert compares both counters, so both have the kind."""
    scene.inputs.counters.note_drift(Drift.RULES, 1, 0)
    assert scene.value("ipvsagent_drift_found_total", kind="rules") == 1
    assert scene.value("ipvsagent_drift_repaired_total", kind="rules") == 0
