"""A connection whose client has sent all that it had to say, and whose server goes on: it is not over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lab.topology import POD_ADDRESSES
from lab.traffic import TIMEOUT_SECONDS

from kernel.manifests import endpoint_slice, service
from kernel.node import Node
from kernel.processes import wait_for

VIP, CLOCK_VIP = "10.96.0.10", "10.96.0.11"
PORT = 9090  # where the pods listen


def put(node: Node, name: str, vip: str, *pods: str) -> None:
    """Have a Service with exactly these endpoints."""
    manifest = endpoint_slice(name, *pods)
    manifest["ports"] = [{"name": "", "protocol": "TCP", "port": PORT}]
    node.manifests.write(name, service(name, vip), manifest)


def weights(node: Node, vip: str) -> dict[str, int]:
    """Weights of the real servers, by pod."""
    pods = {f"{address}:{PORT}": pod for pod, address in POD_ADDRESSES.items()}
    entry = node.table().get(f"{vip}:80/tcp")
    return {pods[server]: weight for server, weight in entry.weights.items()} if entry else {}


def wait_until_served(node: Node, vip: str, pod: str) -> None:
    """Wait for the real server and for the address, which comes after it."""
    wait_for(lambda: weights(node, vip) == {pod: 1} and node.has_address(vip), f"{vip} is served by {pod}")


def listen(node: Node, pod: str) -> socket.socket:
    """Wait for connections in a pod."""
    with node.namespace(pod).inside():
        listener = socket.create_server(("", PORT))
    listener.settimeout(TIMEOUT_SECONDS)
    return listener


@contextmanager
def connection(node: Node, vip: str, listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from outside: the client's end and the server's."""
    with node.namespace("client").inside():
        client = socket.create_connection((vip, 80), TIMEOUT_SECONDS)
    server, _ = listener.accept()
    server.settimeout(TIMEOUT_SECONDS)
    with client, server:
        yield client, server


def let_the_agent_look(node: Node, listener: socket.socket) -> None:
    """Wait until a real server is gone for which all is over: the agent has looked into connection tracking."""
    put(node, "clock", CLOCK_VIP, "p3")
    wait_until_served(node, CLOCK_VIP, "p3")
    with connection(node, CLOCK_VIP, listener):
        put(node, "clock", CLOCK_VIP)
        wait_for(lambda: weights(node, CLOCK_VIP) == {"p3": 0}, "it drains")
    wait_for(lambda: not weights(node, CLOCK_VIP), "it is gone")


def test_a_half_closed_connection_goes_on_through_a_drain_and_a_restart(node: Node) -> None:
    """GT-03, VS-07, DEV-19: data arrive until the server has closed as well; then the real server goes."""
    put(node, "web", VIP, "p1")
    agent = node.start_agent()
    wait_until_served(node, VIP, "p1")
    with ExitStack() as stack:
        clock = stack.enter_context(listen(node, "p3"))
        listener = stack.enter_context(listen(node, "p1"))
        client, server = stack.enter_context(connection(node, VIP, listener))
        client.sendall(b"all that I have to say")
        client.shutdown(socket.SHUT_WR)
        assert server.recv(4096) == b"all that I have to say"
        assert server.recv(4096) == b"", "the client has closed its side"
        put(node, "web", VIP, "p2")
        wait_for(lambda: weights(node, VIP) == {"p1": 0, "p2": 1}, "p1 drains")
        let_the_agent_look(node, clock)
        server.sendall(b"while it drains")
        assert client.recv(4096) == b"while it drains"
        node.stop_agent(agent)
        server.sendall(b"without an agent")
        assert client.recv(4096) == b"without an agent"
        node.start_agent_and_wait()
        let_the_agent_look(node, clock)
        server.sendall(b"after a restart")
        assert client.recv(4096) == b"after a restart"
        assert weights(node, VIP) == {"p1": 0, "p2": 1}
    wait_for(lambda: weights(node, VIP) == {"p2": 1}, "p1 is gone")
