"""Request the addresses of the cluster's nodes about every ten minutes.

They are needed for one check: an external or load balancer address that belongs to another node must not be bound here.
A watch on all nodes would send the heartbeats of every node to every agent. A table, the form that `kubectl get`
prints, takes a few hundred bytes per node, and the server reads it from its cache.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import msgspec

from ipvsagent.errors import SourceError
from ipvsagent.model.address import Address
from ipvsagent.model.events import ClusterNodeAddresses, Event
from ipvsagent.source.connection_state import ConnectionState
from ipvsagent.source.transport import Transport

PATH = "/api/v1/nodes"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PERIOD_SECONDS = (480.0, 720.0)  # random between these, so that agents do not ask all at once
RETRY_SECONDS = (10.0, 30.0)
TIMEOUT_SECONDS = 60.0
PAGE_SIZE = 500

_NAME, _ADDRESS_COLUMNS = "Name", ("Internal-IP", "External-IP")


class _Column(msgspec.Struct):
    name: str


class _Row(msgspec.Struct):
    cells: list[object]


class _ListMetadata(msgspec.Struct):
    continue_: str = msgspec.field(name="continue", default="")


class _Table(msgspec.Struct, tag_field="kind", tag="Table"):
    metadata: _ListMetadata
    columns: list[_Column] | None = msgspec.field(name="columnDefinitions", default=None)
    rows: list[_Row] = []


class NodeAddressPoller:
    """Reports the addresses of all nodes to the owner thread, from a separate thread.

    Args:
        put: takes `ClusterNodeAddresses`.
        state: gets a fault while the addresses are unavailable.
        wait: waits for seconds; returns True when the poller must stop.

    Attributes:
        asked: set after the first request, successful or not.
    """

    def __init__(
        self,
        transport: Transport,
        put: Callable[[Event], None],
        *,
        state: ConnectionState,
        wait: Callable[[float], bool],
    ) -> None:
        self._transport = transport
        self._put = put
        self._state = state
        self._wait = wait
        self._random = random.Random()
        self.asked = threading.Event()

    def follow(self) -> None:
        """Request the addresses periodically, until `wait` returns True."""
        while not self._wait(self._random.uniform(*(PERIOD_SECONDS if self.ask() else RETRY_SECONDS))):
            pass

    def ask(self) -> bool:
        """Request the addresses once and report them; return whether it worked."""
        began = time.monotonic()
        try:
            addresses = self._list()
        except (SourceError, msgspec.DecodeError, RecursionError) as error:
            reason = str(error) if isinstance(error, SourceError) else "the API server's answer cannot be parsed"
            self._state.broke(_RESOURCE, reason)
            return False
        else:
            self._state.recovered(_RESOURCE, began)
            self._put(ClusterNodeAddresses(addresses))
            return True
        finally:
            self.asked.set()

    def _list(self) -> dict[str, tuple[Address, ...]]:
        found: dict[str, tuple[Address, ...]] = {}
        # Version 0: any version from the server's cache. Some servers then ignore paging, which is harmless.
        query = {"includeObject": "None", "resourceVersion": "0", "limit": str(PAGE_SIZE)}
        columns: list[str] = []
        while True:
            with self._transport.get(PATH, query, read_timeout_seconds=TIMEOUT_SECONDS, accept=TABLE) as answer:
                if answer.status != 200:
                    raise SourceError(f"the API server answered {answer.status}: {answer.message()}")
                body = answer.read()
            table = msgspec.json.decode(body, type=_Table)
            columns = [c.name for c in table.columns] if table.columns else columns
            for row in table.rows:
                cells = dict(zip(columns, row.cells, strict=False))
                name = cells.get(_NAME)
                if isinstance(name, str):
                    found[name] = tuple(a for c in _ADDRESS_COLUMNS if (a := _address(cells.get(c))) is not None)
            if not table.metadata.continue_:
                return found
            query = {"includeObject": "None", "limit": str(PAGE_SIZE), "continue": table.metadata.continue_}


_RESOURCE = f"{PATH} (addresses of all nodes)"


def _address(cell: object) -> Address | None:
    """Parse an address; None for ``<none>`` and other texts."""
    if not isinstance(cell, str):
        return None
    try:
        return Address.parse(cell)
    except ValueError:
        return None
