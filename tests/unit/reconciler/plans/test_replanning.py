"""Which Services are planned first, and how few are looked at before."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.events import Listed
from ipvsagent.model.objects import EndpointSlice, Kind, ObjectKey
from ipvsagent.planner.facts import NodeFacts
from ipvsagent.reconciler.objects.cache import ObjectCache
from ipvsagent.reconciler.plans.replanning import SERVICES_PER_STEP, Replanning
from ipvsagent.reconciler.plans.schedulers import Schedulers
from ipvsagent.reconciler.state import State
from support.builders import endpoint_slice, key, service
from support.fake_node import Clock, FakeNode, SilentLogger


class CountingCache(ObjectCache):
    """Counts how often a Service's slices are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def slices_of(self, service: ObjectKey) -> list[EndpointSlice]:
        self.asked += 1
        return super().slices_of(service)


def schedulers() -> Schedulers:
    """Those of a kernel that has all of them."""
    return Schedulers(FakeKernel().modules, SilentLogger(), clock=Clock(), failed=lambda _: None)


def _cache(count: int) -> CountingCache:
    cache = CountingCache()
    names = [*(f"shop/web-{i}" for i in range(count)), "default/kubernetes"]
    services = tuple(service(n, f"10.96.{i >> 8}.{i & 255}") for i, n in enumerate(names))
    cache.apply(Listed(Kind.SERVICE, services))
    cache.apply(Listed(Kind.ENDPOINT_SLICE, ()))
    return cache


@pytest.mark.parametrize("count", [1, 600])
def test_default_kubernetes_is_a_step_of_its_own_before_any_other_service_is_looked_at(count: int) -> None:
    """DEV-06: how long it takes does not depend on the size of the cluster."""
    cache = _cache(count)
    steps = Replanning(State(Settings(), cache, NodeFacts("node-1")), schedulers()).first_steps()
    assert next(steps) == [key("default/kubernetes")]
    assert cache.asked == 0


def test_every_service_is_in_one_step_of_a_first_sync() -> None:
    """No Service is left out or written twice; steps are bounded."""
    cache = _cache(600)
    steps = list(Replanning(State(Settings(), cache, NodeFacts("node-1")), schedulers()).first_steps())
    assert sorted(k for step in steps for k in step) == sorted(cache.services)
    assert max(map(len, steps)) <= SERVICES_PER_STEP
    assert not cache.dirty


def test_a_first_sync_without_default_kubernetes_begins_with_the_others() -> None:
    """A folder of manifests needs no such Service."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    assert node.status().synchronised
