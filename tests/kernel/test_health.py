"""What load balancers, kubelet and people are told over HTTP, asked from where they ask."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest
from lab.speed import scaled
from lab.topology import BRIDGE_ADDRESS, NODE_ADDRESS, NODE_ADDRESS_6

from kernel.manifests import Manifest, endpoint_slice, port, service
from kernel.manifests import node as node_manifest
from kernel.node import Node
from kernel.processes import wait_for

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
HEALTH_PORT = 32000
PORTS = (port(80, node_port=30080),)


def web(*cluster_ips: str, **spec: Any) -> Manifest:
    """A LoadBalancer Service with a health check node port."""
    made: dict[str, Any] = {"externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH_PORT, **spec}
    return service("web", *(cluster_ips or (VIP, VIP_6)), ports=PORTS, type="LoadBalancer", **made)


def serve(node: Node, *pods: str) -> None:
    """The Service in both families on some pods."""
    slices = [endpoint_slice("web", *pods, ipv6=ipv6, ports=PORTS) for ipv6 in (False, True)]
    node.manifests.write("web", web(), *slices)


class Answer:
    """A response; OSError if there is none.

    Attributes:
        body: as it came.
        headers: the ones a client may rely on, with date and length left out.
    """

    def __init__(self, node: Node, where: str, address: str, number: int, path: str = "/", method: str = "GET") -> None:
        connection = http.client.HTTPConnection(address, number, timeout=scaled(5))
        with node.namespace(where).inside():
            connection.connect()
        connection.request(method, path)
        response = connection.getresponse()
        self.status = response.status
        self.body = response.read()
        self.headers = {k: v for k, v in response.getheaders() if k not in ("Date", "Content-Length")}
        connection.close()


def answers(node: Node, where: str, address: str, number: int, path: str = "/") -> int:
    """The status of an answer; 0 if there is none."""
    try:
        return Answer(node, where, address, number, path).status
    except OSError:
        return 0


def wait_for_status(node: Node, where: str, address: str, number: int, status: int, *, path: str = "/") -> None:
    """Wait until an answer has a status; 0 is no answer."""
    what = f"{address}:{number}{path} answers {status} to {where}"
    wait_for(lambda: answers(node, where, address, number, path) == status, what)


@pytest.mark.usefixtures("every_variant")
def test_a_load_balancer_learns_where_local_endpoints_are(node: Node) -> None:
    """HC-10 to HC-17, IPT-57, IPT-74: 200 and 503 with body and headers, whatever the INPUT policy; gone when gone."""
    serve(node, "p1", "p2", "remote")
    node.start_agent()
    node.wait_for_service(f"{VIP}:80/tcp", "p1", "p2", "remote")
    for program, ping in (("iptables", "icmp"), ("ip6tables", "ipv6-icmp")):
        node.run(f"{program}-{node.variant}", "-A", "INPUT", "-p", ping, "-j", "ACCEPT")  # neighbour discovery
        node.run(f"{program}-{node.variant}", "-P", "INPUT", "DROP")
    for address in (NODE_ADDRESS, NODE_ADDRESS_6, VIP):
        wait_for_status(node, "client", address, HEALTH_PORT, 200)
        answer = Answer(node, "client", address, HEALTH_PORT, "/any", "POST")
        assert answer.status == 200
        assert answer.headers == {
            "Content-Type": "application/json",
            "X-Content-Type-Options": "nosniff",
            "X-Load-Balancing-Endpoint-Weight": "2",
        }
        assert answer.body == (
            b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n'
            b'\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
        )
    serve(node, "remote")
    for address in (NODE_ADDRESS, NODE_ADDRESS_6):
        wait_for_status(node, "client", address, HEALTH_PORT, 503)
        answer = Answer(node, "client", address, HEALTH_PORT)
        assert answer.headers["X-Load-Balancing-Endpoint-Weight"] == "0"
        assert b'"localEndpoints": 0,\n\t"serviceProxyHealthy": true' in answer.body
    node.manifests.remove("web")
    wait_for_status(node, "node", NODE_ADDRESS, HEALTH_PORT, 0)


def test_a_node_reports_a_refused_configuration_and_stays_healthy(node: Node) -> None:
    """HC-05, CFG-50: for as long as the file stays as it is."""
    serve(node, "p1")
    node.start_agent()
    node.wait_for_service(f"{VIP}:80/tcp", "p1")

    def refusal() -> str:
        answer = Answer(node, "node", NODE_ADDRESS, 10256, "/livez")
        assert answer.status == 200
        return str(json.loads(answer.body).get("configurationRefused", ""))

    assert refusal() == ""
    node.configure(ipvs={"scheduler": "lcc"})
    wait_for(lambda: "`lcc` is not a scheduler" in refusal(), "the refusal is shown")
    node.configure()
    wait_for(lambda: refusal() == "", "it is over")


def test_health_check_ports_keep_to_the_node_port_addresses(node: Node) -> None:
    """HC-11, DEV-09: with restricted addresses a socket on each, and a change of the setting moves them."""
    node.configure(nodePortAddresses=["192.168.60.0/24"])
    serve(node, "p1")
    node.start_agent()
    wait_for_status(node, "client", NODE_ADDRESS, HEALTH_PORT, 200)
    with pytest.raises(ConnectionRefusedError):
        Answer(node, "p1", BRIDGE_ADDRESS, HEALTH_PORT)
    node.configure()
    wait_for_status(node, "p1", BRIDGE_ADDRESS, HEALTH_PORT, 200)
    node.configure(nodePortAddresses=["192.168.60.0/24"])
    wait_for_status(node, "p1", BRIDGE_ADDRESS, HEALTH_PORT, 0)
    node.run("ip", "address", "add", "192.168.60.9/24", "dev", "ext0")
    wait_for_status(node, "client", "192.168.60.9", HEALTH_PORT, 200)
    assert answers(node, "client", NODE_ADDRESS, HEALTH_PORT) == 200


def test_the_node_is_healthy_until_it_is_about_to_leave(node: Node) -> None:
    """HC-01 to HC-05: from outside, in both families; a taint of the autoscaler turns /healthz and not /livez."""
    serve(node, "p1")
    node.start_agent()
    for address in (NODE_ADDRESS, NODE_ADDRESS_6):
        wait_for_status(node, "client", address, 10256, 200, path="/healthz")
    content = json.loads(Answer(node, "client", NODE_ADDRESS, 10256, "/healthz").body)
    assert (content["nodeEligible"], content["healthy"]) == (True, True)
    assert set(content["status"]) == {"IPv4", "IPv6"}
    assert answers(node, "client", NODE_ADDRESS, 10256, "/readyz") == 404
    tainted = {
        **node_manifest(),
        "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]},
    }
    node.manifests.write("node", tainted)
    wait_for_status(node, "client", NODE_ADDRESS, 10256, 503, path="/healthz")
    assert Answer(node, "client", NODE_ADDRESS, 10256, "/livez").status == 200
    assert answers(node, "client", NODE_ADDRESS, HEALTH_PORT) == 200


def test_the_pages_are_for_this_host(node: Node) -> None:
    """HC-21 to HC-24, CFG-05: on loopback alone by default."""
    serve(node, "p1")
    agent = node.start_agent()
    wait_for_status(node, "node", "127.0.0.1", 10249, 200, path="/readyz")
    assert Answer(node, "node", "127.0.0.1", 10249, "/proxyMode").body == b"ipvs"
    assert Answer(node, "node", "127.0.0.1", 10249, "/healthz").body == b"ok"
    assert b"Virtual servers: 6\n" in Answer(node, "node", "127.0.0.1", 10249, "/statusz").body
    assert b"\nmanifests=/" in Answer(node, "node", "127.0.0.1", 10249, "/flagz").body
    shown = json.loads(Answer(node, "node", "127.0.0.1", 10249, "/configz").body)
    assert shown["kubeproxy.config.k8s.io"]["clusterCIDR"] == "10.244.0.0/16,fd00:244::/32"
    with pytest.raises(ConnectionRefusedError):
        Answer(node, "client", NODE_ADDRESS, 10249, "/proxyMode")
    node.stop_agent(agent)
    assert answers(node, "node", "127.0.0.1", 10249, "/healthz") == 0


def test_a_port_that_somebody_holds_is_taken_over_when_it_is_free(node: Node) -> None:
    """HC-06, HC-12: the agent starts, serves what it can and says what it cannot."""
    with node.namespace("node").inside():
        holders = [socket.create_server(("0.0.0.0", number)) for number in (10256, HEALTH_PORT)]
    serve(node, "p1")
    agent = node.start_agent()
    wait_for_status(node, "client", NODE_ADDRESS_6, HEALTH_PORT, 200)
    assert agent.stderr.count("not listening, will be retried") == 2
    for holder in holders:
        holder.close()
    wait_for_status(node, "client", NODE_ADDRESS, 10256, 200, path="/healthz")
    wait_for_status(node, "client", NODE_ADDRESS, HEALTH_PORT, 200)
