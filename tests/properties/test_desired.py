"""The desired state does not depend on the way that led to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ipvsagent.config.types import Settings
from ipvsagent.model.objects import EndpointSlice, Service
from ipvsagent.model.state import ServicePlan
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.services import plan_service
from support.builders import NODE, addresses, endpoint, endpoint_slice, key, port, service

SHARED_VIP = "198.51.100.7"

SERVICES: list[Service] = [
    service("shop/a", "10.96.0.1"),
    service("shop/a", "10.96.0.1", external_ips=[SHARED_VIP]),
    service("shop/a", "10.96.0.1", "fd00:96::1", type="NodePort", ports=[port(80, node_port=30080)]),
    service("shop/a", "10.96.0.1", external_ips=[SHARED_VIP], created_at="2020"),
    service("shop/b", "10.96.0.2", external_ips=[SHARED_VIP], external_policy="Local"),
    service("shop/b", "10.96.0.2", external_ips=[SHARED_VIP], ports=[port(80), port(81, name="x")]),
    service("shop/b", "10.96.0.2", type="NodePort", ports=[port(80, node_port=30080)]),
    service("shop/c", "10.96.0.3", type="LoadBalancer", load_balancer_ips=[SHARED_VIP], source_ranges=["10.0.0.0/8"]),
    service("shop/c", SHARED_VIP),
]
SLICES: list[list[EndpointSlice]] = [
    [],
    [endpoint_slice("10.244.0.11")],
    [endpoint_slice(endpoint("10.244.0.11", node="node-1"), endpoint("10.244.1.11", node="node-2"))],
]


def _plan(of: Service, slices: list[EndpointSlice]) -> ServicePlan:
    owned = [EndpointSlice(s.key, of.key, s.family, s.ports, s.endpoints, s.generation) for s in slices]
    return plan_service(of, owned, node=NODE, settings=Settings())


step = st.tuples(st.sampled_from(SERVICES), st.sampled_from(SLICES)) | st.sampled_from(["shop/a", "shop/b", "shop/c"])


@settings(max_examples=300)
@given(st.lists(step, max_size=12))
def test_any_sequence_of_plans_ends_like_the_last_ones_from_scratch(
    steps: list[tuple[Service, list[EndpointSlice]] | str],
) -> None:
    """Invariant: the state depends only on the plans, not on the order in which they were added."""
    incremental = Desired()
    final: dict[str, ServicePlan] = {}
    for item in steps:
        if isinstance(item, str):
            incremental.replace(key(item), None)
            final.pop(item, None)
        else:
            incremental.replace(item[0].key, _plan(*item))
            final[str(item[0].key)] = _plan(*item)
    scratch = Desired()
    for plan in final.values():
        scratch.replace(plan.service, plan)
    assert incremental.virtual_servers == scratch.virtual_servers
    assert incremental.addresses == scratch.addresses
    assert incremental.entries == scratch.entries
    assert sorted(incremental.problems()) == sorted(scratch.problems())
    assert incremental.no_local_endpoints == scratch.no_local_endpoints


@settings(max_examples=200)
@given(st.lists(step, min_size=1, max_size=8))
def test_a_change_names_everything_that_it_changes_and_nothing_else_changes(
    steps: list[tuple[Service, list[EndpointSlice]] | str],
) -> None:
    """Cost follows the change: what is not touched is what it was."""
    desired = Desired()
    for item in steps:
        before = (dict(desired.virtual_servers), set(desired.addresses), set(desired.entries))
        touched = (
            desired.replace(key(item), None) if isinstance(item, str) else desired.replace(item[0].key, _plan(*item))
        )
        after = (dict(desired.virtual_servers), set(desired.addresses), set(desired.entries))
        changed = {k for k in before[0].keys() | after[0].keys() if before[0].get(k) != after[0].get(k)}
        assert changed <= set(touched.virtual_servers)
        assert before[1] ^ after[1] == set(touched.addresses)
        assert before[2] ^ after[2] <= set(touched.entries)


def test_the_same_plan_again_touches_nothing() -> None:
    """SVC-17: an update without effect is no change."""
    desired = Desired()
    plan = _plan(SERVICES[2], SLICES[2])
    assert desired.replace(plan.service, plan)
    assert not desired.replace(plan.service, _plan(SERVICES[2], SLICES[2]))
    assert addresses("10.96.0.1")[0] in desired.addresses
