"""An API server with two Services, and a node that follows it with the real source and the fake kernel."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from apiserver.objects import endpoint_slice, node, service
from apiserver.server import ApiServer
from ipvsagent.model.events import Stop
from ipvsagent.model.objects import Announced
from ipvsagent.reconciler.mailbox import Mailbox
from ipvsagent.source.api import ApiSource
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.transport import KubernetesTransport
from support.fake_node import FakeNode, SilentLogger
from support.waiting import wait_until


def kubeconfig(
    path: Path, server: str, *, token: str = "", authority: Path | None = None, token_file: str = ""
) -> Path:
    """Write a kubeconfig."""
    user: dict[str, object] = {}
    if token:
        user["token"] = token
    if token_file:
        user["tokenFile"] = token_file
    cluster: dict[str, object] = {"server": server}
    if authority:
        cluster["certificate-authority"] = str(authority)
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


class Cluster:
    """A server, and a node that follows it in threads."""

    def __init__(
        self,
        server: ApiServer,
        config: Path,
        report: Callable[[Announced], None] = lambda _item: None,
        *,
        silent_seconds: float = 20.0,
    ) -> None:
        self.server = server
        self.log = SilentLogger()
        mailbox = Mailbox(time.monotonic)
        self.source = ApiSource(
            KubernetesTransport(ApiAccess(str(config))),
            "node-1",
            mailbox.put,
            self.log,
            patience=0.02,
            page_size=2,
            silent_seconds=silent_seconds,
        )
        # The owner thread runs in real time here.
        self.node = FakeNode(
            clock=time.monotonic, mailbox=mailbox, report=report, ask_for_node=self.source.ask_for_node
        )
        self._owner = threading.Thread(target=self.node.reconciler.run, daemon=True)

    def __enter__(self) -> Self:
        self._owner.start()
        self.source.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.stop()
        self.node.mailbox.put(Stop())
        self._owner.join()

    @property
    def silence_seconds(self) -> Callable[[], float]:
        """Answers how old what is known may be."""
        return self.source.silence_seconds

    def faults(self) -> str:
        """What is not followed now, as `/statusz` says it."""
        return "\n".join(self.source.faults())

    def table(self) -> dict[str, list[str]]:
        """Virtual servers of the kernel with their real servers."""
        return {
            str(v.key): sorted(str(r.address) for r in v.real_servers)
            for v in tuple(self.node.kernel.ipvs.list_virtual_servers())
        }

    def becomes(self, **wanted: list[str]) -> None:
        """Wait until the kernel has exactly these: last part of the cluster IP, addresses."""
        expected = {f"10.96.0.{name.removeprefix('ip')}:80/TCP": sorted(v) for name, v in wanted.items()}
        wait_until(lambda: self.table() == expected, f"{expected}; it is {self.table()}")


@contextmanager
def running_server() -> Iterator[ApiServer]:
    """Run an API server with two Services."""
    with ApiServer() as running:
        running.put(
            service("a", "10.96.0.1"),
            service("b", "10.96.0.2"),
            endpoint_slice("a", ["10.244.1.1"]),
            endpoint_slice("b", ["10.244.1.2", "10.244.1.3"]),
            node("node-1"),
            node("node-2", "192.168.60.2"),
        )
        yield running
