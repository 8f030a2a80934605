"""Comparing desired state and ledger, writing the differences, and what the ledger holds afterwards."""

from __future__ import annotations

from ipvsagent.errors import AlreadyExists, NotFound
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family, Network, Protocol
from ipvsagent.model.ops import AddVirtualServer, RemoveVirtualServer
from ipvsagent.model.state import (
    DUMMY_INTERFACE,
    Frontend,
    FrontendKind,
    RealServer,
    ServicePlan,
    SetEntry,
    VirtualServer,
    VirtualServerKey,
)
from ipvsagent.planner.desired import Desired
from ipvsagent.planner.sets import set_specs
from ipvsagent.reconciler.ledger.ledger import Ledger
from ipvsagent.reconciler.writing.comparison import compare, everything, surplus, unbound_addresses
from ipvsagent.reconciler.writing.writer import Outcome, Writer
from support.builders import address, key

VIP = address("10.96.0.10")
WEB = VirtualServerKey(Protocol.TCP, VIP, 80)
SERVER = VirtualServer(WEB, "rr", 0, 0, (RealServer(address("10.244.0.11"), 8080, 1),))
ENTRY = SetEntry("KUBE-CLUSTER-IP", 80, Protocol.TCP, VIP)
PLAN = ServicePlan(key("shop/web"), frontends=(Frontend(FrontendKind.CLUSTER_IP, SERVER, (ENTRY,), bind=True),))


class Prepared:
    """A fake kernel with the dummy interface and our sets, an empty ledger, and a plan for one Service."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        drivers = self.kernel.drivers()
        drivers.modules.load("ip_vs")
        drivers.modules.load("ip_vs_rr")
        drivers.addresses.add_dummy(DUMMY_INTERFACE)
        for spec in set_specs(Family.IPV4):
            drivers.ip_sets.create(spec)
        self.desired, self.ledger, self.counters = Desired(), Ledger(), Counters()
        self.writer = Writer(drivers, self.ledger, self.counters)
        self.kernel.clear_log()

    def want(self, plan: ServicePlan | None) -> None:
        self.desired.replace(key("shop/web"), plan)

    def write(self, exclude: tuple[Network, ...] = ()) -> Outcome:
        """Compare everything and write the differences."""
        touched = everything(self.desired, self.ledger)
        return self.writer.write(compare(touched, self.desired, self.ledger, exclude))

    def operations(self) -> list[str]:
        """What was sent since the last call."""
        sent = [str(entry) for entry in self.kernel.log]
        self.kernel.clear_log()
        return sent


def test_what_was_written_is_in_the_ledger_and_shares_the_desired_values() -> None:
    """SYN-11: writing the same again sends nothing."""
    node = Prepared()
    node.want(PLAN)
    assert node.write() == Outcome()
    assert node.ledger.virtual_servers[WEB] is SERVER
    assert (node.ledger.addresses, list(node.ledger.entries)) == ({VIP}, [ENTRY])
    assert len(node.operations()) == 4
    node.write()
    assert node.operations() == []


def test_what_is_not_desired_is_removed_in_the_opposite_order() -> None:
    """DEV-40: the traces that tell our virtual servers from others go last."""
    node = Prepared()
    node.want(PLAN)
    node.write()
    node.want(None)
    assert surplus(node.desired, node.ledger) == everything(node.desired, node.ledger)
    node.operations()
    node.write()
    assert [line.split(" 10.")[0] for line in node.operations()] == [
        "remove virtual server",
        "remove address",
        "remove entry KUBE-CLUSTER-IP",
    ]
    assert not everything(node.desired, node.ledger)


def test_a_failed_virtual_server_is_not_in_the_ledger_and_its_error_is_its_own() -> None:
    """DEV-07, DEV-17: one that exists already means that the kernel is not what the ledger says."""
    node = Prepared()
    node.kernel.ipvs.apply([AddVirtualServer(VirtualServer(WEB, "rr"))])
    node.want(PLAN)
    outcome = node.write()
    assert list(outcome.failures) == [WEB]
    assert isinstance(outcome.failures[WEB], AlreadyExists)
    assert outcome.drift
    assert (list(node.ledger.virtual_servers), node.ledger.addresses) == ([], {VIP})


def test_a_virtual_server_that_cannot_be_removed_keeps_its_address_and_entries() -> None:
    """VS-08: without them it would count as made by others."""
    node = Prepared()
    node.want(PLAN)
    node.write()
    node.kernel.ipvs.apply([RemoveVirtualServer(WEB)])
    node.want(None)
    outcome = node.write()
    assert outcome.failures.keys() == {WEB, VIP, ENTRY}
    assert (node.ledger.addresses, list(node.ledger.entries)) == ({VIP}, [ENTRY])


def test_without_the_dummy_interface_addresses_fail_and_all_else_is_written() -> None:
    """ADR-01, DEV-07."""
    node = Prepared()
    node.kernel.addresses.remove_link(DUMMY_INTERFACE)
    node.want(PLAN)
    outcome = node.write()
    assert outcome.dummy_missing
    assert isinstance(outcome.failures.pop(VIP), NotFound)
    assert outcome.failures == {}
    assert node.ledger.virtual_servers.keys() == {WEB}
    assert unbound_addresses(node.desired, node.ledger).addresses.keys() == {VIP}


def test_virtual_servers_of_others_and_in_excluded_networks_are_not_removed() -> None:
    """VS-08, DEV-28; a foreign one that a Service claims is ours from then on."""
    node = Prepared()
    node.ledger.hold(VirtualServer(WEB, "rr"))
    node.ledger.add_address(VIP)
    excluded = (Network.parse("10.96.0.0/16"),)
    assert compare(surplus(node.desired, node.ledger), node.desired, node.ledger, excluded).servers_to_remove == []
    assert compare(surplus(node.desired, node.ledger), node.desired, node.ledger, excluded).addresses_to_remove == []
    node.ledger.mark_foreign(WEB)
    assert compare(surplus(node.desired, node.ledger), node.desired, node.ledger, ()).servers_to_remove == []
    node.kernel.ipvs.apply([AddVirtualServer(VirtualServer(WEB, "rr"))])
    node.want(PLAN)
    assert node.write() == Outcome()
    assert node.ledger.foreign == set()
