"""Remove the agent's state from its nodes; the chart runs this in a Job after the release is deleted.

The agents have to be gone first, because they would repair what is removed. Then a DaemonSet runs `ipvsagent cleanup`
on every node where they could run. A pod is ready when its node is clean. Nodes that stay dirty are named.

The Job owns the DaemonSet and the objects that it needs itself, so that Kubernetes deletes them with the Job, whatever
happens to this program or to Helm.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config

NOT_FOUND, CONFLICT = 404, 409
DENIED = (401, 403)
NOT_CLEAN = 3  # the Job does not retry after this exit code
PAUSE_SECONDS = 1.0
REQUEST_SECONDS = 5.0
PERMITTED_SECONDS = 15.0  # a new role counts after a moment
ANSWER_SECONDS = 60.0  # within this time, a kubelet that is alive has seen its pod


class Failed(Exception):
    """The cleanup cannot go on."""


class Cluster:
    """The API server, at the first address that answers.

    The cluster IP works only until the state is removed from this node, so the servers behind it are used.
    """

    def __init__(self, configured: str, deadline: float) -> None:
        self._deadline = deadline
        self._permitted_at = time.monotonic() + PERMITTED_SECONDS
        host = client.Configuration.get_default_copy().host.partition("://")[2]
        self._clients = [self._client_for(host, server_name=None)]
        if configured:
            self._clients.append(self._client_for(configured, server_name=None))

    def use_servers(self) -> None:
        """Prefer the servers themselves to the addresses that lead to them."""
        found: Any = self.ask(
            lambda api: client.DiscoveryV1Api(api).read_namespaced_endpoint_slice, "kubernetes", "default"
        )
        addresses = [a for e in (found and found.endpoints) or () for a in e.addresses]
        hosts = [f"[{a}]" if ":" in a else a for a in addresses]
        # Certificates know them by the name of the Service, whatever their address.
        direct = [self._client_for(f"{h}:{found.ports[0].port}", server_name="kubernetes.default.svc") for h in hosts]
        self._clients = direct + self._clients

    def ask(self, method: Callable[[client.ApiClient], Callable[..., Any]], *words: Any, **more: Any) -> Any:
        """Call a method of an API until a server answers; None if the object does not exist.

        Raises:
            Failed: not permitted, or no answer in time.
        """
        while True:
            try:
                return method(self._clients[0])(*words, **more, _request_timeout=REQUEST_SECONDS)
            except client.ApiException as error:
                if error.status == NOT_FOUND:
                    return None
                late = time.monotonic() > self._permitted_at
                if error.status == CONFLICT or (error.status in DENIED and late):
                    raise Failed(f"the API server answers {error.status} {error.reason}") from error
                reason = f"{error.status} {error.reason}"
            except (urllib3.exceptions.HTTPError, OSError) as error:
                reason = type(error).__name__
                self._clients.append(self._clients.pop(0))
            if time.monotonic() > self._deadline:
                hosts = ", ".join(sorted({c.configuration.host for c in self._clients}))
                raise Failed(f"no API server answers at {hosts}: {reason}")
            time.sleep(PAUSE_SECONDS)

    def _client_for(self, server: str, *, server_name: str | None) -> client.ApiClient:
        settings = client.Configuration.get_default_copy()
        settings.retries = False
        settings.host = f"{settings.host.partition('://')[0]}://{server}"
        settings.tls_server_name = server_name
        return client.ApiClient(settings)


def main(words: list[str]) -> int:
    """Return 0 if the state was removed from all nodes, else 3."""
    options = _parse(words)
    deadline = time.monotonic() + options.timeout
    manifest = yaml.safe_load(options.manifest.read_text(encoding="utf-8"))
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        cluster = Cluster(options.api_server, deadline)
        cluster.use_servers()
        dirty = _clean(cluster, manifest, options, deadline)
    except (Failed, config.ConfigException) as error:
        print(f"error: {error}", file=sys.stderr)
        print("hint: run `ipvsagent cleanup` on each node, or restart the nodes", file=sys.stderr)
        return NOT_CLEAN
    for node, reason in sorted(dirty.items()):
        print(f"error: node {node} is not clean: {reason}", file=sys.stderr)
    if dirty:
        print("hint: run `ipvsagent cleanup` on these nodes, or restart them", file=sys.stderr)
    return NOT_CLEAN if dirty else 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", required=True, help="name of the agent's DaemonSet")
    parser.add_argument("--manifest", required=True, type=Path, help="the DaemonSet that removes the state")
    parser.add_argument("--timeout", required=True, type=float, help="seconds for all of it")
    parser.add_argument("--api-server", default="", help="HOST:PORT to try if the cluster IP does not answer")
    return parser.parse_args(words)


def _clean(cluster: Cluster, manifest: Any, options: argparse.Namespace, deadline: float) -> dict[str, str]:
    """Clean all nodes.

    Returns:
        The nodes that are not clean, and why.
    """
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": os.environ["JOB_UID"]}
    _own(cluster, namespace, name, job)
    print(f"stopping the agents of DaemonSet {options.agent}", flush=True)
    _delete(cluster, namespace, options.agent)
    agents = _selector(manifest, component="agent")
    running = _wait_until_gone(cluster, namespace, agents, min(deadline, time.monotonic() + ANSWER_SECONDS))
    manifest["metadata"]["ownerReferences"] = [job]
    _create(cluster, namespace, manifest, job["uid"], deadline)
    dirty = _watch(cluster, namespace, manifest, deadline)
    _delete(cluster, namespace, name)
    return {node: "the agent still runs" for node in running if node} | dirty


def _own(cluster: Cluster, namespace: str, name: str, job: dict[str, str]) -> None:
    """Make the Job the owner of what it needs, so that all of it goes with the Job."""
    body = {"metadata": {"ownerReferences": [job]}}
    for method in (
        lambda api: client.CoreV1Api(api).patch_namespaced_config_map,
        lambda api: client.CoreV1Api(api).patch_namespaced_service_account,
        lambda api: client.RbacAuthorizationV1Api(api).patch_namespaced_role,
        lambda api: client.RbacAuthorizationV1Api(api).patch_namespaced_role_binding,
    ):
        cluster.ask(method, name, namespace, body)


def _selector(manifest: Any, *, component: str) -> str:
    labels = manifest["spec"]["selector"]["matchLabels"] | {"app.kubernetes.io/component": component}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _delete(cluster: Cluster, namespace: str, name: str) -> None:
    """Delete a DaemonSet; not in the foreground, where a pod on a dead node would keep it."""
    cluster.ask(
        lambda api: client.AppsV1Api(api).delete_namespaced_daemon_set,
        name,
        namespace,
        propagation_policy="Background",
    )


def _create(cluster: Cluster, namespace: str, manifest: Any, job_uid: str, deadline: float) -> None:
    """Create the DaemonSet; one from an earlier try of this Job will do, one of an earlier Job has to go."""
    name = manifest["metadata"]["name"]
    while True:
        found = _daemon_set(cluster, namespace, name)
        if found is None:
            cluster.ask(lambda api: client.AppsV1Api(api).create_namespaced_daemon_set, namespace, manifest)
            return
        if not found.metadata.deletion_timestamp:
            if any(owner.uid == job_uid for owner in found.metadata.owner_references or ()):
                return
            _delete(cluster, namespace, name)
        if time.monotonic() > deadline:
            raise Failed(f"DaemonSet {name} of an earlier cleanup does not go")
        time.sleep(PAUSE_SECONDS)


def _daemon_set(cluster: Cluster, namespace: str, name: str) -> Any:
    return cluster.ask(lambda api: client.AppsV1Api(api).read_namespaced_daemon_set, name, namespace)


def _pods(cluster: Cluster, namespace: str, selector: str) -> list[Any]:
    found = cluster.ask(lambda api: client.CoreV1Api(api).list_namespaced_pod, namespace, label_selector=selector)
    return list(found.items) if found else []


def _wait_until_gone(cluster: Cluster, namespace: str, selector: str, deadline: float) -> list[str]:
    """Return the nodes whose agents are still there at the deadline: their kubelets do not answer."""
    while True:
        left = _pods(cluster, namespace, selector)
        if not left or time.monotonic() > deadline:
            return [_node_of(pod) for pod in left]
        time.sleep(PAUSE_SECONDS)


def _watch(cluster: Cluster, namespace: str, manifest: Any, deadline: float) -> dict[str, str]:
    """Wait until every node is clean, or until those that are not cannot be expected to become clean."""
    name, selector = manifest["metadata"]["name"], _selector(manifest, component="cleanup")
    silent_at, shown = time.monotonic() + ANSWER_SECONDS, ""
    while True:
        status = getattr(_daemon_set(cluster, namespace, name), "status", None)
        pods = {_node_of(pod): pod for pod in _pods(cluster, namespace, selector)}
        dirty = {node: _reason(pod) for node, pod in pods.items() if not _is_ready(pod)}
        wanted = status.desired_number_scheduled if status and status.observed_generation else None
        line = f"{len(pods) - len(dirty)} of {'?' if wanted is None else wanted} nodes are clean"
        if line != shown:
            print(shown := line, flush=True)
        if wanted is not None and len(pods) >= wanted and not dirty:
            return {}
        silent = wanted is not None and len(pods) >= wanted and not any(pods[n].status.start_time for n in dirty)
        now = time.monotonic()
        if now > deadline and not pods:
            raise Failed("no pod of the cleanup was created")
        if now > deadline or (silent and now > silent_at):
            return dirty
        time.sleep(PAUSE_SECONDS)


def _is_ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


def _node_of(pod: Any) -> str:
    """Return the node on which a pod runs, or for which it was created."""
    if pod.spec.node_name:
        return str(pod.spec.node_name)
    affinity = pod.spec.affinity and pod.spec.affinity.node_affinity
    required = affinity and affinity.required_during_scheduling_ignored_during_execution
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields or ():
            return str(field.values[0])
    return str(pod.metadata.name)


def _reason(pod: Any) -> str:
    return next(_reasons(pod), "the cleanup has not finished")


def _reasons(pod: Any) -> Iterator[str]:
    if not pod.status.start_time:
        yield "its kubelet does not answer"
    for container in pod.status.init_container_statuses or ():
        for state in (container.state, container.last_state):
            ended, waiting = state and state.terminated, state and state.waiting
            if ended and ended.exit_code:
                yield f"`ipvsagent cleanup` ends with exit code {ended.exit_code}: {(ended.message or '').strip()}"
            if waiting and waiting.reason not in {"PodInitializing", "CrashLoopBackOff"}:
                yield f"{waiting.reason}: {(waiting.message or '').strip()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
