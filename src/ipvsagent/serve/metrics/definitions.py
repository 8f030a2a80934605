"""The definitions of all metrics; `docs/metrics.md` is generated from them."""

from __future__ import annotations

from typing import NamedTuple

_SERVICE = ("namespace", "service", "port", "protocol")
_REAL_SERVER = (*_SERVICE, "endpoint")


class Definition(NamedTuple):
    """One metric family.

    Args:
        kind: counter, gauge or histogram.
        rule: of the behaviour specification; empty for metrics that only this agent has.
    """

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...] = ()
    rule: str = ""


_TRAFFIC = (
    ("connections_total", "Connections"),
    ("incoming_packets_total", "Packets from clients"),
    ("outgoing_packets_total", "Packets to clients"),
    ("incoming_bytes_total", "Bytes from clients"),
    ("outgoing_bytes_total", "Bytes to clients"),
)
_CONNECTIONS = (
    ("active_connections", "Current established connections"),
    ("inactive_connections", "Current connections that IPVS tracks but that are not established"),
)

SERVICE_TRAFFIC = tuple(
    Definition(
        f"ipvsagent_service_{name}", "counter", f"{text} of a Service's port, over all its virtual servers", _SERVICE
    )
    for name, text in _TRAFFIC
)
SERVICE_CONNECTIONS = tuple(
    Definition(
        f"ipvsagent_service_{name}", "gauge", f"{text} of a Service's port, over all its virtual servers", _SERVICE
    )
    for name, text in _CONNECTIONS
)
REAL_SERVER_TRAFFIC = tuple(
    Definition(f"ipvsagent_real_server_{name}", "counter", f"{text} of a real server", _REAL_SERVER)
    for name, text in _TRAFFIC
)
REAL_SERVER_CONNECTIONS = tuple(
    Definition(f"ipvsagent_real_server_{name}", "gauge", f"{text} of a real server", _REAL_SERVER)
    for name, text in _CONNECTIONS
)
NODE_TRAFFIC = tuple(
    Definition(
        f"ipvsagent_ipvs_{name}",
        "counter",
        f"{text} of all virtual servers of the node, including foreign ones",
    )
    for name, text in _TRAFFIC
)

KUBE_PROXY = (
    Definition(
        "kubeproxy_sync_proxy_rules_duration_seconds",
        "histogram",
        "Duration of a pass that an event requested",
        ("ip_family",),
        "MET-01",
    ),
    Definition(
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
        "gauge",
        "Unix time of the last event that requested a pass",
        ("ip_family",),
        "MET-02",
    ),
    Definition(
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
        "gauge",
        "Unix time of the last pass that completed all work",
        ("ip_family",),
        "MET-03",
    ),
    Definition(
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
        "gauge",
        "EndpointSlice events that no pass has handled yet",
        (),
        "MET-04",
    ),
    Definition("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", "EndpointSlice events", (), "MET-05"),
    Definition(
        "kubeproxy_sync_proxy_rules_service_changes_pending",
        "gauge",
        "Service events that no pass has handled yet",
        (),
        "MET-06",
    ),
    Definition("kubeproxy_sync_proxy_rules_service_changes_total", "counter", "Service events", (), "MET-07"),
    Definition(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "gauge",
        "Services with this traffic policy set to Local that have endpoints, but none on this node",
        ("traffic_policy", "ip_family"),
        "MET-08",
    ),
    Definition(
        "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
        "counter",
        "Failures to write iptables rules",
        ("ip_family",),
        "MET-09",
    ),
    Definition(
        "kubeproxy_network_programming_duration_seconds",
        "histogram",
        "Time from the cause of an EndpointSlice's change until the kernel has the change",
        ("ip_family",),
        "MET-10",
    ),
    Definition("kubeproxy_proxy_healthz_total", "counter", "Answers to /healthz by status code", ("code",), "MET-12"),
    Definition("kubeproxy_proxy_livez_total", "counter", "Answers to /livez by status code", ("code",), "MET-13"),
    Definition(
        "kubeproxy_conntrack_reconciler_sync_duration_seconds",
        "histogram",
        "Duration of finding and deleting stale flows",
        ("ip_family",),
        "MET-14",
    ),
    Definition(
        "kubeproxy_conntrack_reconciler_deleted_entries_total",
        "counter",
        "Stale flows deleted",
        ("ip_family",),
        "MET-15",
    ),
)

API_REQUESTS = (
    Definition(
        "rest_client_requests_total",
        "counter",
        "Requests to the API server; the code is `<error>` if there was no answer",
        ("code", "host", "method"),
        "MET-21",
    ),
    Definition(
        "rest_client_request_duration_seconds",
        "histogram",
        "Time until the API server began to answer",
        ("host", "verb"),
        "MET-21",
    ),
    Definition(
        "rest_client_request_size_bytes",
        "histogram",
        "Size of the bodies of requests to the API server",
        ("host", "verb"),
        "MET-21",
    ),
    Definition(
        "rest_client_response_size_bytes",
        "histogram",
        "Size of the bodies of the API server's responses; watches are not counted",
        ("host", "verb"),
        "MET-21",
    ),
)
"""Metrics with client-go's names; absent without an API server."""

KUBERNETES = (
    Definition(
        "kubernetes_build_info",
        "gauge",
        "1, with the agent's version in the labels of Kubernetes' components",
        (
            "build_date",
            "compiler",
            "git_commit",
            "git_tree_state",
            "git_version",
            "go_version",
            "major",
            "minor",
            "platform",
        ),
        "MET-21",
    ),
    Definition(
        "kubernetes_feature_enabled",
        "gauge",
        "1 if a feature gate that the agent supports is on, else 0",
        ("name", "stage"),
        "MET-21",
    ),
)
"""Metrics that all components of Kubernetes have."""

OWN = (
    Definition(
        "ipvsagent_build_info", "gauge", "1, with the versions of the agent and of Python", ("version", "python")
    ),
    Definition("ipvsagent_complete", "gauge", "1 if all objects were listed once, else 0"),
    Definition("ipvsagent_synchronised", "gauge", "1 if the kernel holds all of the desired state, else 0"),
    Definition("ipvsagent_configuration_refused", "gauge", "1 if the newest configuration was refused, else 0"),
    Definition("ipvsagent_configuration_waiting_fields", "gauge", "Configured fields that need a restart"),
    Definition("ipvsagent_services", "gauge", "Services with a plan"),
    Definition("ipvsagent_virtual_servers", "gauge", "Virtual servers desired"),
    Definition(
        "ipvsagent_kernel_operations_total",
        "counter",
        "Operations on the kernel by operation and result",
        ("operation", "result"),
    ),
    Definition(
        "ipvsagent_node_tasks_total",
        "counter",
        "Node-wide tasks by task and result",
        ("task", "result"),
    ),
    Definition(
        "ipvsagent_change_to_kernel_seconds",
        "histogram",
        "Time from the arrival of an object's change until it is written to the kernel",
    ),
    Definition("ipvsagent_drift_found_total", "counter", "Items that other programs changed in the kernel", ("kind",)),
    Definition("ipvsagent_drift_repaired_total", "counter", "Changed items that were repaired", ("kind",)),
    Definition("ipvsagent_failing_items", "gauge", "Items that could not be written and are retried"),
    Definition("ipvsagent_conflicts", "gauge", "Virtual servers that a Service claims but another Service owns"),
    Definition("ipvsagent_refused_addresses", "gauge", "Addresses of Services that are never served"),
    Definition("ipvsagent_invalid_objects", "gauge", "Objects that are ignored in part or as a whole", ("kind",)),
    Definition("ipvsagent_draining_real_servers", "gauge", "Removed real servers that still have connections"),
    Definition(
        "ipvsagent_api_data_age_seconds",
        "gauge",
        "Time since the API server last confirmed the served objects by a list, an event or a bookmark; the longest "
        "time of all kinds of objects",
    ),
    Definition("ipvsagent_ipset_entries", "gauge", "Entries of an ipset", ("set",)),
    Definition("ipvsagent_ipset_max_entries", "gauge", "Entries that fit into an ipset (`maxelem`)", ("set",)),
    Definition(
        "ipvsagent_ipvs_timeout_seconds",
        "gauge",
        "How long IPVS remembers an idle connection (`ipvsadm --set`)",
        ("kind",),
    ),
    Definition("ipvsagent_ipvs_connection_table_size", "gauge", "Buckets of the IPVS connection table"),
    Definition(
        "ipvsagent_ipvs_estimation",
        "gauge",
        "1 if the kernel's rate estimation runs all the time; 0 if it is off, or runs only for scrapes",
    ),
    Definition(
        "ipvsagent_real_server_metrics_left_out",
        "gauge",
        "Virtual servers whose real servers have no separate metrics, because there are more than 10,000 real servers",
    ),
    Definition("ipvsagent_statistics_read_seconds", "gauge", "How long the last reading of the kernel's counters took"),
    Definition("ipvsagent_statistics_failures_total", "counter", "Failed readings of the kernel's counters"),
)

PROCESS = (
    Definition("process_cpu_seconds_total", "counter", "User and system CPU time spent", (), "MET-21"),
    Definition("process_max_fds", "gauge", "Limit of open file descriptors", (), "MET-21"),
    Definition("process_open_fds", "gauge", "Open file descriptors", (), "MET-21"),
    Definition("process_resident_memory_bytes", "gauge", "Resident memory", (), "MET-21"),
    Definition("process_start_time_seconds", "gauge", "Unix time of the start of the process", (), "MET-21"),
    Definition("process_virtual_memory_bytes", "gauge", "Virtual memory", (), "MET-21"),
)
"""Metrics that prometheus_client provides."""

BY_NAME = {d.name: d for d in (*KUBE_PROXY, *API_REQUESTS, *KUBERNETES, *OWN)}
"""The metrics made from the agent's own numbers, by name."""

EVERY = (
    *KUBE_PROXY,
    *API_REQUESTS,
    *KUBERNETES,
    *OWN,
    *NODE_TRAFFIC,
    *SERVICE_TRAFFIC,
    *SERVICE_CONNECTIONS,
    *REAL_SERVER_TRAFFIC,
    *REAL_SERVER_CONNECTIONS,
    *PROCESS,
)
