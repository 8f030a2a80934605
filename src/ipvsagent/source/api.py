"""Objects from an API server: each resource is followed by a `Reflector` in a separate thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ipvsagent.log import Logger
from ipvsagent.model.events import Event
from ipvsagent.model.objects import Kind
from ipvsagent.source.connection_state import ConnectionState
from ipvsagent.source.node_addresses import NodeAddressPoller
from ipvsagent.source.node_presence import NodePresenceQuestions
from ipvsagent.source.reflector import PAGE_SIZE, SILENT_SECONDS, Reflector, Resource
from ipvsagent.source.transport import Transport

STOP_SECONDS = 2.0


def resources(node_name: str) -> tuple[Resource, ...]:
    """Return the three resources; selectors make the server leave out unused objects (SVC-01, EP-01)."""
    return (
        Resource(
            Kind.SERVICE,
            "/api/v1/services",
            label_selector="!service.kubernetes.io/service-proxy-name",
            field_selector="spec.clusterIP!=None",
        ),
        Resource(
            Kind.ENDPOINT_SLICE,
            "/apis/discovery.k8s.io/v1/endpointslices",
            label_selector="!service.kubernetes.io/headless",
        ),
        Resource(Kind.NODE, "/api/v1/nodes", field_selector=f"metadata.name={node_name}"),
    )


class ApiSource:
    """Follows Services, EndpointSlices, this node and the addresses of all nodes, each in a thread.

    Args:
        put: takes events, from any thread.
        patience: factor for all delays after failures.
        page_size: objects per page of a list.
    """

    def __init__(
        self,
        transport: Transport,
        node_name: str,
        put: Callable[[Event], None],
        log: Logger,
        *,
        patience: float = 1.0,
        page_size: int = PAGE_SIZE,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._transport = transport
        self._put = put
        self._stopping = threading.Event()
        self._state = ConnectionState(log)
        self._reflectors = [
            Reflector(
                r,
                transport,
                self._put_unless_stopping,
                state=self._state,
                log=log,
                silent_seconds=silent_seconds,
                sleep=lambda seconds: self._stopping.wait(seconds * patience),
                page_size=page_size,
            )
            for r in resources(node_name)
        ]
        self._poller = NodeAddressPoller(
            transport,
            self._put_unless_stopping,
            state=self._state,
            wait=lambda seconds: self._stopping.wait(seconds * patience),
        )
        self._threads = [threading.Thread(target=self._follow, args=(r,), daemon=True) for r in self._reflectors]
        self._questions = NodePresenceQuestions(
            transport, self._put_unless_stopping, wait=lambda seconds: self._stopping.wait(seconds * patience)
        )
        self._threads += [
            threading.Thread(target=other.follow, daemon=True) for other in (self._poller, self._questions)
        ]

    def start(self) -> None:
        """Start listing and watching."""
        for thread in self._threads:
            thread.start()

    def silence_seconds(self) -> float:
        """Return how long ago the server last confirmed the known objects; the longest time of all resources.

        A complete list, an event or a bookmark confirms them; an open connection does not.
        """
        now = time.monotonic()
        return max(now - reflector.confirmed_at for reflector in self._reflectors)

    def faults(self) -> tuple[str, ...]:
        """Describe which resources are not followed now, for people."""
        return self._state.faults()

    def ask_for_node(self, name: str) -> None:
        """Ask whether the cluster has a node; the answer comes as `NodePresence`."""
        self._questions.ask(name)

    def stop(self) -> None:
        """Stop following. A thread that is connecting gets two seconds; otherwise it ends with the process."""
        self._stopping.set()
        self._state.stop()
        self._poller.asked.set()
        self._questions.ask("")
        self._transport.close()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _put_unless_stopping(self, event: Event) -> None:
        if not self._stopping.is_set():
            self._put(event)

    def _follow(self, reflector: Reflector) -> None:
        self._poller.asked.wait()  # otherwise the first sync might bind another node's address
        while not self._stopping.is_set():
            reflector.step()
