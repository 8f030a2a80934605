"""A client that never stops asking."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Self

from lab.traffic import Protocol

from kernel.node import Node
from kernel.processes import wait_for


class Load:
    """Requests one after the other, each over a connection of its own, from entering the context to leaving it.

    Attributes:
        answers: how many came from which pod.
        failures: what went wrong.
    """

    def __init__(self, node: Node, where: str, protocol: Protocol, address: str, port: int) -> None:
        self._node = node
        self._target = where, protocol, address, port
        self._over = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._resting = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.answers: Counter[str] = Counter()
        self.failures: list[OSError] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._going.set()
        self._thread.join()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No request is under way within the context."""
        self._resting.clear()
        self._going.clear()
        wait_for(self._resting.is_set, "the last request is answered")
        yield
        self._going.set()

    def wait_for_more(self, pod: str = "", count: int = 1) -> None:
        """Wait until so many more answers have come, from a certain pod or from any."""
        before = self._count(pod)
        wait_for(lambda: self._count(pod) >= before + count, f"{count} more answers from {pod or 'anywhere'}")

    def _count(self, pod: str) -> int:
        return self.answers[pod] if pod else self.answers.total()

    def _send(self) -> None:
        where, protocol, address, port = self._target
        while not self._over.is_set():
            if not self._going.is_set():
                self._resting.set()
                self._going.wait()
                continue
            try:
                self.answers[self._node.ask(where, protocol, address, port).pod] += 1
            except OSError as error:
                self.failures.append(error)
