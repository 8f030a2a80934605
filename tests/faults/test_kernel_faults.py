"""Every kernel operation fails in turn, in every way that it can; every point between two is where the agent dies.

After the fault has ended the kernel holds what the second planner (`oracle`) says. Until then nothing that worked stops
working: no virtual server, real server, address or set entry that is needed before and after the change is ever gone,
not even for one operation, and neither are the rules.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import pytest

from faults.faulty import Fault, Faults, Killed, Place, Watch, faulty
from ipvsagent.config.types import Settings
from ipvsagent.errors import NodeUnusable
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Protocol
from ipvsagent.model.events import Changed, Deleted, DummyInterfaceChanged, Event, NodeAddressesChanged
from ipvsagent.model.objects import EndpointPort, Kind, Scheduling
from ipvsagent.model.ops import AddEntry
from ipvsagent.model.state import SetEntry, VirtualServerKey
from ipvsagent.reconciler.mailbox import Reconfigure
from ipvsagent.reconciler.node import preparation
from ipvsagent.reconciler.plans.schedulers import SECONDS_BETWEEN_TRIES
from ipvsagent.transient_errors import retry_transient
from oracle.facts import differences, of_kernel
from oracle.planner import World, expected
from support.builders import address, endpoint, endpoint_slice, port, service
from support.fake_node import FakeNode, new_kernel

LOCAL = endpoint("10.244.0.11", node="node-1")
REMOTE = endpoint("10.244.1.11", node="node-2")
OTHER = endpoint("10.244.1.12", node="node-2")
DNS_PORTS = [EndpointPort("", Protocol.UDP, 5353)]

WEB = service("shop/web", "10.96.0.1", "fd00:96::1", ports=[port(80)])
DNS = service("shop/dns", "10.96.0.2", type="NodePort", ports=[port(53, protocol="UDP", node_port=30053)])
BALANCED = service(
    "shop/balanced",
    "10.96.0.3",
    type="LoadBalancer",
    ports=[port(443, node_port=30443)],
    load_balancer_ips=["198.51.100.7"],
    source_ranges=["192.0.2.0/24"],
    external_policy="Local",
    health_check_node_port=31000,
    affinity_timeout_seconds=600,
)
LOSER = service("shop/loser", "10.96.0.4", ports=[port(443)], external_ips=["198.51.100.7"], created_at="2027")
ADDED = service("shop/added", "10.96.0.5", ports=[port(80), port(81, name="x")], external_ips=["198.51.100.8"])
WEB_SLICE = endpoint_slice(LOCAL, REMOTE, of="shop/web")
WEB_SLICE_6 = endpoint_slice(endpoint("fd00:244::11", node="node-1"), of="shop/web")
DNS_SLICE = endpoint_slice(LOCAL, REMOTE, of="shop/dns", ports=DNS_PORTS)
BALANCED_SLICE = endpoint_slice(LOCAL, REMOTE, of="shop/balanced")
LOSER_SLICE = endpoint_slice(REMOTE, of="shop/loser")
ADDED_SLICE = endpoint_slice(LOCAL, of="shop/added")

BEFORE = World(
    services=(WEB, DNS, BALANCED, LOSER),
    slices=(WEB_SLICE, WEB_SLICE_6, DNS_SLICE, BALANCED_SLICE, LOSER_SLICE, ADDED_SLICE),
    interface_addresses=(address("192.168.60.1"), address("fd00:60::1")),
)
NOTHING = replace(BEFORE, services=(), slices=())


@dataclass(frozen=True)
class Change:
    """What happens to a node that was in step with `before`.

    Args:
        after: the world then.
        events: how the agent hears of it; a start of a new agent if there are none.
        alter: what happens to the kernel at that moment.
        looks: how many checks, a minute apart, the agent makes before all must be right; for changes that cause no
            notification.
    """

    after: World
    events: tuple[Event | Reconfigure, ...] = ()
    alter: Callable[[FakeKernel], None] = lambda _: None
    before: World = BEFORE
    looks: int = 0


def _with_service(*changed: object) -> World:
    kept = [s for s in BEFORE.services if s.key not in {c.key for c in changed}]  # type: ignore[attr-defined]
    return replace(BEFORE, services=(*kept, *changed))  # type: ignore[arg-type]


def _with_slices(*changed: object) -> World:
    kept = [s for s in BEFORE.slices if s.key not in {c.key for c in changed}]  # type: ignore[attr-defined]
    return replace(BEFORE, slices=(*kept, *changed))  # type: ignore[arg-type]


def _small_set(kernel: FakeKernel) -> None:
    """A set that has room for what it holds and no more."""
    spec, entries = kernel.ip_sets.sets["KUBE-CLUSTER-IP"]
    kernel.ip_sets.sets["KUBE-CLUSTER-IP"] = msgspec.structs.replace(spec, max_elements=len(entries)), entries


MOVED_WEB = endpoint_slice(LOCAL, OTHER, of="shop/web")
MOVED_DNS = endpoint_slice(OTHER, LOCAL, of="shop/dns", ports=DNS_PORTS)
OTHER_DNS = service("shop/dns", "10.96.0.2", type="NodePort", ports=[port(53, protocol="UDP", node_port=30054)])
OPENED = msgspec.structs.replace(BALANCED, source_ranges=(), affinity_timeout_seconds=0)
HEAVY = msgspec.structs.replace(WEB_SLICE, weight=3)
ASKING = msgspec.structs.replace(WEB, scheduling=Scheduling("sh", 0x10, "sh"))
WITH_ADDRESS = replace(BEFORE, interface_addresses=(*BEFORE.interface_addresses, address("198.51.100.7")))
CHANGES = {
    "first sync": Change(BEFORE, before=NOTHING),
    "restart": Change(BEFORE),
    "restart after changes": Change(replace(_with_service(ADDED, OTHER_DNS), slices=_with_slices(MOVED_WEB).slices)),
    "endpoints move": Change(_with_slices(MOVED_WEB, MOVED_DNS), (Changed(MOVED_WEB), Changed(MOVED_DNS))),
    "Service appears": Change(_with_service(ADDED), (Changed(ADDED),)),
    "Service goes": Change(
        replace(BEFORE, services=(WEB, DNS, LOSER)), (Deleted(Kind.SERVICE, BALANCED.key),)
    ),  # and another one takes its address over
    "node port changes": Change(_with_service(OTHER_DNS), (Changed(OTHER_DNS),)),
    "settings of a Service change": Change(_with_service(OPENED), (Changed(OPENED),)),
    "Service asks for a scheduler": Change(_with_service(ASKING), (Changed(ASKING),), looks=3),
    "weights change": Change(_with_slices(HEAVY), (Changed(HEAVY),)),
    "scheduler changes": Change(
        replace(BEFORE, settings=Settings(scheduler="wlc")), (Reconfigure(Settings(scheduler="wlc")),)
    ),
    "node address appears": Change(
        WITH_ADDRESS,
        (NodeAddressesChanged(),),
        lambda kernel: kernel.add_address("eth0", address("198.51.100.7"), 32),
    ),
    "interface goes": Change(
        BEFORE, (DummyInterfaceChanged(gone=True),), lambda kernel: kernel.addresses.remove_link("kube-ipvs0")
    ),
    "set is full": Change(_with_service(ADDED), (Changed(ADDED),), _small_set),
}


LASTING = (Fault.NOT_PERMITTED, Fault.ANSWER_LOST, Fault.BATCH_CUT, Fault.DUMP_INTERRUPTED, Fault.SET_FULL)


class Trial:
    """One run of a change on a node of its own."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.kernel = new_kernel()
        self.faults = Faults()
        self.watch = Watch(self.kernel)
        self.node: FakeNode | None = None
        if change.before is not NOTHING:
            self.node = self._start(change.before)
        change.alter(self.kernel)
        self.watch.protect(of_kernel(self.kernel), expected(change.after))

    def happen(self, *, patience: int = 0) -> None:
        """Let the change happen, and as many retries as `patience` says."""
        if not self.change.events:
            self.node = None
            self.node = self._start(self.change.after)
        else:
            assert self.node is not None
            self.node.hear(*self.change.events)
        for _ in range(patience):
            self.node.clock.now += self.node.reconciler.next_wakeup() or 0
            self.node.reconciler.reconcile()

    def recover(self) -> list[str]:
        """End the fault, start the agent again if it is dead, wait; return what is wrong then or was wrong before."""
        self.faults.end()
        if self.node is None:
            self.node = self._start(self.change.after)
        self.node.settle()
        for _ in range(self.change.looks):
            self.node.clock.now += SECONDS_BETWEEN_TRIES
            self.node.reconciler.reconcile()
        wrong = differences(of_kernel(self.kernel), expected(self.change.after))
        if not self.node.status().synchronised:
            wrong.append(f"not in step: {self.node.status().failures}")
        return self.watch.losses + wrong

    def kill(self) -> None:
        self.node = None

    def _start(self, world: World) -> FakeNode:
        node = FakeNode(self.kernel, world.settings, lambda drivers: faulty(drivers, self.faults, self.watch))
        node.hear_all(tuple(world.services), tuple(world.slices), tuple(world.nodes))
        return node


def _places(change: Change) -> list[Place]:
    """Every operation of a run in which nothing fails."""
    trial = Trial(change)
    trial.faults.begin()
    trial.happen()
    found = list(trial.faults.places)
    assert trial.recover() == []
    return found


def _cases(places: list[Place]) -> Iterator[tuple[int, Fault, bool]]:
    for at, place in enumerate(places):
        for fault in place.faults:
            yield at, fault, False
            if fault in LASTING:
                yield at, fault, True


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated at start is repeated at once."""
    monkeypatch.setattr(preparation, "retry_transient", partial(retry_transient, sleep=lambda _: None))


@pytest.mark.parametrize("name", CHANGES)
def test_every_operation_fails_in_every_way_and_the_node_recovers(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """DEV-07, DEV-08: a failure once, or for as long as it lasts, costs nothing that worked, and is made good."""
    change = CHANGES[name]
    places = _places(change)
    wrong, tried, refused_to_start = [], 0, 0
    for at, fault, lasting in _cases(places):
        trial = Trial(change)
        trial.faults.begin(at, fault, lasting=lasting)
        try:
            trial.happen(patience=3 if lasting else 0)
        except NodeUnusable:  # the agent ends; kubelet starts it again
            trial.kill()
            refused_to_start += 1
        assert trial.faults.struck
        tried += 1
        found = trial.recover()
        if found:
            wrong.append(f"{places[at].label} {fault.name} {'lasting' if lasting else 'once'}: {found[:3]}")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name}: {len(places)} operations, {tried} faults, {refused_to_start} ended starts, {len(wrong)} wrong\n"
        )
    assert wrong == []


@pytest.mark.parametrize("name", CHANGES)
def test_the_agent_dies_between_any_two_operations_and_the_next_one_takes_over(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """DEV-19, VS-07: what the next agent finds half done it completes, and nothing that worked is gone meanwhile."""
    change = CHANGES[name]
    places = _places(change)
    wrong = []
    for at, place in enumerate(places):
        trial = Trial(change)
        trial.faults.begin(at)
        with pytest.raises(Killed):
            trial.happen()
        trial.kill()
        found = trial.recover()
        if found:
            wrong.append(f"before {place.label}: {found[:3]}")
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: killed {len(places)} times, {len(wrong)} wrong\n")
    assert wrong == []


def test_the_watch_notices_a_loss() -> None:
    """A watch that sees nothing would make every trial pass."""
    kernel = new_kernel()
    node = FakeNode(kernel)
    node.hear_all([WEB], [WEB_SLICE, WEB_SLICE_6])
    watch = Watch(kernel)
    facts = expected(replace(BEFORE, services=(WEB,)))
    watch.protect(of_kernel(kernel), facts)
    watch.look("nothing")
    assert watch.losses == []
    kernel.set_weight("10.96.0.1:80/TCP", "10.244.0.11:8080", 0)
    watch.look("weight")
    assert watch.losses == ["after `weight`: real server 10.244.0.11:8080 of 10.96.0.1:80/TCP weight=1 is gone"]


def _restriction(kernel: FakeKernel) -> list[SetEntry]:
    """The entries that close the restricted address."""
    return [e for e in kernel.ip_sets.sets["KUBE-LOAD-BALANCER-FW"][1] if e.port == 443]


FIREWALL_ENTRY = SetEntry("KUBE-LOAD-BALANCER-FW", 443, Protocol.TCP, address("198.51.100.7"))
RESTRICTED = VirtualServerKey(Protocol.TCP, address("198.51.100.7"), 443)


@pytest.mark.parametrize("fault", [Fault.NOT_PERMITTED, Fault.NO_MEMORY, Fault.BATCH_CUT, Fault.SET_FULL])
def test_a_restricted_address_waits_for_the_entry_that_closes_it(fault: Fault) -> None:
    """DEV-80: while the entry fails there is neither virtual server nor address, at no retry; then there are both."""
    before, after = replace(BEFORE, services=(WEB, DNS)), replace(BEFORE, services=(WEB, DNS, BALANCED))
    trial = Trial(Change(after, (Changed(BALANCED),), before=before))
    trial.faults.begin()
    trial.faults.fail_always(f"ip_sets: {AddEntry(FIREWALL_ENTRY)}", fault)
    trial.happen()
    for _ in range(12):
        assert FIREWALL_ENTRY not in _restriction(trial.kernel)
        facts = of_kernel(trial.kernel)
        assert str(RESTRICTED) not in facts.virtual_servers
        assert "10.96.0.3:443/TCP" in facts.virtual_servers  # the same Service's cluster IP is not concerned
        assert not any("address 198.51.100.7" in line for line in facts.lines())
        trial.happen(patience=1)
    assert trial.faults.struck > 3
    assert trial.recover() == []
    assert str(RESTRICTED) in of_kernel(trial.kernel).virtual_servers
    assert _restriction(trial.kernel) == [FIREWALL_ENTRY]


def test_a_restricted_service_takes_over_no_open_virtual_server_while_its_entry_fails() -> None:
    """DEV-80: the endpoints of a restricted Service never stand behind the open address of another one."""
    opened = msgspec.structs.replace(LOSER, created_at="2025")
    before = replace(_with_service(), services=(WEB, DNS, BALANCED, opened))
    trial = Trial(Change(BEFORE, (Changed(LOSER),), before=before))
    assert str(RESTRICTED) in of_kernel(trial.kernel).virtual_servers
    trial.faults.begin()
    trial.faults.fail_always(f"ip_sets: {AddEntry(FIREWALL_ENTRY)}", Fault.NOT_PERMITTED)
    trial.happen(patience=8)
    assert of_kernel(trial.kernel).real_servers[str(RESTRICTED)] == {"10.244.1.11:8080": 1}
    assert trial.recover() == []
