"""Real servers that drain: what keeps them, and what must not."""

from __future__ import annotations

import pytest
from lab.speed import scaled
from lab.topology import POD_ADDRESSES
from lab.traffic import Answer, Connection

from kernel.manifests import endpoint_slice, port, service
from kernel.node import REFUSED, Node
from kernel.processes import wait_for

VIP, NODE_PORT = "10.96.0.10", 30080
WEB = f"{VIP}:80/tcp"
PORTS = [port(80, node_port=NODE_PORT)]
PORTS_USED = range(40000, 40008)  # by a client that takes the same ones again and again
SOON_SECONDS = min(scaled(60.0), 110.0)  # shorter than TIME_WAIT


def put(node: Node, *pods: str, **spec: object) -> None:
    """Have a Service with exactly these endpoints."""
    node.manifests.write(
        "web", service("web", VIP, ports=PORTS, type="NodePort", **spec), endpoint_slice("web", *pods, ports=PORTS)
    )


def weights(node: Node) -> dict[str, int]:
    """Weights of the real servers, by pod."""
    pods = {f"{address}:8080": pod for pod, address in POD_ADDRESSES.items()}
    return {pods[server]: weight for server, weight in node.table()[WEB].weights.items()}


def test_connections_in_time_wait_do_not_keep_a_real_server(node: Node) -> None:
    """GT-03: a connection that both sides have closed does not count, though the kernel keeps it for two minutes."""
    put(node, "p1", "p2")
    node.start_agent()
    node.wait_for_service(WEB, "p1", "p2")
    assert {a.pod for a in node.many("client", "tcp", VIP, 80, count=6)} == {"p1", "p2"}
    held = [node.connect("client", "tcp", VIP, 80) for _ in range(2)]
    by_pod = {connection.ask().pod: connection for connection in held}
    with by_pod["p2"]:
        with by_pod["p1"] as connection:
            put(node, "p2")
            wait_for(lambda: weights(node) == {"p1": 0, "p2": 1}, "p1 drains")
            assert connection.ask().pod == "p1"
        assert "TIME_WAIT" in node.run("ipvsadm", "-Lnc")
        wait_for(lambda: weights(node) == {"p2": 1}, "p1 is gone", SOON_SECONDS)
        assert by_pod["p2"].ask().pod == "p2"


def test_a_client_that_reuses_its_ports_does_not_keep_a_real_server(node: Node) -> None:
    """GT-03: it comes back from the ports of connections that are over, and is sent elsewhere.

    Linux 6.1 does so for either of SYS-02 and SYS-03; what each does alone has a test of its own.
    """
    put(node, "p1", "p2")
    node.start_agent()
    node.wait_for_service(WEB, "p1", "p2")
    held = [node.connect("client", "tcp", VIP, 80) for _ in range(2)]
    by_pod = {connection.ask().pod: connection for connection in held}
    with by_pod["p2"]:
        with by_pod["p1"] as connection:
            assert {ask_and_reset(node, number).pod for number in PORTS_USED} == {"p1", "p2"}
            put(node, "p2")
            wait_for(lambda: weights(node) == {"p1": 0, "p2": 1}, "p1 drains")
            assert {ask_and_reset(node, number).pod for number in PORTS_USED} == {"p2"}
            assert connection.ask().pod == "p1"

        def gone_under_load() -> bool:
            assert {ask_and_end(node, number).pod for number in PORTS_USED} == {"p2"}
            return weights(node) == {"p2": 1}

        wait_for(gone_under_load, "p1 is gone", SOON_SECONDS)
        assert by_pod["p2"].ask().pod == "p2"


def test_a_client_that_reuses_its_ports_gets_to_a_new_real_server(node: Node) -> None:
    """SYS-02: its connections are over, although IPVS remembers where they led to for two minutes."""
    put(node, "p1")
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    assert {ask_and_end(node, number).pod for number in PORTS_USED} == {"p1"}
    assert node.run("ipvsadm", "-Lnc").count("TIME_WAIT") == len(PORTS_USED)
    put(node, "p1", "p2")
    node.wait_for_service(WEB, "p1", "p2")
    assert {ask_and_end(node, number).pod for number in PORTS_USED} == {"p1", "p2"}


@pytest.mark.parametrize(
    ("ipvs", "refused"),
    [
        ({"scheduler": "rr"}, False),
        ({"scheduler": "mh"}, False),
        ({"scheduler": "mh", "schedulerFlags": []}, False),
        ({"scheduler": "sh"}, False),
        ({"scheduler": "sh", "schedulerFlags": ["flag-2"]}, False),
        ({"scheduler": "dh"}, True),
    ],
    ids=str,
)
def test_new_clients_while_a_real_server_drains(node: Node, ipvs: dict[str, object], *, refused: bool) -> None:
    """VS-03, DEV-41: it gets nothing new, and those that a hash would have given it fall back; `dh` cannot."""
    node.configure(ipvs=ipvs)
    put(node, "p1", "p2", "p3")
    node.start_agent()
    node.wait_for_service(WEB, "p1", "p2", "p3")
    with node.connect("client", "tcp", VIP, 80) as connection:
        leaving = connection.ask().pod
        staying = {"p1", "p2", "p3"} - {leaving}
        put(node, *sorted(staying))
        wait_for(lambda: weights(node)[leaving] == 0, "one drains")
        answers = {
            node.outcome("client", "tcp", VIP, 80, source_address=source) for source in node.give_client_addresses()
        }
        assert answers - {REFUSED} <= staying
        assert (REFUSED in answers) == refused
        assert connection.ask().pod == leaving


def test_a_draining_real_server_gets_no_sticky_client(node: Node) -> None:
    """GT-09: its persistence template does not lead there any more."""
    put(node, "p1", "p2", sessionAffinity="ClientIP")
    node.start_agent()
    node.wait_for_service(WEB, "p1", "p2")
    with node.connect("client", "tcp", VIP, 80) as connection:
        old = connection.ask().pod
        assert {a.pod for a in node.many("client", "tcp", VIP, 80, count=3)} == {old}
        (new,) = {"p1", "p2"} - {old}
        put(node, new, sessionAffinity="ClientIP")
        wait_for(lambda: weights(node)[old] == 0, "it drains")
        assert {a.pod for a in node.many("client", "tcp", VIP, 80, count=3)} == {new}
        assert connection.ask().pod == old
    wait_for(lambda: weights(node) == {new: 1}, "it is gone", SOON_SECONDS)
    assert {a.pod for a in node.many("client", "tcp", VIP, 80, count=3)} == {new}


def test_the_deadline_ends_a_connection_that_never_ends(node: Node) -> None:
    """DEV-19, SYS-03: `ipvs.drainTimeout`; the client gets a reset instead of waiting for an answer."""
    node.configure(ipvs={"drainTimeout": f"{scaled(4):.0f}s"})  # enough to see that it drains
    put(node, "p1")
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    with node.connect("client", "tcp", VIP, 80) as connection:
        assert connection.ask().pod == "p1"
        put(node, "p2")
        wait_for(lambda: weights(node) == {"p1": 0, "p2": 1}, "p1 drains")
        assert connection.ask().pod == "p1"
        wait_for(lambda: weights(node) == {"p2": 1}, "p1 is gone", SOON_SECONDS)
        with pytest.raises(ConnectionResetError):
            connection.ask()


def ask_and_end(node: Node, source_port: int) -> Answer:
    """One request from a certain port, which is free again at once; IPVS remembers the connection in TIME_WAIT."""
    with Connection(node.namespace("client"), "tcp", VIP, 80, source_port=source_port) as connection:
        return connection.ask_and_end()


def ask_and_reset(node: Node, source_port: int) -> Answer:
    """One request from a certain port, which is free again at once: the connection is reset."""
    with Connection(node.namespace("client"), "tcp", VIP, 80, source_port=source_port) as connection:
        answer = connection.ask()
        connection.reset()
        return answer
