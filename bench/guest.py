"""Measurements in a guest, on a kernel with IPVS.

python -m bench.guest OUTPUT [--quick]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lab.namespaces import Namespace, enter
from lab.topology import load_modules
from pyroute2.netlink import NETLINK_ROUTE

from bench.cluster import NODE, Cluster, decode, node_list
from bench.memory import cpu_seconds, resident_mebibytes
from bench.node import BenchNode, Quiet, in_fresh_namespace, measure_stages, prepare_for_replay, replay
from bench.stages import Send, Stages
from ipvsagent.config.types import Settings
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family
from ipvsagent.model.events import Changed, Stop
from ipvsagent.model.objects import Kind
from ipvsagent.planner.facts import KUBERNETES_API
from ipvsagent.reconciler.loop import Reconciler
from ipvsagent.reconciler.mailbox import Mailbox
from ipvsagent.reconciler.published import Published
from ipvsagent.source.decode import Usable, decode_json

Figures = dict[str, Any]

CHANGES = 50


def first_sync(cluster: Cluster) -> Figures:
    """Measure a first sync from encoded objects to a programmed kernel, and the floor for the same messages."""
    services = len(cluster.services)
    own_pages(cluster)
    node = BenchNode()
    rules_before = node.rules()
    stages = Stages()
    measure_stages(stages)
    gc.collect()
    node.recording.begin()
    resident = resident_mebibytes()
    began = time.perf_counter()
    events = [decode(Kind.SERVICE, cluster.services), decode(Kind.ENDPOINT_SLICE, cluster.slices), node_list()]
    decoded = time.perf_counter()
    node.reconciler.handle(events)
    complete = time.perf_counter()
    node.reconciler.reconcile()
    ended = time.perf_counter()
    sends = node.recording.end()
    stages.unwrap()
    del events
    if not node.published.status.synchronised:
        raise RuntimeError(f"not in step: {node.published.status.failures[:3]}")
    api_server = _acknowledged_at(sends, node.reconciler)
    rules_after = node.rules()
    gc.collect()
    grown = resident_mebibytes() - resident
    seconds = {"decode": decoded - began, **stages.seconds}
    home = Namespace()
    home.run("ip", "link", "set", "lo", "up")  # without a local address the kernel takes no real server
    with home.inside():
        prepare_for_replay()
        floor = replay(sends)
    programming = seconds["compare and encode"] + seconds["kernel"]
    return {
        "services": services,
        "virtual_servers": node.published.status.virtual_servers,
        "messages": sum(len(s.messages()) for s in sends),
        "sends": len(sends),
        "floor_seconds": floor,
        "stage_seconds": seconds,
        "programming_seconds": programming,
        "total_seconds": ended - began,
        "programming_over_floor": programming / floor,
        "total_over_floor": (ended - began) / floor,
        "api_server_seconds": api_server - complete,
        "api_server_since_decoding_seconds": api_server - began,
        "prepare_seconds": node.prepare_seconds,
        "rules_before": rules_before,
        "rules_after": rules_after,
        "resident_growth_mebibytes": grown,
    }


def own_pages(cluster: Cluster) -> None:
    """Copy memory shared with the parent process before the measurement begins.

    Python counts references in the objects themselves, so a process that was forked pays for a copy of each page that
    it looks at. An agent is not forked, and must not seem to pay for it.
    """
    for encoded in (*cluster.services, *cluster.slices):
        hash(encoded)
    small = Cluster(20)
    fake = FakeKernel()
    fake.add_link("eth0")
    families = (Family.IPV4, Family.IPV6)
    mailbox, published = Mailbox(time.monotonic), Published(Settings())
    reconciler = Reconciler(fake.drivers(), mailbox, published, node_name=NODE, families=families, log=Quiet())
    reconciler.start()
    reconciler.handle([decode(Kind.SERVICE, small.services), decode(Kind.ENDPOINT_SLICE, small.slices), node_list()])
    reconciler.reconcile()
    gc.collect()


def _acknowledged_at(sends: Iterable[Send], reconciler: Any) -> float:
    """Return when the address of default/kubernetes, the last part of this Service, was in the kernel."""
    plan = reconciler.state.desired.plan(KUBERNETES_API)
    address = bytes(plan.frontends[0].virtual_server.key.address)
    return next(s.at for s in sends if s.protocol == NETLINK_ROUTE and address in s.data)


def steady(cluster: Cluster) -> Figures:
    """Measure single changes, then a restart."""
    node = _programmed(cluster, clock=lambda: 0.0)
    figures: Figures = {"services": len(cluster.services)}
    figures["change"] = changes(node, cluster, "one more")
    figures["replacement"] = changes(node, cluster, "one replaced")
    _programmed(cluster)  # puts back what was changed
    figures["adoption"] = adoption(cluster)
    return figures


def _programmed(cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> BenchNode:
    node = BenchNode(clock)
    node.reconciler.handle(
        [decode(Kind.SERVICE, cluster.services), decode(Kind.ENDPOINT_SLICE, cluster.slices), node_list()]
    )
    node.reconciler.reconcile()
    if not node.published.status.synchronised:
        raise RuntimeError(f"not in step: {node.published.status.failures[:3]}")
    return node


def changes(node: BenchNode, cluster: Cluster, what: str) -> Figures:
    """Change one endpoint of one Service; the pass ends when the kernel has acknowledged it.

    An endpoint that comes is one message, one that goes is one message (weight 0), and one more each where it is on
    this node (hairpin entry): exactly those are needed.
    """
    chosen = random.Random(7).sample(range(len(cluster.slices)), CHANGES)
    taken, messages = [], Counter[tuple[int, int]]()
    for number in chosen:
        encoded = cluster.slice(number, more=1) if what == "one more" else cluster.slice(number, replaced=1, more=1)
        before = decode_json(Kind.ENDPOINT_SLICE, cluster.slice(number, more=what != "one more"))
        node.recording.begin()
        began = time.perf_counter()
        result = decode_json(Kind.ENDPOINT_SLICE, encoded)
        assert isinstance(result, Usable)
        node.reconciler.handle([Changed(result.object, result.problems)])
        node.reconciler.reconcile()
        taken.append(time.perf_counter() - began)
        sent = sum(len(s.messages()) for s in node.recording.end())
        messages[sent, _needed(before, result)] += 1
    counts = [{"sent": sent, "needed": needed, "changes": n} for (sent, needed), n in sorted(messages.items())]
    return spread(taken) | {"messages": counts}


def _needed(before: Any, after: Any) -> int:
    """Return the number of messages for the change from one slice to another."""
    count = 0
    old, new = ({e.address: e.node_name for e in r.object.endpoints} for r in (before, after))
    for had, has in ((old, new), (new, old)):
        nodes = [name for address, name in has.items() if address not in had]
        count += len(nodes) + (NODE in nodes)
    return count


def adoption(cluster: Cluster) -> Figures:
    """Measure a restart on a correct kernel; it must not change anything."""
    began = time.perf_counter()
    node = BenchNode()
    events = [decode(Kind.SERVICE, cluster.services), decode(Kind.ENDPOINT_SLICE, cluster.slices), node_list()]
    stages = Stages()
    measure_stages(stages)
    node.recording.begin()
    started = time.perf_counter()
    node.reconciler.handle(events)
    node.reconciler.reconcile()
    ended = time.perf_counter()
    stages.unwrap()
    modifying = sum(len(s.messages()) for s in node.recording.end())
    if modifying:
        raise RuntimeError(f"a restart sent {modifying} modifying messages")
    return {
        "seconds": ended - started,
        "stage_seconds": dict(stages.seconds),
        "modifying_messages": modifying,
        "with_start_seconds": ended - began,
    }


def churn(cluster: Cluster, seconds: float, rate: int) -> Figures:
    """Measure a rate of endpoint changes: the owner thread runs its loop, another thread sends changes."""
    node = _programmed(cluster)
    reconciler = node.reconciler
    rng = random.Random(11)
    total = int(seconds * rate)
    # Each Service of a sample goes through three states in turn: endpoints come, are replaced and go.
    sample = rng.sample(range(len(cluster.slices)), min(1000, len(cluster.slices)))
    states = [[cluster.slice(n, more=1) for n in sample], [cluster.slice(n, replaced=1, more=1) for n in sample]]
    states.append([cluster.slices[n] for n in sample])
    encoded = [states[k // len(sample) % 3][k % len(sample)] for k in range(total)]
    waiting: deque[float] = deque()
    latencies: list[float] = []
    depths: list[int] = []
    passes = 0
    handle, reconcile = reconciler.handle, reconciler.reconcile
    heard: list[float] = []

    def counting_handle(messages: Any) -> None:
        known = list(messages)
        depths.append(len(known))
        heard.extend(waiting.popleft() for e in known if isinstance(e, Changed))
        handle(known)

    def timed_reconcile() -> None:
        nonlocal passes
        reconcile()
        passes += 1
        now = time.perf_counter()
        latencies.extend(now - at for at in heard)
        heard.clear()

    reconciler.handle = counting_handle  # type: ignore[method-assign]
    reconciler.reconcile = timed_reconcile  # type: ignore[method-assign]
    resident = resident_mebibytes()
    owner = threading.Thread(target=_in_namespace_of_caller(reconciler.run))
    used = cpu_seconds()
    owner.start()
    began = time.perf_counter()
    late = 0.0
    for number, data in enumerate(encoded):
        due = began + number / rate
        now = time.perf_counter()
        if due > now:
            time.sleep(due - now)
        late = max(late, now - due)
        result = decode_json(Kind.ENDPOINT_SLICE, data)
        assert isinstance(result, Usable)
        waiting.append(time.perf_counter())
        node.mailbox.put(Changed(result.object))
    offered = time.perf_counter() - began
    deadline = time.monotonic() + seconds
    while len(latencies) < total and time.monotonic() < deadline:
        time.sleep(0.01)
    node.mailbox.put(Stop())
    owner.join()
    if len(latencies) != total:
        raise RuntimeError(f"{total - len(latencies)} changes were not acknowledged {seconds:g} s after the last")
    del reconciler.handle, reconciler.reconcile
    figures = spread(latencies)
    return figures | {
        "services": len(cluster.services),
        "offered_a_second": total / offered,
        "changes": total,
        "acknowledged": len(latencies),
        "passes": passes,
        "largest_pass_events": max(depths),
        "producer_late_seconds": late,
        "cpu_seconds_a_second": (cpu_seconds() - used) / offered,
        "resident_growth_mebibytes": resident_mebibytes() - resident,
    }


def _in_namespace_of_caller(task: Any) -> Any:
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def run() -> None:
        enter(descriptor)
        task()

    return run


def spread(values: list[float]) -> Figures:
    """Return the median and percentiles of durations."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "count": len(ordered),
        "median_seconds": statistics.median(ordered),
        "p10_seconds": ordered[round(last * 0.1)],
        "p90_seconds": ordered[round(last * 0.9)],
        "p99_seconds": ordered[round(last * 0.99)],
        "longest_seconds": ordered[last],
    }


def main() -> int:
    """Run all measurements; write the figures after each step, so that little is lost at a time limit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000, 10000])
    parser.add_argument("--only", choices=["first", "steady", "churn"], help="measure this alone")
    parser.add_argument("--churn-seconds", type=float, default=30.0)
    options = parser.parse_args()
    load_modules()
    results: Figures = {"machine": machine(), "first_sync": [], "steady": [], "churn": [], "errors": []}
    began = time.monotonic()

    def measure(kind: str, task: Any, *arguments: Any) -> None:
        try:
            results[kind].append(in_fresh_namespace(task, *arguments))
        except RuntimeError as error:
            results["errors"].append(f"{kind}: {error}")
        results["guest_seconds"] = time.monotonic() - began
        options.output.write_text(json.dumps(results), encoding="ascii")

    wanted = {"first", "steady", "churn"} if options.only is None else {options.only}
    for size in options.sizes:
        cluster = Cluster(size)  # made once; the processes below share it
        for _ in range(repeats(size) if "first" in wanted else 0):
            tell(f"first sync of {size} Services")
            measure("first_sync", first_sync, cluster)
        if "steady" in wanted:
            tell(f"changes and restart with {size} Services")
            measure("steady", steady, cluster)
        if "churn" in wanted and size in (1000, max(options.sizes)):
            tell(f"churn with {size} Services")
            measure("churn", churn, cluster, options.churn_seconds, 1000)
    return 1 if results["errors"] else 0


def repeats(services: int) -> int:
    """Return how many times a first sync is measured."""
    return 5 if services <= 1000 else 3


def machine() -> Figures:
    """Return a description of the machine."""
    return {
        "guest": os.environ.get("IN_GUEST", "none"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "emulation": _emulation(),
    }


def _emulation() -> str:
    if os.environ.get("IN_GUEST") != "qemu":
        return os.environ.get("IN_GUEST", "none")
    sources = Path("/sys/devices/system/clocksource/clocksource0/available_clocksource").read_text(encoding="ascii")
    return "KVM" if "kvm-clock" in sources else "QEMU TCG, no hardware virtualisation"


def tell(text: str) -> None:
    """Print the progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
