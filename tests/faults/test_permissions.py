"""What the agent asks an API server for is what the chart's role grants, no less and no more."""

from __future__ import annotations

import re
from pathlib import Path

from apiserver.objects import service
from apiserver.server import ApiServer
from chart.rendering import only, render
from faults.test_api_source import Cluster, kubeconfig, server, wait_for
from ipvsagent.source.announce import Announcer
from ipvsagent.source.transport import KubernetesTransport
from unit.reconciler.node import SilentLogger

__all__ = ["server"]  # a fixture

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
    announcer = Announcer(KubernetesTransport(str(config)), "node-1", SilentLogger(), pause_seconds=0)
    server.put(service("late", "10.96.0.1"))
    with Cluster(server, config, announcer.announce) as cluster:
        announcer.start()
        cluster.source.ask_for_node("node-2")
        wait_for(lambda: bool(server.events), "a conflict is told")
        wait_for(
            lambda: any("fieldSelector=metadata.name%3Dnode-2" in r for r in server.requests), "a node is asked for"
        )
        wait_for(lambda: {"services", "endpointslices", "nodes"} <= watched(server), "all are watched")
    announcer.stop()
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
