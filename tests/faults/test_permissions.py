"""What the agent asks an API server for is what the chart's role grants, no less and no more."""

from __future__ import annotations

import re
from pathlib import Path

from apiserver.objects import service
from apiserver.server import ApiServer
from chart.rendering import only, render
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.event_recorder import EventRecorder
from ipvsagent.source.transport import KubernetesTransport
from support.api_cluster import Cluster, kubeconfig
from support.fake_node import SilentLogger
from support.waiting import wait_until

Permission = tuple[str, str, str]
_PATH = re.compile(
    r"(?P<post>POST )?/(?:api/v1|apis/(?P<group>[^/]+)/v1)(?:/namespaces/[^/]+)?/(?P<resource>[a-z]+)(?P<name>/[^?]+)?"
)


def _permission(request: str) -> Permission:
    """API group, resource and verb that a request needs; for the verb the server looks at path and query alone."""
    found = _PATH.match(request)
    assert found, request
    asked = "create" if found["post"] else "get" if found["name"] else "watch" if "watch=true" in request else "list"
    return found["group"] or "", found["resource"], asked


def test_the_role_grants_what_is_asked_for_and_nothing_else(server: ApiServer, tmp_path: Path) -> None:
    """Lists, watches, addresses of the nodes, a question for a node that may be gone, and an event."""
    config = kubeconfig(tmp_path / "kubeconfig", server.url)
    recorder = EventRecorder(KubernetesTransport(ApiAccess(str(config))), "node-1", SilentLogger(), pause_seconds=0)
    server.put(service("late", "10.96.0.1"))
    with Cluster(server, config, recorder.record) as cluster:
        recorder.start()
        cluster.source.ask_for_node("node-2")
        wait_until(lambda: bool(server.events), "a conflict is reported")
        wait_until(
            lambda: any("fieldSelector=metadata.name%3Dnode-2" in r for r in server.requests), "a node is asked for"
        )
        wait_until(lambda: {"services", "endpointslices", "nodes"} <= watched(server), "all are watched")
    recorder.stop()
    granted = {
        (group, resource, verb)
        for rule in only(render({}), "ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {_permission(request) for request in server.requests} == granted


def watched(server: ApiServer) -> set[str]:
    """The resources that have been watched."""
    return {resource for _, resource, verb in map(_permission, server.requests) if verb == "watch"}
