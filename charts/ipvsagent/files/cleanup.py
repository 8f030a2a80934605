"""Remove the agent's state from its nodes; a hook of the chart runs this before the release is deleted.

It stops the agents first, because they would repair what is removed. Then a DaemonSet runs `ipvsagent cleanup` on every
node where they ran. When all of its pods are ready, the DaemonSet is deleted too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config

NOT_FOUND = 404
PAUSE_SECONDS = 1.0


class TimedOut(Exception):
    """A condition was not met in time."""


def main(words: list[str]) -> int:
    """Return 0 if the state was removed from all nodes, else 1."""
    options = _parse(words)
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    if options.find_api_server:
        _talk_to_a_server_itself()
    deadline = time.monotonic() + options.timeout
    manifest = yaml.safe_load(options.manifest.read_text(encoding="utf-8"))
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    try:
        print(f"stopping the agents of DaemonSet {options.agent}", flush=True)
        _delete(namespace, options.agent, deadline)
        _delete(namespace, name, deadline)  # an earlier try's
        client.AppsV1Api().create_namespaced_daemon_set(namespace, manifest)
        try:
            _wait(f"DaemonSet {name} ready", lambda: _is_ready(namespace, name), deadline)
        finally:
            _delete(namespace, name, None)
    except TimedOut as error:
        print(f"error: {error}", file=sys.stderr)
        print("hint: see the pods' logs; `helm uninstall --no-hooks` leaves the state in place", file=sys.stderr)
        return 1
    return 0


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", required=True, help="name of the agent's DaemonSet")
    parser.add_argument("--manifest", required=True, type=Path, help="the DaemonSet that removes the state")
    parser.add_argument("--timeout", required=True, type=float, help="seconds for all of it")
    parser.add_argument("--find-api-server", action="store_true", help="do not rely on the cluster IP")
    return parser.parse_args(words)


def _talk_to_a_server_itself() -> None:
    """The cluster IP works until the state is removed; behind it are servers that need no Service.

    They are known to certificates by the Service's name, whatever their address.
    """
    found: Any = client.DiscoveryV1Api().read_namespaced_endpoint_slice("kubernetes", "default")
    address, port = found.endpoints[0].addresses[0], found.ports[0].port
    settings = client.Configuration.get_default_copy()
    scheme = settings.host.partition("://")[0]
    settings.host = f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"
    settings.tls_server_name = "kubernetes.default.svc"
    client.Configuration.set_default(settings)


def _delete(namespace: str, name: str, deadline: float | None) -> None:
    """Delete a DaemonSet; with a deadline, wait until its pods are gone, too."""
    try:
        client.AppsV1Api().delete_namespaced_daemon_set(name, namespace, propagation_policy="Foreground")
    except client.ApiException as error:
        if error.status != NOT_FOUND:
            raise
    if deadline is not None:
        _wait(f"DaemonSet {name} gone", lambda: _read(namespace, name) is None, deadline)


def _is_ready(namespace: str, name: str) -> bool:
    """Whether a pod runs on every node where one should: each runs only after its cleanup was done."""
    found = _read(namespace, name)
    if found is None or (found.status.observed_generation or 0) < found.metadata.generation:
        return False
    print(f"{found.status.number_ready} of {found.status.desired_number_scheduled} nodes are clean", flush=True)
    return bool(found.status.number_ready == found.status.desired_number_scheduled)


def _read(namespace: str, name: str) -> Any:
    """A DaemonSet; None if there is none."""
    try:
        return client.AppsV1Api().read_namespaced_daemon_set(name, namespace)
    except client.ApiException as error:
        if error.status == NOT_FOUND:
            return None
        raise


def _wait(what: str, happened: Callable[[], bool], deadline: float) -> None:
    while not happened():
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not in time")
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
