"""The product and a second planner, written from the specification alone, say the same of any objects."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family
from ipvsagent.model.events import Listed, NodeAddressesChanged
from ipvsagent.model.objects import Kind
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.planner.plan import plan_all, plan_rule_sets, whole_state
from ipvsagent.planner.services import plan_service
from ipvsagent.reconciler.mailbox import Reconfigure
from ipvsagent.reconciler.node.facts import read_facts
from ipvsagent.reconciler.objects.cache import ObjectCache
from ipvsagent.source.decode import NotUsed, Unusable, Usable, decode_json
from oracle.facts import differences, of_kernel, of_plan
from oracle.manifests import JUNK, WORLDS, Manifest, damaged, nodes, services, slices
from oracle.planner import World, expected
from support.fake_node import FakeNode

many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def kernel_of(world: World) -> FakeKernel:
    """A kernel whose interfaces have the world's addresses."""
    kernel = FakeKernel()
    kernel.modules_available -= {f"ip_vs_{name}" for name in world.missing_schedulers}
    kernel.add_link("eth0")
    for address in world.interface_addresses:
        kernel.add_address("eth0", address, address.family.bits)
    return kernel


def cache_of(world: World) -> ObjectCache:
    """What an agent knows that has heard of all objects."""
    cache = ObjectCache()
    cache.apply(Listed(Kind.SERVICE, tuple(world.services)))
    cache.apply(Listed(Kind.ENDPOINT_SLICE, tuple(world.slices)))
    cache.apply(Listed(Kind.NODE, tuple(world.nodes)))
    return cache


def facts_of(world: World) -> NodeFacts:
    """What an agent finds out about the node."""
    facts = read_facts(
        kernel_of(world).addresses,
        cache_of(world),
        node_name=world.node_name,
        families=(Family.IPV4, Family.IPV6),
        settings=world.settings,
    )
    return replace(facts, missing_schedulers=world.missing_schedulers)


@many
@given(WORLDS)
def test_a_plan_is_what_the_specification_says(world: World) -> None:
    """VS-01, EP-20 to EP-37, ADR-03 to ADR-08, SET-01 to SET-17, LB-01 to LB-03, NP-01 to NP-05, DEV-14."""
    facts = facts_of(world)
    desired = plan_all(world.services, world.slices, facts=facts, settings=world.settings)
    wanted = expected(world)
    event(f"virtual servers: {min(len(wanted.virtual_servers), 10)}")
    assert differences(of_plan(whole_state(desired, rules=())), wanted.planned()) == []


@many
@given(WORLDS)
def test_a_first_sync_leaves_in_the_kernel_what_the_specification_says(world: World) -> None:
    """SYN-04, VS-01: nothing is lost between the plan and the kernel."""
    node = FakeNode(kernel_of(world), world.settings)
    node.hear_all(tuple(world.services), tuple(world.slices), tuple(world.nodes))
    assert node.status().synchronised
    assert differences(of_kernel(node.kernel), expected(world)) == []


@many
@given(WORLDS, WORLDS)
def test_the_way_to_a_state_leaves_nothing_behind(before: World, after: World) -> None:
    """SYN-07, DEV-02: from any state to any other, by differences alone, the end is what the specification says."""
    node = FakeNode(kernel_of(before), before.settings)
    node.hear_all(tuple(before.services), tuple(before.slices), tuple(before.nodes))
    for address in set(before.interface_addresses) - set(after.interface_addresses):
        node.kernel.remove_address("eth0", address)
    for address in set(after.interface_addresses) - set(before.interface_addresses):
        node.kernel.add_address("eth0", address, address.family.bits)
    node.hear(NodeAddressesChanged(), Reconfigure(after.settings))
    node.hear_all(tuple(after.services), tuple(after.slices), tuple(after.nodes))
    node.settle()
    assert node.status().synchronised
    assert differences(of_kernel(node.kernel), expected(after)) == []


@many
@given(WORLDS)
def test_each_virtual_server_has_one_owner(world: World) -> None:
    """DEV-14: of all Services that claim a key, the state serves one, entirely; every loser is reported."""
    facts = facts_of(world)
    desired = plan_all(world.services, world.slices, facts=facts, settings=world.settings)
    claimants: dict[object, list[object]] = {}
    for item in world.services:
        owned = [s for s in world.slices if s.service == item.key]
        for frontend in plan_service(item, owned, node=facts, settings=world.settings).frontends:
            claimants.setdefault(frontend.virtual_server.key, []).append(frontend.virtual_server)
    assert set(desired.virtual_servers) == set(claimants)
    for key, offers in claimants.items():
        assert desired.virtual_servers[key] in offers  # type: ignore[index]
    conflicts = [p for p in desired.problems() if p.label == "AddressConflict"]
    assert len(conflicts) == sum(len(offers) - 1 for offers in claimants.values())


@many
@given(WORLDS, WORLDS)
def test_rules_and_sets_are_the_same_whatever_the_objects(world: World, other: World) -> None:
    """DEV-05, IPT-06: Services come, change and go; chains, jumps, rules and sets stay as they are."""
    node = FakeNode(kernel_of(world), world.settings)
    before = [driver.snapshot() for driver in node.kernel.rules.values()], sorted(node.kernel.ip_sets.sets)
    node.hear_all(tuple(world.services), tuple(world.slices))
    node.hear_all(tuple(other.services), tuple(other.slices))
    node.settle()
    after = [driver.snapshot() for driver in node.kernel.rules.values()], sorted(node.kernel.ip_sets.sets)
    assert after == before
    assert plan_rule_sets(world.settings, None, tuple(Family))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(JUNK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metadata", "spec", "name"]), inner),
    max_leaves=8,
)
RAW_OBJECTS: dict[Kind, st.SearchStrategy[Manifest]] = {
    Kind.SERVICE: services(),
    Kind.ENDPOINT_SLICE: slices(),
    Kind.NODE: nodes(),
}


@many
@given(st.sampled_from(list(Kind)), st.data())
def test_no_object_raises(kind: Kind, data: st.DataObject) -> None:
    """Whatever comes, an object is used, not ours, or refused with a problem that names it."""
    raw = data.draw(damaged(damaged(RAW_OBJECTS[kind])) | anything)
    result = decode_json(kind, json.dumps(raw).encode())
    assert isinstance(result, Usable | NotUsed) or (isinstance(result, Unusable) and result.problems)


@many
@given(st.sampled_from(list(Kind)), st.binary(max_size=60))
def test_no_bytes_raise(kind: Kind, data: bytes) -> None:
    """Bytes that are no JSON at all are refused with a problem."""
    result = decode_json(kind, data)
    assert isinstance(result, Usable | NotUsed) or (isinstance(result, Unusable) and result.problems)
