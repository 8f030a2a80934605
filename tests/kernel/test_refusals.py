"""What a client is told when nobody is there to answer it."""

from __future__ import annotations

import socket

import pytest
from lab.traffic import TIMEOUT_SECONDS, Protocol

from kernel.manifests import port, service
from kernel.node import REFUSED, Node

VIPS = {socket.AF_INET: "10.96.0.77", socket.AF_INET6: "fd00:96::77"}
PORTS = [port(80, name="tcp"), port(53, "UDP", name="udp"), port(9, "SCTP", name="sctp")]
UNUSED = 81
REPORT_ERRORS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),  # IP_RECVERR (linux/in.h)
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR (linux/in6.h)
}


@pytest.fixture(scope="module")
def node(shared_node: Node) -> Node:
    """A Service without endpoints."""
    shared_node.manifests.write("nobody", service("nobody", *VIPS.values(), ports=PORTS))
    shared_node.start_agent_and_wait()
    return shared_node


@pytest.mark.parametrize("vip", VIPS.values())
@pytest.mark.parametrize(("protocol", "number"), [("tcp", 80), ("tcp", UNUSED), ("udp", 53), ("udp", UNUSED)])
def test_clients_are_refused_wherever_they_are(node: Node, protocol: Protocol, number: int, vip: str) -> None:
    """EP-37, IPT-75: by a Service without endpoints, and by a port of its VIP that is no Service's."""
    assert node.outcomes(protocol, vip, number) == {"p1": REFUSED, "node": REFUSED, "client": REFUSED}


@pytest.mark.parametrize("family", VIPS)
@pytest.mark.parametrize("where", ["client", "p1", "node"])
def test_sctp_clients_that_ask_for_errors_are_refused(node: Node, where: str, family: socket.AddressFamily) -> None:
    """EP-37: the answer is the one that TCP clients get; Linux hands it to an SCTP socket that asks for errors."""
    with node.namespace(where).inside():
        client = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    with client:
        client.settimeout(TIMEOUT_SECONDS)
        client.setsockopt(*REPORT_ERRORS[family], 1)
        with pytest.raises(ConnectionRefusedError):
            client.connect((VIPS[family], 9))
