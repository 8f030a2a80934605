"""The conntrack driver on this machine's kernel."""

from __future__ import annotations

import errno
import socket
import subprocess
from contextlib import closing

import pytest
from msgspec.structs import replace

from ipvsagent.errors import NotFound
from ipvsagent.kernel.netlink.conntrack import ConntrackDriver
from ipvsagent.model.address import Address, Family, Protocol
from support.waiting import wait_until

_MATCH = ("-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
"""A rule that makes the kernel track flows in its network namespace."""


@pytest.mark.parametrize(
    ("family", "program", "host"),
    [(Family.IPV4, "iptables-legacy", "127.0.0.1"), (Family.IPV6, "ip6tables-legacy", "::1")],
)
@pytest.mark.usefixtures("network_namespace")
def test_flow_is_listed_and_deleted_but_not_under_another_number(family: Family, program: str, host: str) -> None:
    """CT-05, CT-07: only the very flow that was listed goes; one that has gone is NotFound."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run([program, "-w", "60", *_MATCH], check=True)
    driver = ConntrackDriver()
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        server.bind((host, 0))
        client.connect(server.getsockname()[:2])
        client.send(b"x")
        assert server.recv(1) == b"x"
        (flow,) = driver.list_flows(family)
        place = (Address.parse(host), server.getsockname()[1])
    assert (flow.destination, flow.destination_port) == place
    assert (flow.reply_source, flow.reply_source_port) == place
    (refused,) = driver.delete([replace(flow, id=flow.id ^ 1)])
    assert isinstance(refused, NotFound)
    done, gone = driver.delete([flow, flow])
    assert done is None
    assert isinstance(gone, NotFound)
    assert gone.errno == errno.ENOENT
    assert driver.list_flows(family) == []
    driver.close()


@pytest.mark.parametrize(
    ("family", "program", "host", "other"),
    [(Family.IPV4, "iptables-legacy", "127.0.0.2", "127.0.0.1"), (Family.IPV6, "ip6tables-legacy", "fd00::2", "::1")],
)
@pytest.mark.usefixtures("network_namespace")
def test_a_connection_is_open_until_both_sides_have_ended_it(
    family: Family, program: str, host: str, other: str
) -> None:
    """GT-03, DEV-43: half closed is not over, TIME_WAIT is; other servers' connections are not asked for."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", "fd00::2/128", "dev", "lo", "nodad"], check=True)
    subprocess.run([program, "-w", "60", *_MATCH], check=True)
    server_address = Address.parse(host)
    with (
        closing(ConntrackDriver()) as driver,
        _listener(family, host) as server,
        _listener(family, other) as elsewhere,
    ):
        client, stranger = (socket.create_connection(s.getsockname()[:2]) for s in (server, elsewhere))
        accepted, _ = server.accept()
        (flow,) = driver.list_connections(server_address)
        assert flow.protocol is Protocol.TCP
        assert not flow.over
        assert (flow.reply_source, flow.reply_source_port) == (server_address, server.getsockname()[1])
        client.shutdown(socket.SHUT_WR)
        assert accepted.recv(1) == b""
        assert driver.list_connections(server_address) == [flow]
        accepted.close()
        assert client.recv(1) == b""
        client.close()
        wait_until(
            lambda: driver.list_connections(server_address) == [replace(flow, over=True)],
            "the kernel has handled the last segment",
        )
        (unasked,) = driver.list_connections(Address.parse(other))
        assert not unasked.over
        stranger.close()


def _listener(family: Family, host: str) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind((host, 0))
    made.listen()
    return made
