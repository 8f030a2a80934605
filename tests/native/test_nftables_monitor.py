"""The monitor of nf_tables on this machine's kernel, with the changes that iptables-nft makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.kernel.iptables.nft import NftRules
from ipvsagent.kernel.netlink.nftables_monitor import NftablesMonitor
from ipvsagent.model.address import Family
from ipvsagent.model.events import RulesChanged
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.planner.sets import set_specs
from ipvsagent.render import render_ipset

RULE_SETS = plan_rule_sets(Settings(), None, Family)
BOTH = [RulesChanged(Family.IPV4), RulesChanged(Family.IPV6)]
JUMP = "PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES"


@pytest.fixture
def monitor(network_namespace: None) -> Iterator[NftablesMonitor]:  # noqa: ARG001 - entered for its effect
    """A monitor that is up to date, on a node whose rules are in place; OTHERS is a chain that is not ours."""
    for rules in RULE_SETS:
        _sh("ipset restore", "\n".join(render_ipset(set_specs(rules.family), ())) + "\n")
        NftRules(rules.family).replace(rules)
    _sh("iptables-nft -t nat -N OTHERS; ip6tables-nft -t nat -N OTHERS")
    opened = NftablesMonitor([key for rules in RULE_SETS for key in rules.chain_keys])
    yield opened
    opened.close()


def _sh(command: str, text: str = "") -> str:
    return subprocess.run(command, shell=True, input=text, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "change",
    [
        "-t nat -F KUBE-SERVICES",
        "-t nat -F",
        "-t nat -I KUBE-SERVICES -j ACCEPT",
        f"-t nat -D {JUMP}",
        "-t mangle -A OUTPUT -j ACCEPT",
        "-t filter -D KUBE-FORWARD 1",
    ],
    ids=["flushed chain", "flushed table", "rule before ours", "jump removed", "built-in chain", "rule removed"],
)
def test_changes_of_our_chains_are_reported_by_family(monitor: NftablesMonitor, change: str) -> None:
    """DEV-01: one event for each transaction, however many rules it changes."""
    for program, event in zip(("iptables-nft", "ip6tables-nft"), BOTH, strict=True):
        _sh(f"{program} {change}")
        assert monitor.read() == [event]


def test_the_removal_of_all_rules_is_reported(monitor: NftablesMonitor) -> None:
    """DEV-01: a firewall script that begins with `flush ruleset`."""
    _sh("nft flush ruleset")
    assert monitor.read() == BOTH


def test_chains_of_others_and_reading_are_no_news(monitor: NftablesMonitor) -> None:
    """DEV-02: a network plugin may change its chains as often as it likes; looking at the rules changes none."""
    _sh("iptables-nft -t nat -A OTHERS -j RETURN")
    _sh("iptables-nft -t nat -N MORE; iptables-nft -t nat -F OTHERS; iptables-nft -t raw -A PREROUTING -j RETURN")
    _sh("nft add table inet theirs; nft add chain inet theirs KUBE-SERVICES; nft add table ip nat2")
    _sh("nft add chain ip nat2 KUBE-SERVICES; nft add rule ip nat2 KUBE-SERVICES return")
    assert all(NftRules(rules.family).matches(rules) for rules in RULE_SETS)
    _sh("ip6tables-nft -t nat -F KUBE-SERVICES")
    assert monitor.read() == [RulesChanged(Family.IPV6)]


def test_writing_what_is_right_already_is_no_news(monitor: NftablesMonitor) -> None:
    """DEV-02: so that a repair is looked at once more, and then there is peace."""
    for rules in RULE_SETS:
        NftRules(rules.family).replace(rules)
    _sh("iptables-nft -t nat -F KUBE-SERVICES")
    assert monitor.read() == [RulesChanged(Family.IPV4)]
    NftRules(Family.IPV4).replace(RULE_SETS[0])
    assert monitor.read() == [RulesChanged(Family.IPV4)]
    NftRules(Family.IPV4).replace(RULE_SETS[0])
    _sh("ip6tables-nft -t nat -F KUBE-SERVICES")
    assert monitor.read() == [RulesChanged(Family.IPV6)]


def test_lost_notifications_come_back_as_changes_of_all_rules(monitor: NftablesMonitor) -> None:
    """DEV-01: a transaction of thousands of rules in chains of others overflows the socket."""
    rules = "".join(f"-A OTHERS -s 10.0.{i >> 8}.{i & 255} -j RETURN\n" for i in range(4000))
    _sh("iptables-nft-restore --noflush", f"*nat\n{rules}COMMIT\n")
    assert monitor.read() == BOTH
    _sh("iptables-nft -t nat -F KUBE-SERVICES")
    assert monitor.read() == [RulesChanged(Family.IPV4)]
