"""Measure the cost of a scrape on this machine, with bytes like those of the kernel.

    python -m bench.scrape [SERVICES] [REAL_SERVERS]      # default 10000 3

Every second Service has new counts at each reading. The kernel's own time is not among the figures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.netlink.codecs import statistics as codec
from ipvsagent.model.address import Address, Protocol
from ipvsagent.model.state import VirtualServerKey
from ipvsagent.model.statistics import KernelStatistics, ServicePortName
from ipvsagent.model.status import Status
from ipvsagent.serve.metrics.exposition import Metrics
from ipvsagent.serve.metrics.inputs import MetricsInputs

ROUNDS = 5


def milliseconds(work: Callable[[], object]) -> float:
    """Return the minimum CPU time of several runs."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times) * 1000


def main(services: int, real_servers: int) -> None:
    """Print the figures."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.statistics_bytes import connections_file, virtual_server_message

    keys = [
        VirtualServerKey(Protocol.TCP, Address((0x0A600000 + number).to_bytes(4, "big")), 80)
        for number in range(services)
    ]
    names = {k: ServicePortName(f"team-{i % 50}", f"service-{i}", "http", k.protocol) for i, k in enumerate(keys)}
    file = connections_file((f"TCP  {k.address.hex().upper()}:0050", [(2, 1)] * real_servers) for k in keys)
    listings = [
        [virtual_server_message(k, (r * (i % 2) * 7, r, r, r, r)) for i, k in enumerate(keys)] for r in range(2)
    ]
    known: codec.Keys = {}
    lines: codec.Lines = {}
    number = count()

    def read() -> KernelStatistics:
        nonlocal known
        counts, known = codec.decode_counts(listings[next(number) % 2], known)
        return KernelStatistics(counts, codec.decode_connections(file, lines), {})

    print(f"{services} Services with {real_servers} real servers each, CPU time in ms")
    print(f"  decode the listing, first time    {milliseconds(lambda: codec.decode_counts(listings[0], {})):8.1f}")
    read()
    print(f"  decode the listing                {milliseconds(lambda: codec.decode_counts(listings[0], known)):8.1f}")
    print(f"  decode the connections            {milliseconds(lambda: codec.decode_connections(file, lines)):8.1f}")
    print(f"  copy the names of virtual servers {milliseconds(names.copy):8.1f}")
    clock = count(step=10)
    metrics = Metrics(MetricsInputs(Counters(), "0", read, names.copy, Status), clock=lambda: float(next(clock)))
    text = metrics.render()[1]
    whole = milliseconds(metrics.render)
    print(f"  a whole scrape                    {whole:8.1f}   {len(text) / 1e6:.1f} MB, {text.count(10)} lines")


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["10000", "3"][len(sys.argv) - 1 :])[:2]))
