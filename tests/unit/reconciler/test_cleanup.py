"""Cleanup of a node on the fake kernel; `tests/kernel/test_cleanup.py` tries the command in a guest."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.kernel.api import Drivers
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.address import Family
from ipvsagent.planner.rules import plan_rules
from ipvsagent.planner.sets import set_specs
from ipvsagent.reconciler.cleanup import Cleanup
from support.builders import endpoint_slice, port, service
from support.fake_node import FakeNode


@pytest.mark.parametrize("ipvs_is_loaded", [True, False])
def test_cleanup_is_complete_also_without_ipvs_and_leaves_kernel_settings(*, ipvs_is_loaded: bool) -> None:
    """CLN-02, CLN-04, CLN-06, CLN-07, DEV-30: interface, rules and sets of both families go; settings stay."""
    node = FakeNode()
    node.hear_all([service(type="NodePort", ports=[port(80, node_port=30080)])], [endpoint_slice("10.244.0.11")])
    drivers = node.kernel.drivers()
    settings_before = dict(node.kernel.sysctls.values)
    cleanup = Cleanup(
        drivers.ipvs if ipvs_is_loaded else None,
        drivers.addresses,
        drivers.ip_sets,
        rules=list(drivers.rules.values()),
        rule_sets={family: plan_rules(Settings(), family, None) for family in Family},
    )
    cleanup.run()
    assert cleanup.failed == []
    assert [link.name for link in drivers.addresses.list_links()] == ["lo", "eth0"]
    assert node.kernel.ip_sets.sets == {}
    assert [driver.list_ours(plan_rules(Settings(), family, None)) for family, driver in drivers.rules.items()] == [
        [],
        [],
    ]
    assert bool(drivers.ipvs.list_keys()) is not ipvs_is_loaded
    assert dict(node.kernel.sysctls.values) == settings_before


def test_the_sets_of_kube_proxy_alone_do_not_mean_that_the_agent_ran() -> None:
    """DEV-89: so an installation that never worked removes nothing of kube-proxy's state."""
    kernel = FakeKernel()
    kube_proxy = [spec for spec in set_specs(Family.IPV4) if spec.name.startswith("KUBE-")]
    assert len(kube_proxy) > 10
    for spec in kube_proxy:
        kernel.ip_sets.create(spec)
    assert not _cleanup(kernel.drivers()).agent_ran()


def test_the_agent_ran_where_its_own_sets_are() -> None:
    """DEV-89: from its first pass until the node is clean."""
    node = FakeNode()
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    cleanup = _cleanup(node.kernel.drivers())
    assert cleanup.agent_ran()
    cleanup.run()
    assert not cleanup.agent_ran()


def _cleanup(drivers: Drivers) -> Cleanup:
    rule_sets = {family: plan_rules(Settings(), family, None) for family in Family}
    rules = list(drivers.rules.values())
    return Cleanup(drivers.ipvs, drivers.addresses, drivers.ip_sets, rules=rules, rule_sets=rule_sets)
