"""Which endpoints there are, and that they follow status and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from ipvsagent.config.types import Settings
from ipvsagent.config.values import SocketAddress
from ipvsagent.errors import NodeUnusable
from ipvsagent.http_server.listeners import Listen
from ipvsagent.model.address import Family
from ipvsagent.model.objects import Announced, NodeNotice, Problem
from ipvsagent.model.state import HealthCheck
from ipvsagent.model.status import Status
from ipvsagent.serve.health import Health
from ipvsagent.serve.serving import HEALTH, HealthCheckKey, Serving, health_endpoints
from support.builders import address, addresses, key
from support.fake_node import SilentLogger
from support.waiting import wait_until
from unit.http_server.client import GET, ask, at, body_of, port_of, status_of, taken_port
from unit.serve.states import WELL, inputs

BOTH = (HealthCheck(Family.IPV4, 32000, 1), HealthCheck(Family.IPV6, 32000, 1))
KEY, KEY_6 = HealthCheckKey(key("shop/web"), Family.IPV4), HealthCheckKey(key("shop/web"), Family.IPV6)


def listening(status: Status) -> dict[object, tuple[Listen, ...]]:
    """Where what is served with the default settings."""
    endpoints = health_endpoints(Settings(), status, Health(inputs()))
    return {k: e.listen for k, e in endpoints.items()}


def test_without_services_there_is_the_health_server() -> None:
    """HC-01: on all addresses of both families."""
    assert listening(WELL) == {HEALTH: (Listen("0.0.0.0", 10256, both_families=True),)}


def test_a_service_has_a_server_a_family() -> None:
    """HC-10, HC-11: each of its family alone."""
    status = replace(WELL, health_checks={key("shop/web"): BOTH}, health_check_addresses=addresses("0.0.0.0", "::"))
    found = listening(status)
    assert found[KEY] == (at(32000, "0.0.0.0"),)
    assert found[KEY_6] == (at(32000, "::"),)


def test_restricted_addresses_have_a_socket_each() -> None:
    """HC-11: and a family without a matching address has none."""
    status = replace(
        WELL, health_checks={key("shop/web"): BOTH}, health_check_addresses=addresses("127.0.0.1", "192.168.60.1")
    )
    found = listening(status)
    assert found[KEY] == (at(32000, "127.0.0.1"), at(32000, "192.168.60.1"))
    assert found[KEY_6] == ()


class Agent:
    """A `Serving` on free ports of this host, with the status and settings that it shows."""

    def __init__(self, *, health_port: int = 0, metrics_port: int = 0, hard_fail: bool = False) -> None:
        self.status = WELL
        self.reports: list[Announced] = []
        loopback = address("127.0.0.1")
        self.settings = Settings(
            health_listen=SocketAddress(loopback, health_port),
            metrics_listen=SocketAddress(loopback, metrics_port),
            bind_address_hard_fail=hard_fail,
        )
        made = replace(inputs(), status=lambda: self.status, settings=lambda: self.settings)
        self.serving = Serving(made, SilentLogger(), report=self.reports.append)

    def run(self, test: Callable[[], None]) -> None:
        """Serve while a test runs."""
        try:
            self.serving.start()
            test()
        finally:
            self.serving.stop()

    def show(self, status: Status) -> None:
        """Publish a status, as the owner thread does."""
        self.status = status
        self.serving.update(status)


def test_services_come_change_and_go() -> None:
    """HC-10, HC-14: listeners follow the status that was published; new counts open no new listener."""
    agent = Agent()
    server = agent.serving.health_server
    sock, free = taken_port()
    sock.close()

    def test() -> None:
        check = HealthCheck(Family.IPV4, free, 1)
        shown = replace(WELL, health_check_addresses=addresses("127.0.0.1"), health_checks={key("shop/web"): (check,)})
        agent.show(shown)
        assert status_of(ask(port_of(server, KEY))) == 200
        agent.show(replace(shown, health_checks={key("shop/web"): (replace(check, local_endpoints=0),)}))
        assert status_of(ask(port_of(server, KEY))) == 503
        agent.show(replace(shown, health_checks={}))
        wait_until(lambda: KEY not in server.listening, "the port is closed")
        assert status_of(ask(port_of(server, HEALTH), GET.replace(b"/ ", b"/healthz "))) == 200

    agent.run(test)


def test_the_pages_are_served_apart_and_move_with_the_settings() -> None:
    """HC-21, HC-26: a changed address is taken over while running."""
    agent = Agent()
    server = agent.serving.metrics_server
    sock, free = taken_port()
    sock.close()

    def test() -> None:
        mode = GET.replace(b"/ ", b"/proxyMode ")
        first = server.listening["metrics server"][0][1] if server.listening else port_of(server, "metrics server")
        assert body_of(ask(first, mode)) == b"ipvs"
        agent.settings = dataclasses.replace(agent.settings, metrics_listen=SocketAddress(address("127.0.0.1"), free))
        agent.show(agent.status)
        wait_until(lambda: server.listening.get("metrics server") == (("127.0.0.1", free),), "it moved")
        assert body_of(ask(free, mode)) == b"ipvs"

    agent.run(test)


def test_an_unavailable_health_check_port_is_a_problem_of_its_service() -> None:
    """HC-06, HC-12: an event on the Service; the health server's own failure is an event of the node."""
    other, health_port = taken_port()
    sock, port = taken_port()
    agent = Agent(health_port=health_port)

    def test() -> None:
        check = HealthCheck(Family.IPV4, port, 1)
        agent.show(
            replace(WELL, health_check_addresses=addresses("127.0.0.1"), health_checks={key("shop/web"): (check,)})
        )
        wait_until(lambda: len(agent.serving.health_server.failures) == 2, "both fail")
        reason = f"127.0.0.1:{port}: Address already in use"
        assert agent.reports == [
            NodeNotice(
                "FailedToStartProxierHealthcheck",
                f"the health server does not listen: 127.0.0.1:{health_port}: Address already in use",
            ),
            Problem(
                "Service",
                "shop/web",
                "spec.healthCheckNodePort",
                f"the health check is not served: {reason}; it is retried every 5 s",
                "FailedToStartServiceHealthcheck",
            ),
        ]

    with other, sock:
        agent.run(test)


@pytest.mark.parametrize("server", ["health", "metrics"])
def test_an_unavailable_port_ends_the_start_if_that_is_configured(server: str) -> None:
    """HC-06, HC-26, CFG-06: with an event that says so; else the agent goes on, see above."""
    other, port = taken_port()
    agent = Agent(
        health_port=port if server == "health" else 0, metrics_port=port if server == "metrics" else 0, hard_fail=True
    )
    with other, pytest.raises(NodeUnusable) as caught:
        agent.run(lambda: None)
    reason = f"the {server} server does not listen: 127.0.0.1:{port}: Address already in use"
    assert str(caught.value).splitlines()[0] == reason
    label = {"health": "FailedToStartProxierHealthcheck", "metrics": "FailedToStartMetricServer"}[server]
    assert agent.reports == [NodeNotice(label, reason)]


def test_available_ports_are_served_with_and_without_hard_fail() -> None:
    """CFG-06."""
    agent = Agent(hard_fail=True)
    agent.run(lambda: None)
    assert agent.reports == []


def test_a_status_with_the_same_endpoints_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """HC-10: the owner thread publishes after each pass; the server is not woken for nothing."""
    agent = Agent()
    served: list[object] = []
    monkeypatch.setattr(agent.serving.health_server, "serve", served.append)
    shown = replace(WELL, health_checks={key("shop/web"): BOTH}, health_check_addresses=addresses("0.0.0.0"))
    agent.show(shown)
    agent.show(replace(shown, services=8))
    assert len(served) == 1
    agent.serving.stop()
