"""Rolling updates and restarts under a client that never stops: not one request fails."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise

import pytest
from lab.topology import POD_ADDRESSES
from lab.traffic import Connection

from kernel.load import Load
from kernel.manifests import endpoint_slice, service
from kernel.node import Node
from kernel.processes import Command, wait_for

VIP = "10.96.0.10"
WEB = f"{VIP}:80/tcp"
ROUNDS = 3
RESTARTS = 20

READY = {"ready": True, "serving": True, "terminating": False}
STARTING = {"ready": False, "serving": False, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}


def write(node: Node, **conditions: dict[str, bool]) -> None:
    """Write the Service with these pods, each in its condition."""
    endpoints = endpoint_slice("web", *conditions)
    for endpoint, condition in zip(endpoints["endpoints"], conditions.values(), strict=True):
        endpoint["conditions"] = condition
    node.manifests.write("web", service("web", VIP), endpoints)


def takers(node: Node) -> set[str]:
    """The pods that take new connections."""
    pods = {f"{address}:8080": pod for pod, address in POD_ADDRESSES.items()}
    entry = node.table().get(WEB)
    return {pods[server] for server, weight in entry.weights.items() if weight} if entry else set()


def wait_for_takers(node: Node, *pods: str) -> None:
    """Wait until exactly these pods take new connections."""
    wait_for(
        lambda: takers(node) == set(pods) and node.has_address(VIP), f"{', '.join(pods)} alone take new connections"
    )


@pytest.mark.also_in_qemu(reason="packets and agent are on different CPUs there")
def test_a_rolling_update_in_the_order_of_kubelet_loses_no_request(
    node: Node, record_property: Callable[[str, object], None]
) -> None:
    """GT-03, EP-08, DEV-06: starting, ready, terminating while it serves, gone."""
    write(node, p1=READY)
    node.start_agent()
    node.wait_for_service(WEB, "p1")
    with Load(node, "client", "tcp", VIP, 80) as load:
        for old, new in pairwise(["p1", *["p2", "p3", "p1"] * ROUNDS]):
            write(node, **{old: READY, new: STARTING})
            load.wait_for_more(old)
            write(node, **{old: READY, new: READY})
            load.wait_for_more(new)
            write(node, **{old: TERMINATING, new: READY})
            wait_for_takers(node, new)
            write(node, **{new: READY})
            load.wait_for_more(new, 20)
    assert load.failures == []
    assert set(load.answers) == {"p1", "p2", "p3"}
    record_property("requests", load.answers.total())


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_a_rolling_update_under_a_hash_refuses_no_client(
    node: Node, scheduler: str, record_property: Callable[[str, object], None]
) -> None:
    """GT-03, DEV-16: new clients go elsewhere while a pod drains, which it does for as long as it has connections."""
    node.configure(ipvs={"scheduler": scheduler})
    write(node, p1=READY, p2=READY)
    started(node)
    node.wait_for_service(WEB, "p1", "p2")
    plain = [line for line in node.ipvsadm() if line.startswith(f"-A -t {VIP}:80 ")]
    sources = node.give_client_addresses()
    asked = 0
    for leaving, staying, coming in [("p1", "p2", "p3"), ("p2", "p3", "p1"), ("p3", "p1", "p2")]:
        with ExitStack() as held:
            connections = [held.enter_context(connect(node, source)) for source in sources]
            pods = [connection.ask().pod for connection in connections]
            assert leaving in pods
            write(node, **{leaving: READY, staying: READY, coming: READY})
            wait_for_takers(node, leaving, staying, coming)
            write(node, **{leaving: TERMINATING, staying: READY, coming: READY})
            wait_for_takers(node, staying, coming)
            assert {node.outcome("client", "tcp", VIP, 80, source_address=s) for s in sources} <= {staying, coming}
            write(node, **{staying: READY, coming: READY})
            assert {node.outcome("client", "tcp", VIP, 80, source_address=s) for s in sources} <= {staying, coming}
            asked += 2 * len(sources)
        wait_for(lambda: len(node.table()[WEB].weights) == 2, "the pod has gone")
        wait_for(lambda: plain[0] in node.ipvsadm(), "the flags are as they were")
    record_property("requests", asked)


@pytest.mark.quick_in("qemu", reason="packets and agent are on different CPUs there")
def test_twenty_stops_and_kills_fail_no_request_and_reset_no_connection(
    node: Node, record_property: Callable[[str, object], None]
) -> None:
    """VS-07, CLN-09: endpoints change all the while; no request fails, and no held connection is reset."""
    print("seed", seed := random.randrange(1 << 32))  # noqa: T201 - pytest shows it with a failure
    chance = random.Random(seed)
    write(node, p1=READY, p2=READY)
    agent = started(node)
    node.wait_for_service(WEB, "p1", "p2")
    with ExitStack() as held, Load(node, "client", "tcp", VIP, 80) as load:
        connections = [held.enter_context(node.connect("client", "tcp", VIP, 80)) for _ in range(4)]
        pods = [connection.ask().pod for connection in connections]
        for restart in range(RESTARTS):
            wanted = dict.fromkeys(chance.sample(["p1", "p2", "p3"], 2), READY)
            write(node, **wanted)
            if restart % 2:
                agent.signal(signal.SIGKILL)  # at whatever it does with the change
                agent.wait()
            else:
                node.stop_agent(agent)
            agent = started(node)
            wait_for_takers(node, *wanted)
            load.wait_for_more(count=5)
            assert [connection.ask().pod for connection in connections] == pods
    assert load.failures == []
    record_property("requests", load.answers.total())


def connect(node: Node, source: str) -> Connection:
    """A connection from one of these."""
    return Connection(node.namespace("client"), "tcp", VIP, 80, source_address=source)


def started(node: Node) -> Command:
    """An agent that has synchronised once."""
    agent = node.start_agent()
    wait_for(lambda: "first synchronisation done" in agent.stderr, "the agent is in step")
    return agent
