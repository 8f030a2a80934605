"""Whatever happens in whatever order, the kernel ends as if the final objects had been planned from scratch.

"From scratch" is said twice: by a new agent on an empty kernel, and by the second planner.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ipvsagent.config.types import Settings
from ipvsagent.model.events import Changed, Deleted, DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.objects import EndpointSlice, Kind, ObjectKey, Scheduling, Service
from ipvsagent.reconciler.mailbox import Reconfigure
from oracle.facts import differences, of_kernel
from oracle.planner import World, expected
from support.builders import address, endpoint, endpoint_slice, key, port, service
from support.fake_node import FakeNode, new_kernel

VIP = "198.51.100.7"

services = st.builds(
    service,
    st.sampled_from(["shop/a", "shop/b", "shop/c"]),
    st.sampled_from(["10.96.0.1", "10.96.0.2", "fd00:96::1"]),
    type=st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
    ports=st.sampled_from(
        [
            [port(80)],
            [port(80, name="http", node_port=30080), port(53, name="dns", protocol="UDP", node_port=30053)],
            [port(80, node_port=30080)],
            [port(30080, protocol="SCTP", node_port=30081)],
        ]
    ),
    external_ips=st.sampled_from([[], [VIP], ["192.168.60.1"], ["fd00:60::1", VIP]]),
    load_balancer_ips=st.sampled_from([[], [VIP]]),
    source_ranges=st.sampled_from([[], ["192.0.2.0/24"], ["192.168.60.0/24"]]),
    external_policy=st.sampled_from(["Cluster", "Local"]),
    internal_policy=st.sampled_from(["Cluster", "Local"]),
    affinity_timeout_seconds=st.sampled_from([0, 600]),
    created_at=st.sampled_from(["2025", "2026"]),
    scheduling=st.none()
    | st.builds(
        Scheduling,
        st.sampled_from(["", "sh", "mh", "wrr"]),
        st.sampled_from([None, 0, 0x10]),
        st.sampled_from(["", "sh", "mh"]),
    ),
)
endpoints = st.builds(
    endpoint,
    st.sampled_from(["10.244.0.11", "10.244.0.12", "10.244.1.11"]),
    ready=st.booleans(),
    terminating=st.booleans(),
    node=st.sampled_from(["node-1", "node-2"]),
    zones=st.sampled_from([[], ["zone-a"]]),
)
slices = st.builds(
    lambda of, name, found, weight: endpoint_slice(*found, of=of, name=name, weight=weight),
    st.sampled_from(["shop/a", "shop/b", "shop/c"]),
    st.sampled_from(["one", "two"]),
    st.lists(endpoints, max_size=3),
    st.sampled_from([1, 1, 3, 0]),
)
EXTRA_ADDRESSES = [address(VIP), address("10.1.1.1")]


class AnyHistory(RuleBasedStateMachine):
    """Objects, node addresses, settings and restarts, in any order."""

    @initialize()
    def begin(self) -> None:
        self.node = FakeNode()
        self.node.hear_all()
        self.rules_at_start = self.node.kernel.rules[self.families[0]].snapshot()
        self.services: dict[ObjectKey, Service] = {}
        self.slices: dict[ObjectKey, EndpointSlice] = {}
        self.settings = Settings()
        self.extra: list[str] = []

    families = tuple(new_kernel().rules)

    @rule(item=services)
    def put_service(self, item: Service) -> None:
        self.services[item.key] = item
        self.node.hear(Changed(item))

    @rule(item=slices)
    def put_slice(self, item: EndpointSlice) -> None:
        self.slices[item.key] = item
        self.node.hear(Changed(item))

    @rule(name=st.sampled_from(["shop/a", "shop/b", "shop/c"]))
    def delete_service(self, name: str) -> None:
        self.services.pop(key(name), None)
        self.node.hear(Deleted(Kind.SERVICE, key(name)))

    @rule(name=st.sampled_from(["shop/one", "shop/two"]))
    def delete_slice(self, name: str) -> None:
        self.slices.pop(key(name), None)
        self.node.hear(Deleted(Kind.ENDPOINT_SLICE, key(name)))

    @rule(scheduler=st.sampled_from(["rr", "sh", "mh"]), strict=st.booleans())
    def reconfigure(self, scheduler: str, strict: bool) -> None:
        self.settings = Settings(scheduler=scheduler, strict_local_policy=strict)
        self.node.hear(Reconfigure(self.settings))

    @rule(which=st.sampled_from(EXTRA_ADDRESSES))
    def toggle_node_address(self, which: bytes) -> None:
        held = self.node.kernel.addresses.held
        item = next(a for a in EXTRA_ADDRESSES if a == which)
        if ("eth0", item) in held:
            self.node.kernel.remove_address("eth0", item)
        else:
            self.node.kernel.add_address("eth0", item, 32)
        self.node.hear(NodeAddressesChanged())

    @rule()
    def lose_the_dummy_interface(self) -> None:
        self.node.kernel.addresses.remove_link("kube-ipvs0")
        self.node.hear(DummyInterfaceChanged(gone=True))

    @rule()
    def lose_all_virtual_servers(self) -> None:
        """Found only when a change fails; so let one fail for each Service."""
        self.node.kernel.ipvs.flush()
        self._restart()

    @rule()
    def restart(self) -> None:
        self.node.settle()
        self.node.kernel.clear_log()
        self._restart()
        assert self.node.operations() == []

    def _restart(self) -> None:
        self.node = FakeNode(self.node.kernel, self.settings)
        self.node.hear_all(tuple(self.services.values()), tuple(self.slices.values()))

    @invariant()
    def equals_planning_from_scratch(self) -> None:
        if not hasattr(self, "services"):
            return
        self.node.settle()
        kernel = new_kernel()
        for link, item in self.node.kernel.addresses.held:
            if link == "eth0":
                kernel.addresses.held[link, item] = self.node.kernel.addresses.held[link, item]
        scratch = FakeNode(kernel, self.settings)
        scratch.hear_all(tuple(self.services.values()), tuple(self.slices.values()))
        assert self.node.status().synchronised
        assert self.node.kernel.snapshot() == scratch.kernel.snapshot()
        assert self.node.status().problems == scratch.status().problems
        on_interfaces = [item for link, item in self.node.kernel.addresses.held if link != "kube-ipvs0"]
        world = World(
            tuple(self.services.values()),
            tuple(self.slices.values()),
            settings=self.settings,
            interface_addresses=on_interfaces,
        )
        assert differences(of_kernel(self.node.kernel), expected(world)) == []

    @invariant()
    def rules_never_change(self) -> None:
        if hasattr(self, "rules_at_start"):
            assert self.node.kernel.rules[self.families[0]].snapshot() == self.rules_at_start


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
