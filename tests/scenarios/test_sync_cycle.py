"""When a node's kernel is brought in step, and what a failure keeps back (SYN rules)."""

from __future__ import annotations

import threading

import pytest
from lab.speed import scaled
from msgspec.structs import replace

from faults.faulty import Fault, Faults, Watch, faulty
from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.errors import NodeUnusable
from ipvsagent.model.address import Family, Network
from ipvsagent.model.events import Changed, Deleted, Event, NodeAddressesChanged, Stop
from ipvsagent.model.objects import Kind, Node
from ipvsagent.planner.facts import node_ips, primary_family
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.reconciler.mailbox import Mailbox, Message
from ipvsagent.reconciler.tasks import Task
from support.builders import address, addresses, endpoint, endpoint_slice, service
from support.fake_node import Clock, FakeNode, new_kernel
from support.waiting import wait_until

OWN = Node("node-1", addresses("192.168.60.1"), zone="zone-a", pod_networks=(Network.parse("10.244.0.0/24"),))
WEB, SLICE = service(), endpoint_slice("10.244.0.11")
RULES_WRITTEN = "rules IPv4: replace RuleSet(family=<Family.IPV4: 2>, tables=(TableRules(table=<T"
BY_NODE = Settings(local_detection=LocalDetection(LocalDetectionMode.NODE_CIDR))


@pytest.mark.parametrize(
    ("bind_address", "reported", "expected"),
    [
        ("fd00::1", ["192.168.60.1"], Family.IPV6),
        ("192.0.2.1", ["fd00::1"], Family.IPV4),
        ("", ["fd00::1", "192.168.60.1"], Family.IPV6),
        ("", ["192.168.60.1", "fd00::1"], Family.IPV4),
        ("", [], Family.IPV4),
    ],
)
def test_the_primary_family_is_that_of_the_bind_address_else_of_the_first_node_ip(
    bind_address: str, reported: list[str], expected: Family
) -> None:
    """SYN-02; an unspecified `bindAddress` says nothing and is no setting."""
    bound = address(bind_address) if bind_address else None
    assert primary_family(node_ips(addresses(*reported), bound)) is expected


def test_a_bind_address_of_a_family_that_cannot_be_served_ends_the_start() -> None:
    """SYN-01, SYN-02: nothing was written."""
    kernel = new_kernel()
    with pytest.raises(NodeUnusable, match=r"IPv6, the family of .* fd00::1, cannot be served"):
        FakeNode(kernel, Settings(bind_address=address("fd00::1")), families=(Family.IPV4,))
    assert {str(entry).split()[0] for entry in kernel.log} <= {"load"}


def test_a_node_whose_first_ip_cannot_be_served_says_so_and_serves_the_other_family() -> None:
    """SYN-01, SYN-02: a stage that fails as long as it lasts, so the node becomes unhealthy (HC-02, DEV-07)."""
    node = FakeNode(families=(Family.IPV4,))
    node.hear_all([WEB], [SLICE], [replace(OWN, addresses=addresses("fd00::1", "192.168.60.1"))])
    (failure,) = node.status().failures
    assert failure.startswith("serve the primary address family: IPv6")
    assert not node.reconciler.got_through()
    assert _virtual_servers(node) == ["10.96.0.10:80/TCP"]
    node.hear(Changed(OWN))
    assert node.reconciler.got_through()


def _virtual_servers(node: FakeNode) -> list[str]:
    return sorted(str(v.key) for v in node.kernel.ipvs.list_virtual_servers())


def test_a_service_a_slice_and_this_nodes_zone_are_triggers() -> None:
    """SYN-05, EP-22: each is followed with the pass that hears of it."""
    near = endpoint_slice(endpoint("10.244.0.11", zones=["zone-a"]), endpoint("10.244.1.11", zones=["zone-b"]))
    node = FakeNode()
    node.hear_all([WEB], [near], [OWN])
    node.kernel.clear_log()
    node.hear(Changed(replace(OWN, zone="zone-b")))
    assert node.operations() == [
        "add real server 10.244.1.11:8080 to 10.96.0.10:80/TCP",
        "set weight 0 of real server 10.244.0.11:8080 of 10.96.0.10:80/TCP",
    ]
    node.settle()
    node.kernel.clear_log()
    node.hear(Changed(replace(WEB, affinity_timeout_seconds=60)))
    assert len(node.operations()) == 1
    node.kernel.clear_log()
    node.hear(Changed(endpoint_slice("10.244.1.11", "10.244.1.12")))
    assert node.operations() == ["add real server 10.244.1.12:8080 to 10.96.0.10:80/TCP"]


@pytest.mark.parametrize(
    "event",
    [
        Changed(replace(OWN, addresses=addresses("192.168.60.9"))),
        Changed(replace(OWN, pod_networks=())),
        Changed(Node("node-2", zone="zone-b")),
        Deleted(Kind.NODE, OWN.key),
        NodeAddressesChanged(),
        Changed(WEB),
        Changed(endpoint_slice("10.244.0.11", generation=2)),
    ],
    ids=["node IP", "pod network", "another node", "node gone", "addresses as before", "same Service", "same slice"],
)
def test_what_changes_nothing_that_plans_use_writes_nothing(event: Event) -> None:
    """SYN-05, SYN-12: in particular, changed node IPs and a deleted Node leave everything as it is."""
    node = FakeNode()
    node.hear_all([WEB], [SLICE], [OWN])
    node.kernel.clear_log()
    node.hear(event)
    assert node.operations() == []


def test_changed_pod_networks_of_the_node_change_the_rules_in_place() -> None:
    """SYN-12: kube-proxy ends with status 1 to be started again; here the rules follow, and nothing else is touched."""
    node = FakeNode(settings=BY_NODE)
    node.hear_all([WEB], [SLICE], [OWN])
    changed = replace(OWN, pod_networks=(Network.parse("10.245.0.0/24"),))
    before, after = (plan_rule_sets(BY_NODE, own, tuple(Family)) for own in (OWN, changed))
    drivers = node.kernel.drivers().rules
    assert all(drivers[rules.family].matches(rules) for rules in before)
    node.kernel.clear_log()
    node.hear(Changed(changed))
    assert before != after
    assert all(drivers[rules.family].matches(rules) for rules in after)
    assert {entry.split()[0] for entry in node.operations()} == {"commit"}


class _Gathering:
    """A thread that gathers once."""

    def __init__(self, mailbox: Mailbox, least_period: float) -> None:
        self.found: list[Message] = []
        self._mailbox = mailbox
        self._least_period = least_period
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        self.found = self._mailbox.gather(30, least_period=self._least_period)

    def end(self) -> list[Message]:
        """What it gathered, when it has."""
        self._thread.join(scaled(30))
        return self.found


def _mailbox() -> tuple[Mailbox, Clock]:
    clock = Clock()
    mailbox = Mailbox(clock)
    mailbox.begin_pass()
    mailbox.end_pass(through=True)
    return mailbox, clock


def _wait_until_taken(mailbox: Mailbox) -> None:
    wait_until(mailbox.is_empty, "every message is taken", pause_seconds=0.001)


def test_requests_within_the_least_period_after_a_pass_go_together() -> None:
    """SYN-06: however late in it they come; only the end of the agent does not wait."""
    mailbox, _ = _mailbox()
    gathering = _Gathering(mailbox, 20)
    heard: list[Message] = [Changed(WEB), Changed(SLICE), Stop()]
    for message in heard:
        mailbox.put(message)
        _wait_until_taken(mailbox)
    assert gathering.end() == heard


@pytest.mark.parametrize(("least_period", "passed"), [(20, 20), (0, 0)], ids=["it is over", "there is none"])
def test_after_the_least_period_a_request_waits_for_no_other(least_period: float, passed: float) -> None:
    """SYN-06: counted from the end of the last pass."""
    mailbox, clock = _mailbox()
    clock.now += passed
    mailbox.put(Changed(WEB))
    assert mailbox.gather(30, least_period=least_period) == [Changed(WEB)]


def test_without_any_request_the_next_pass_comes_within_a_second() -> None:
    """SYN-06, DEV-02: the round of verification is what kube-proxy's period is for."""
    node = FakeNode()
    node.hear_all([WEB], [SLICE])
    wait = node.reconciler.next_wakeup(verification=True)
    assert wait is not None
    assert wait <= 1.0


def test_a_failure_is_tried_again_without_a_trigger() -> None:
    """SYN-06 as changed by DEV-07: kube-proxy waits for the next change or period."""
    node, faults = _faulty_node()
    faults.begin()
    faults.fail_always("ipvs: add virtual server 10.96.0.11:80/TCP", Fault.NO_MEMORY)
    node.hear(Changed(service("shop/other", "10.96.0.11")))
    assert _virtual_servers(node) == ["10.96.0.10:80/TCP"]
    faults.end()
    node.settle()
    assert _virtual_servers(node) == ["10.96.0.10:80/TCP", "10.96.0.11:80/TCP"]


def _faulty_node(settings: Settings | None = None) -> tuple[FakeNode, Faults]:
    faults, kernel = Faults(), new_kernel()
    node = FakeNode(kernel, settings, wrap=lambda drivers: faulty(drivers, faults, Watch(kernel)))
    node.hear_all([WEB], [SLICE], [OWN])
    return node, faults


@pytest.mark.parametrize(
    ("task", "operation"),
    [
        (Task.WRITE_RULES, RULES_WRITTEN),
        (Task.CREATE_SETS, "ip_sets: list_sets"),
        (Task.CREATE_DUMMY, "addresses: list_links"),
        (Task.READ_ADDRESSES, "addresses: list_addresses"),
    ],
)
def test_a_stage_that_fails_keeps_no_other_stage_back(task: Task, operation: str) -> None:
    """SYN-09 as changed by DEV-07: Services still come and go, and the stage is made good later."""
    node, faults = _faulty_node(BY_NODE)
    faults.begin()
    faults.fail_always(operation, Fault.NOT_PERMITTED)
    node.hear(Changed(replace(OWN, pod_networks=(Network.parse("10.245.0.0/24"),))))
    node.reconciler.actions.attempt(task)
    node.hear(Deleted(Kind.SERVICE, WEB.key), Changed(service("shop/other", "10.96.0.11")))
    assert any(f.startswith(f"{task}: ") for f in node.status().failures)
    assert _virtual_servers(node) == ["10.96.0.11:80/TCP"]
    faults.end()
    node.settle()
    assert node.status().synchronised


def test_a_first_sync_that_cannot_read_the_kernel_comes_again_as_a_whole() -> None:
    """SYN-10, VS-12 as changed by DEV-17: the first one that can repairs the weights that an earlier agent left."""
    earlier = FakeNode()
    earlier.hear_all([WEB], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    earlier.kernel.set_weight("10.96.0.10:80/TCP", "10.244.0.12:8080", 0)
    faults = Faults()
    node = FakeNode(earlier.kernel, wrap=lambda drivers: faulty(drivers, faults, Watch(earlier.kernel)))
    faults.begin()
    faults.fail_always("ipvs: list_virtual_servers", Fault.DUMP_INTERRUPTED)
    node.kernel.clear_log()
    node.hear_all([WEB], [endpoint_slice("10.244.0.11", "10.244.0.12")])
    assert (node.operations(), node.status().prepared) == ([], False)
    faults.end()
    node.settle()
    assert node.status().prepared
    assert node.operations() == ["set weight 1 of real server 10.244.0.12:8080 of 10.96.0.10:80/TCP"]
