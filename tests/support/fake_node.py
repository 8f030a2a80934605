"""A reconciler on the fake kernel, driven without threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ipvsagent.config.types import Settings
from ipvsagent.kernel.api import Drivers
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family
from ipvsagent.model.events import Listed
from ipvsagent.model.objects import Announced, EndpointSlice, Kind, Node, NodeNotice, Service
from ipvsagent.model.status import Status
from ipvsagent.reconciler.loop import Listeners, Reconciler
from ipvsagent.reconciler.mailbox import Mailbox, Message
from ipvsagent.reconciler.published import Published
from support.builders import address


class SilentLogger:
    """Keeps log lines for tests to look at."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str, **fields: object) -> None:
        self._keep("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._keep("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self._keep("warning", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._keep("error", message, fields)

    def _keep(self, level: str, message: str, fields: dict[str, object]) -> None:
        self.lines.append(f"{level}: {message} " + " ".join(f"{k}={v}" for k, v in fields.items()))


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeNode:
    """A node with the address 192.168.60.1, a fake kernel and a reconciler.

    Args:
        kernel: an earlier node's kernel, for a restart.
        wrap: put around the kernel's drivers.
        families: those that it can serve.
        clock: replaces `clock`, which a test sets.
        mailbox: for a source that was made before; only needed with threads.
        report: called with what is reported, besides `announced`.
        ask_for_node: called with the name when the cluster is asked for a node, besides `asked`.

    Attributes:
        announced: what was reported.
        asked: names of the nodes that the cluster was asked for.
        statuses: every status published.
        applied: settings that came into force while it runs.
    """

    def __init__(
        self,
        kernel: FakeKernel | None = None,
        settings: Settings | None = None,
        wrap: Callable[[Drivers], Drivers] = lambda drivers: drivers,
        families: tuple[Family, ...] = (Family.IPV4, Family.IPV6),
        clock: Callable[[], float] | None = None,
        *,
        mailbox: Mailbox | None = None,
        report: Callable[[Announced], None] = lambda _item: None,
        ask_for_node: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.kernel = kernel or new_kernel()
        self.log = SilentLogger()
        self.clock = Clock()
        self.mailbox = mailbox or Mailbox(clock or self.clock)
        self.published = Published(settings or Settings())
        self.announced: list[Announced] = []
        self.asked: list[str] = []
        self.statuses: list[Status] = []
        self.applied: list[Settings] = []

        def keep_and_report(item: Announced) -> None:
            self.announced.append(item)
            report(item)

        def keep_and_ask(name: str) -> None:
            self.asked.append(name)
            ask_for_node(name)

        self.reconciler = Reconciler(
            wrap(self.kernel.drivers()),
            self.mailbox,
            self.published,
            node_name="node-1",
            families=families,
            log=self.log,
            listeners=Listeners(keep_and_report, keep_and_ask, self.statuses.append, self.applied.append),
            clock=clock or self.clock,
        )
        self.reconciler.start()

    def told(self) -> list[str]:
        """What events tell an operator about the node."""
        return [f"{item.label}: {item.words}" for item in self.announced if isinstance(item, NodeNotice)]

    def hear(self, *events: Message) -> None:
        """Handle events and reconcile, as one pass of the owner thread."""
        self.reconciler.handle(events)
        self.reconciler.reconcile()

    def hear_all(
        self, services: Sequence[Service] = (), slices: Sequence[EndpointSlice] = (), nodes: Sequence[Node] = ()
    ) -> None:
        """Hear all objects at once, as a source does at its start."""
        self.hear(
            Listed(Kind.SERVICE, tuple(services)),
            Listed(Kind.ENDPOINT_SLICE, tuple(slices)),
            Listed(Kind.NODE, tuple(nodes)),
        )

    def settle(self) -> None:
        """Let time pass until nothing is due any more."""
        for _ in range(20):
            wait = self.reconciler.next_wakeup()
            if wait is None:
                return
            self.clock.now += wait
            self.reconciler.reconcile()
        raise AssertionError(f"does not settle: {self.published.status.failures}")

    def status(self) -> Status:
        """What the reconciler publishes now."""
        return self.published.status

    def operations(self) -> list[str]:
        """What was sent since the log was last cleared, as text."""
        return [str(entry) for entry in self.kernel.log]


def new_kernel() -> FakeKernel:
    """A kernel with one interface that has the node's addresses."""
    kernel = FakeKernel()
    kernel.add_link("eth0")
    kernel.add_address("eth0", address("192.168.60.1"), 24)
    kernel.add_address("eth0", address("fd00:60::1"), 64)
    return kernel
