"""The manifests are valid, and grant no more than what is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest

from chart.rendering import (
    MATRIX,
    ROOT,
    Manifest,
    Values,
    cleanup_daemon_set,
    containers_of,
    only,
    pod_of,
    render,
    with_pods,
)
from ipvsagent.config.load import parse_configuration
from ipvsagent.config.values import HEALTH_PORT, SCHEDULERS

ROWS = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
# The oldest version that the chart allows, and two current ones.
VERSIONS = ("1.27", "1.35", "1.37")
WITHOUT_SCHEMA = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}  # kinds of Prometheus Operator
HOST_PATHS = {"/lib/modules": True, "/run/xtables.lock": False, "/proc/sys/net": False}  # whether read-only

Permission = tuple[str, str, str, str]


@pytest.mark.parametrize("version", VERSIONS)
@ROWS
def test_manifests_fit_the_schemas_of_kubernetes(values: Values, version: str) -> None:
    """Strictly: a field that does not exist is an error, too."""
    for manifest in [*render(values), *filter(None, [cleanup_daemon_set(render(values))])]:
        if manifest["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schemas_would_find_a_mistake() -> None:
    """What the test above relies on."""
    daemon_set = only(render({}), "DaemonSet")
    broken = {**daemon_set, "spec": {**daemon_set["spec"], "selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="selektor"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@ROWS
def test_no_container_has_more_rights_than_it_needs(values: Values) -> None:
    """No privileges, nothing writable, seccomp; the capabilities are looked at below."""
    for manifest in with_pods(render(values)):
        pod = pod_of(manifest)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
        for container in containers_of(manifest):
            context = container["securityContext"]
            assert context["privileged"] is False
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert set(context) <= {
                *("privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"),
                *("runAsUser", "runAsGroup", "runAsNonRoot"),
            }


@pytest.mark.parametrize(
    ("row", "capabilities"),
    [
        ("default", {"modules": ["SYS_MODULE"], "ipvsagent": ["NET_ADMIN", "NET_RAW"]}),
        ("nft", {"modules": ["SYS_MODULE"], "ipvsagent": ["NET_ADMIN", "NET_RAW"]}),
        ("least privilege", {"ipvsagent": ["NET_ADMIN", "NET_RAW"]}),
    ],
)
def test_capabilities_are_those_that_the_rules_and_modules_need(row: str, capabilities: dict[str, list[str]]) -> None:
    """NET_RAW for the raw sockets of iptables, SYS_MODULE for modprobe alone."""
    daemon_set = only(render(MATRIX[row]), "DaemonSet")
    assert {c["name"]: c["securityContext"]["capabilities"]["add"] for c in containers_of(daemon_set)} == capabilities


def test_every_scheduler_is_loaded_before_the_agent_starts() -> None:
    """The agent may not load one; a new one in the values must work without a restart."""
    (modules,) = [c for c in containers_of(only(render({}), "DaemonSet")) if c["name"] == "modules"]
    assert {w for w in modules["command"] if w.startswith("ip_vs_")} == {f"ip_vs_{name}" for name in SCHEDULERS}


@ROWS
def test_the_cleanup_has_the_rights_of_the_agent_and_its_job_none(values: Values) -> None:
    """What may write state may remove it."""
    manifests = render(values)
    cleanup = cleanup_daemon_set(manifests)
    if cleanup is None:
        assert values["cleanup"] == {"enabled": False}
        return
    agent = only([m for m in manifests if m["kind"] == "DaemonSet"], "DaemonSet")
    (running,) = pod_of(agent)["containers"]
    (removing,) = pod_of(cleanup)["initContainers"]
    assert removing["securityContext"] == running["securityContext"]
    for container in [*pod_of(cleanup)["containers"], *containers_of(only(manifests, "Job"))]:
        assert container["securityContext"]["runAsNonRoot"] is True
        assert "add" not in container["securityContext"]["capabilities"]


@ROWS
def test_paths_of_the_host_are_mounted_only_where_they_are_needed(values: Values) -> None:
    """The modules, the lock, the settings of the network: each in a container, read-only where that is enough."""
    for manifest in with_pods(render(values)):
        volumes = {v["name"]: v["hostPath"]["path"] for v in pod_of(manifest).get("volumes", []) if "hostPath" in v}
        assert set(volumes.values()) <= HOST_PATHS.keys()
        mounted = [m for c in containers_of(manifest) for m in c.get("volumeMounts", []) if m["name"] in volumes]
        assert {m["name"] for m in mounted} == volumes.keys()
        for mount in mounted:
            assert mount.get("readOnly", False) is HOST_PATHS[volumes[mount["name"]]]


def test_the_least_privileges_leave_out_the_settings_of_the_host() -> None:
    """Where the host sets them itself."""
    daemon_set = only(render(MATRIX["least privilege"]), "DaemonSet")
    paths = {v["hostPath"]["path"] for v in pod_of(daemon_set)["volumes"] if "hostPath" in v}
    assert paths == {"/lib/modules", "/run/xtables.lock"}
    (agent,) = pod_of(daemon_set)["containers"]
    assert "IPVSAGENT_NETWORK_SETTINGS" not in {e["name"] for e in agent["env"]}


@ROWS
def test_only_what_talks_to_the_api_server_has_a_token(values: Values) -> None:
    """The agent, and the Job of the cleanup."""
    manifests = render(values)
    assert all(m["automountServiceAccountToken"] is False for m in manifests if m["kind"] == "ServiceAccount")
    for manifest in with_pods(manifests):
        assert pod_of(manifest)["automountServiceAccountToken"] is False
        holders = {
            c["name"]
            for c in containers_of(manifest)
            if any(m["mountPath"].startswith("/var/run/secrets") for m in c.get("volumeMounts", []))
        }
        name = manifest["metadata"]["name"]
        expected = {"cleanup"} if manifest["kind"] == "Job" else {"ipvsagent"}
        assert holders == (set() if manifest["kind"] == "DaemonSet" and name.endswith("-cleanup") else expected)


@ROWS
def test_the_role_is_exactly_what_the_documentation_lists(values: Values) -> None:
    """docs/reference/api-access.md, section Permissions."""
    manifests = render(values)
    assert set(_granted(only(manifests, "ClusterRole"))) == set(_documented("## Permissions"))
    binding, daemon_set = only(manifests, "ClusterRoleBinding"), only(manifests, "DaemonSet")
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": pod_of(daemon_set)["serviceAccountName"],
            "namespace": daemon_set["metadata"]["namespace"],
        }
    ]


def test_the_roles_of_the_cleanup_are_exactly_what_the_documentation_lists() -> None:
    """docs/reference/api-access.md, section Uninstalling; they exist during the hook alone."""
    manifests = render({"fullnameOverride": "NAME"})
    roles = [m for m in manifests if m["kind"] == "Role"]
    assert {p for role in roles for p in _granted(role)} == set(_documented("## Uninstalling"))
    for manifest in manifests:
        if manifest["kind"] in {"Role", "RoleBinding"}:
            assert manifest["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
            assert "hook-succeeded" in manifest["metadata"]["annotations"]["helm.sh/hook-delete-policy"]


def test_a_known_api_server_saves_the_cleanup_a_role() -> None:
    """It need not be looked for in another namespace."""
    namespaces = {m["metadata"]["namespace"] for m in render({"apiServer": {"host": "x"}}) if m["kind"] == "Role"}
    assert namespaces == {"kube-system"}


def _granted(role: Manifest) -> Iterator[Permission]:
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames", [""]):
                        yield group, resource, verb, name


def _documented(heading: str) -> Iterator[Permission]:
    """From a table with the columns API group, resource, verbs, and perhaps names."""
    text = (ROOT / "docs/reference/api-access.md").read_text(encoding="utf-8")
    section = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    names_at = rows[0].index("Names") if "Names" in rows[0] else None
    for row in rows[2:]:
        names = re.findall(r"`([^`]+)`", row[names_at]) if names_at is not None else []
        for group in row[0].split(", "):
            for verb in row[2].split(", "):
                for name in names or [""]:
                    yield group.replace("(core)", ""), row[1], verb, name


@ROWS
def test_the_agent_runs_on_every_node_and_stays(values: Values) -> None:
    """In the host's network, with every taint tolerated, and never evicted for another pod."""
    pod = pod_of(only(render(values), "DaemonSet"))
    assert pod["hostNetwork"] is True
    assert pod["dnsPolicy"] == "Default"
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"]["kubernetes.io/os"] == "linux"


@ROWS
def test_probes_ask_where_the_agent_answers(values: Values) -> None:
    """HC-01: `/livez` decides about a restart, `/healthz` about readiness."""
    manifests = render(values)
    (agent,) = pod_of(only(manifests, "DaemonSet"))["containers"]
    text = next(m["data"]["configuration.yaml"] for m in manifests if "configuration.yaml" in m.get("data", {}))
    listen = parse_configuration(text).settings.health_listen
    expected: dict[str, Any] = {"port": listen.port}
    if not listen.address.is_unspecified:
        expected["host"] = str(listen.address)
    assert agent["startupProbe"]["httpGet"] == {"path": "/livez", **expected}
    assert agent["livenessProbe"]["httpGet"] == {"path": "/livez", **expected}
    assert agent["readinessProbe"]["httpGet"] == {"path": "/healthz", **expected}


def test_health_is_served_on_the_port_of_kube_proxy() -> None:
    """CFG-04: load balancers ask there."""
    (agent,) = pod_of(only(render({}), "DaemonSet"))["containers"]
    assert agent["livenessProbe"]["httpGet"]["port"] == HEALTH_PORT == 10256


@ROWS
def test_no_host_port_keeps_a_new_pod_from_its_node(values: Values) -> None:
    """A surge starts it beside the old one."""
    assert all("ports" not in c for m in with_pods(render(values)) for c in containers_of(m))


@ROWS
def test_every_container_says_what_it_needs(values: Values) -> None:
    """A limit of memory, none of CPU time, which would delay changes."""
    for manifest in with_pods(render(values)):
        for container in containers_of(manifest):
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"memory"}


def test_updates_go_node_by_node() -> None:
    """A tenth of the nodes at once, or beside the old agent."""
    strategy = only(render({}), "DaemonSet")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0}}
    strategy = only(render(MATRIX["everything"]), "DaemonSet")["spec"]["updateStrategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "25%"}


def test_migration_concerns_labelled_nodes_alone() -> None:
    """The agent, and the cleanup of its state."""
    manifests = render(MATRIX["migration"])
    cleanup = cleanup_daemon_set(manifests)
    assert cleanup is not None
    for manifest in (only(manifests, "DaemonSet"), cleanup):
        assert pod_of(manifest)["nodeSelector"] == {
            "kubernetes.io/os": "linux",
            "ipvsagent.io/service-proxy": "ipvsagent",
        }


@ROWS
def test_the_api_server_is_asked_where_the_values_say(values: Values) -> None:
    """By the agent, and by the Job of the cleanup, which looks for it otherwise."""
    manifests = render(values)
    host = values.get("apiServer", {}).get("host")
    for manifest in manifests:
        if manifest["kind"] in {"DaemonSet", "Job"}:
            container = pod_of(manifest)["containers"][0]
            environment = {e["name"]: e.get("value") for e in container.get("env", [])}
            assert environment.get("KUBERNETES_SERVICE_HOST") == host
            if manifest["kind"] == "Job":
                assert ("--find-api-server" in container["command"]) is (host is None)


@ROWS
def test_a_selector_finds_the_agents_alone(values: Values) -> None:
    """Neither the pods of the cleanup nor those of another release."""
    manifests = render(values)
    agent = only(manifests, "DaemonSet")
    selector = agent["spec"]["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/instance"] == "proxy"
    for manifest in with_pods(manifests):
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        assert (selector.items() <= labels.items()) is (manifest is agent)


def test_memory_is_what_was_measured_and_more() -> None:
    """10,000 Services with 10 endpoints each fit into the request; the limit has room for bursts of changes."""
    results = json.loads((ROOT / "bench/results.json").read_text(encoding="ascii"))
    largest = max(results["native"]["nodes"], key=lambda node: node["services"])
    assert largest["services"] >= 10_000
    (agent,) = pod_of(only(render({}), "DaemonSet"))["containers"]
    request, limit = (
        int(re.fullmatch(r"(\d+)Mi", agent["resources"][name]["memory"])[1])  # type: ignore[index]  # it fails then
        for name in ("requests", "limits")
    )
    assert largest["programmed_mebibytes"] < request
    assert 4 * largest["programmed_mebibytes"] < limit
    page = (ROOT / "docs/guides/operations.md").read_text(encoding="utf-8")
    assert f"The chart requests {request} MiB and limits memory to {limit} MiB." in page
