"""The HTTP servers of a running agent. Their endpoints follow from its status and settings.

There are two servers, so that a slow scrape does not delay a probe: the health server, which also serves the health
check node ports, and the metrics server for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.config.values import SocketAddress
from ipvsagent.errors import NodeUnusable
from ipvsagent.http_server.listeners import Endpoint, Listen
from ipvsagent.http_server.server import HttpServer
from ipvsagent.log import Logger
from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import Announced, NodeNotice, ObjectKey, Problem
from ipvsagent.model.status import Status
from ipvsagent.serve.health import Health
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.pages import Pages

HEALTH, METRICS = "health server", "metrics server"
_NOTICES: Mapping[Hashable, str] = {HEALTH: "FailedToStartProxierHealthcheck", METRICS: "FailedToStartMetricServer"}


class HealthCheckKey(Struct, frozen=True):
    """A Service's health check node port in one family (HC-10)."""

    service: ObjectKey
    family: Family


class _Wanted(Struct, frozen=True):
    """The values that determine the endpoints."""

    health: SocketAddress
    metrics: SocketAddress
    checks: Mapping[ObjectKey, object]
    addresses: tuple[Address, ...]


class Serving:
    """The servers.

    Args:
        report: called if a port is unavailable: for a health check node port with a problem of the Service (HC-12), for
            the ports of the two servers with a notice (HC-06, HC-26).
    """

    def __init__(
        self, inputs: ServingInputs, log: Logger, *, report: Callable[[Announced], None] = lambda _item: None
    ) -> None:
        self._inputs = inputs
        self._report = report
        self.health = Health(inputs)
        self._pages = Pages(inputs, self.health)
        self.health_server = HttpServer("health", log, report=self._not_listening)
        self.metrics_server = HttpServer("metrics", log, report=self._not_listening)
        self._known: _Wanted | None = None

    def start(self) -> None:
        """Start to serve.

        Raises:
            NodeUnusable: `bindAddressHardFail` is set and a server's port is unavailable (HC-06, HC-26).
        """
        self.update(self._inputs.status())
        self.health_server.start()
        self.metrics_server.start()
        if not self._inputs.settings().bind_address_hard_fail:
            return
        for name, server in ((HEALTH, self.health_server), (METRICS, self.metrics_server)):
            if name in server.failures:
                reason = f"the {name} does not listen: {server.failures[name]}"
                raise NodeUnusable(reason, "free the port, choose another one, or remove `bindAddressHardFail`")

    def stop(self) -> None:
        """Stop both servers and close their connections."""
        self.health_server.stop()
        self.metrics_server.stop()

    def update(self, status: Status) -> None:
        """Use a new status or new settings, without waiting; does nothing if the endpoints are the same."""
        settings = self._inputs.settings()
        wanted = _Wanted(
            settings.health_listen, settings.metrics_listen, status.health_checks, status.health_check_addresses
        )
        known, self._known = self._known, wanted
        if known is None or known.metrics != wanted.metrics:
            self.metrics_server.serve({METRICS: metrics_endpoint(settings, self._pages)})
        # The mapping is replaced when it changes, so comparing its identity is enough, and cheap.
        if (
            known is None
            or known.checks is not wanted.checks
            or (known.health, known.addresses)
            != (
                wanted.health,
                wanted.addresses,
            )
        ):
            self.health_server.serve(health_endpoints(settings, status, self.health))

    def _not_listening(self, key: Hashable, reason: str) -> None:
        if key in _NOTICES:
            self._report(NodeNotice(_NOTICES[key], f"the {key} does not listen: {reason}"))
        if isinstance(key, HealthCheckKey):
            words = f"the health check is not served: {reason}; it is retried every 5 s"
            name, field = str(key.service), "spec.healthCheckNodePort"
            self._report(Problem("Service", name, field, words, "FailedToStartServiceHealthcheck"))


def metrics_endpoint(settings: Settings, pages: Pages) -> Endpoint:
    """Return the metrics server's endpoint."""
    return Endpoint(METRICS, (_listen(settings.metrics_listen),), pages.handle)


def health_endpoints(settings: Settings, status: Status, health: Health) -> dict[Hashable, Endpoint]:
    """Return the health server's endpoint, and one for each health check node port and family (HC-10, HC-11)."""
    endpoints: dict[Hashable, Endpoint] = {HEALTH: Endpoint(HEALTH, (_listen(settings.health_listen),), health.handle)}
    for service, checks in status.health_checks.items():
        for check in checks:
            endpoints[HealthCheckKey(service, check.family)] = Endpoint(
                f"health check of {service}",
                tuple(
                    Listen(str(address), check.port)
                    for address in status.health_check_addresses
                    if address.family is check.family
                ),
                health.handler_of_service(service, check.family),
            )
    return endpoints


def _listen(place: SocketAddress) -> Listen:
    return Listen(str(place.address), place.port, both_families=True)
