"""Ask whether the cluster has a node, only if a real server on that node does not become idle.

The answer is one row of a table from the server's cache, a few hundred bytes. Requests are sent one at a time, with
pauses, so that not all agents ask about all nodes at once during a rolling update.
"""

from __future__ import annotations

import queue
import random
from collections.abc import Callable

import msgspec

from ipvsagent.errors import SourceError
from ipvsagent.model.events import Event, NodePresence
from ipvsagent.source.node_addresses import PATH, TABLE, TIMEOUT_SECONDS
from ipvsagent.source.transport import Transport

PAUSE_SECONDS = (0.5, 2.0)  # before each request; random between these


class _Table(msgspec.Struct, tag_field="kind", tag="Table"):
    rows: list[msgspec.Raw] = []


class NodePresenceQuestions:
    """Asks about nodes one at a time, in a separate thread.

    Args:
        put: takes the answers; a failed request is dropped, and may be repeated.
        wait: waits for seconds; returns True when the thread must stop.
    """

    def __init__(self, transport: Transport, put: Callable[[Event], None], *, wait: Callable[[float], bool]) -> None:
        self._transport = transport
        self._put = put
        self._wait = wait
        self._random = random.Random()
        self._names: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, name: str) -> None:
        """Queue a request, from any thread. An empty name sends nothing and makes the thread call `wait`."""
        self._names.put(name)

    def follow(self) -> None:
        """Send queued requests until `wait` returns True."""
        while True:
            names = {self._names.get()}
            while not self._names.empty():
                names.add(self._names.get())
            for name in sorted(names):
                if self._wait(self._random.uniform(*PAUSE_SECONDS)):  # otherwise all agents would ask at once
                    return
                if name:
                    self.answer(name)

    def answer(self, name: str) -> None:
        """Ask about one node now and report the answer."""
        query = {"includeObject": "None", "resourceVersion": "0", "fieldSelector": f"metadata.name={name}"}
        try:
            with self._transport.get(PATH, query, read_timeout_seconds=TIMEOUT_SECONDS, accept=TABLE) as found:
                if found.status != 200:
                    return
                rows = msgspec.json.decode(found.read(), type=_Table).rows
        except (SourceError, msgspec.DecodeError, RecursionError):
            return
        self._put(NodePresence(name, bool(rows)))
