"""Measurements on this machine, without a guest: start-up, memory and idle CPU time of a large node.

The kernel is a stand-in that acknowledges everything and shares the ledger's own values, so that memory is the agent's.
Its IPVS half speaks bytes: verification encodes and decodes as it does on a node. Programs that compare iptables rules
are left out, and so is the time of system calls.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from bench.cluster import NODE, Cluster, decode, node_list
from bench.memory import cpu_seconds, resident_mebibytes
from ipvsagent.config.types import Settings
from ipvsagent.errors import KernelError
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.kernel.netlink.codecs import ipvs as codec
from ipvsagent.kernel.netlink.sockets import attribute
from ipvsagent.model.address import Address, Family
from ipvsagent.model.events import Stop
from ipvsagent.model.objects import Kind
from ipvsagent.model.ops import AddAddress, AddEntry, AddRealServer, AddVirtualServer, IpvsOperation, one_by_one
from ipvsagent.model.state import (
    DUMMY_INTERFACE,
    LinkAddress,
    ObservedSet,
    ObservedVirtualServer,
    SetEntry,
    VirtualServerKey,
)
from ipvsagent.reconciler.loop import Reconciler
from ipvsagent.reconciler.mailbox import Mailbox
from ipvsagent.reconciler.published import Published

Figures = dict[str, Any]
Done = list[KernelError | None]


class SharingKernel(FakeKernel):
    """A simulated kernel that keeps only references to the operations that it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.add_link("eth0")
        self.add_address("eth0", Address.parse("192.168.60.1"), 24)
        self.servers: dict[VirtualServerKey, list[AddRealServer]] = {}
        self.schedulers: dict[VirtualServerKey, str] = {}
        self.bound: set[Address] = set()
        self.members: dict[str, set[SetEntry]] = {}
        real_list = self.addresses.list_addresses
        self.ipvs.apply = self._apply_ipvs  # type: ignore[method-assign]
        self.ipvs.find_virtual_server = self._find  # type: ignore[method-assign]
        self.ipvs.count_virtual_servers = lambda: len(self.schedulers)  # type: ignore[method-assign]
        self.ipvs.list_keys = lambda: set(self.schedulers)  # type: ignore[method-assign]
        self.addresses.apply = self._apply_addresses  # type: ignore[method-assign,assignment]
        self.addresses.list_addresses = lambda: [  # type: ignore[method-assign]
            *real_list(),
            *(LinkAddress(DUMMY_INTERFACE, a, 32) for a in self.bound),
        ]
        empty = self.ip_sets.list_sets
        self.ip_sets.apply = self._apply_entries  # type: ignore[method-assign]
        self.ip_sets.list_entries = lambda spec: list(self.members.get(spec.name, ()))  # type: ignore[method-assign]
        self.ip_sets.list_sets = lambda: [self._counted(s) for s in empty()]  # type: ignore[method-assign]

    def _apply_ipvs(self, operations: Sequence[IpvsOperation]) -> Done:
        singles = [*one_by_one(operations)]
        for operation in singles:
            match operation:
                case AddVirtualServer(server):
                    self.schedulers[server.key] = server.scheduler
                    self.servers[server.key] = []
                case AddRealServer(key, _):
                    self.servers[key].append(operation)
        return [None] * len(singles)

    def _find(self, key: VirtualServerKey) -> ObservedVirtualServer | None:
        if key not in self.servers:
            return None
        encode = codec.encode
        key_length = len(codec.get_virtual_server(key)) - 4
        operations = self.servers[key]
        found = (codec.decode_real_server(_listed(encode(o), key_length), key.address.family) for o in operations)
        return ObservedVirtualServer(key, self.schedulers[key], 0, 0, tuple(found))

    def _apply_addresses(self, _link: str, operations: Sequence[Any]) -> Done:
        for operation in operations:
            (self.bound.add if isinstance(operation, AddAddress) else self.bound.discard)(operation.address)
        return [None] * len(operations)

    def _apply_entries(self, operations: Sequence[Any]) -> Done:
        for operation in operations:
            members = self.members.setdefault(operation.entry.set_name, set())
            (members.add if isinstance(operation, AddEntry) else members.discard)(operation.entry)
        return [None] * len(operations)

    def _counted(self, header: ObservedSet) -> ObservedSet:
        entries = len(self.members.get(header.name, ()))
        return ObservedSet(header.name, header.type, header.family, header.max_elements, header.references, entries)


_COUNTS = b"".join(attribute(codec._DST[name], bytes(4)) for name in ("ACTIVE_CONNS", "INACT_CONNS"))


def _listed(encoded: bytes, key_length: int) -> bytes:
    """Return what the kernel lists for a real server that was added: the same attributes and its counters."""
    head, body = encoded[: 4 + key_length], encoded[8 + key_length :] + _COUNTS
    return head + attribute(codec._TOP["DEST"], body)


def large_node(services: int, idle_seconds: float) -> Figures:
    """Measure the memory at each stage, then the CPU time of an idle agent, including verification."""
    import ipvsagent.agent  # noqa: F401 - what a running agent has imported

    cluster = Cluster(services)
    encoded = (cluster.services, cluster.slices)
    del cluster
    gc.collect()
    imported = resident_mebibytes()
    kernel = SharingKernel()
    mailbox, published = Mailbox(time.monotonic), Published(Settings())
    families = (Family.IPV4, Family.IPV6)
    reconciler = Reconciler(kernel.drivers(), mailbox, published, node_name=NODE, families=families, log=_Silent())
    reconciler.start()
    size = sum(len(d) for part in encoded for d in part) / 2**20
    reconciler.handle([decode(Kind.SERVICE, encoded[0]), decode(Kind.ENDPOINT_SLICE, encoded[1]), node_list()])
    indexed = resident_mebibytes()
    reconciler.reconcile()
    programmed = resident_mebibytes()
    figures: Figures = {
        "services": services,
        "endpoints": 10 * services,
        "imported_mebibytes": imported - size,
        "indexed_mebibytes": indexed - size,
        "programmed_mebibytes": programmed - size,
        "synchronised": published.status.synchronised,
    }
    if idle_seconds:
        owner = threading.Thread(target=reconciler.run)
        owner.start()
        time.sleep(2)
        used = cpu_seconds()
        time.sleep(idle_seconds)
        figures["idle_cpu_percent"] = (cpu_seconds() - used) / idle_seconds * 100
        mailbox.put(Stop())
        owner.join()
    return figures


class _Silent:
    def debug(self, message: str, **fields: object) -> None:
        """Log nothing."""

    info = warning = error = debug


def import_seconds(module: str) -> float:
    """Return the shortest of five imports, each in a new interpreter, without the start of the interpreter."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    taken = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return sorted(float(t.stdout) for t in taken)[2]


def measure(sizes: Sequence[int], idle_seconds: float) -> Figures:
    """Measure all sizes, each in a separate process."""
    nodes = []
    for size in sizes:
        seconds = idle_seconds if size == max(sizes) else 0.0
        command = [sys.executable, "-m", "bench.native", str(size), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        nodes.append(json.loads(done.stdout))
    imports = {name: import_seconds(name) for name in ("ipvsagent.agent", "kubernetes", "pyroute2")}
    return {"nodes": nodes, "import_seconds": imports}


if __name__ == "__main__":
    print(json.dumps(large_node(int(sys.argv[1]), float(sys.argv[2]))))
