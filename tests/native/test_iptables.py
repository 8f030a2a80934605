"""The rules drivers on the real kernel: both variants, both families, the whole rule set."""

from __future__ import annotations

import fcntl
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.errors import Busy, ToolFailed
from ipvsagent.kernel.iptables import legacy as iptables_legacy
from ipvsagent.kernel.iptables.legacy import LegacyRules, tables_in_use, xtables_lock
from ipvsagent.kernel.iptables.nft import NftRules
from ipvsagent.kernel.iptables.variant import detect_variant, supports_random_fully
from ipvsagent.model.address import Family, Network
from ipvsagent.model.rules import RuleSet, Table, TableRules
from ipvsagent.planner.rules import plan_rules
from ipvsagent.planner.sets import set_specs
from ipvsagent.render import render_ipset, render_rules

pytestmark = pytest.mark.usefixtures("network_namespace")

CLUSTER_NETWORKS = (Network.parse("10.200.0.0/16"), Network.parse("fd00:200::/56"))
SETTINGS = Settings(local_detection=LocalDetection(cluster_networks=CLUSTER_NETWORKS))


def sh(command: str, text: str = "") -> str:
    """Run a shell command in the test's namespace; it has to succeed."""
    return subprocess.run(command, shell=True, input=text, text=True, check=True, capture_output=True).stdout


@dataclass
class Host:
    """One driver with its rule set, and the program that shows what it did."""

    driver: LegacyRules | NftRules
    rules: RuleSet

    @property
    def iptables(self) -> str:
        return f"{'iptables' if self.driver.family is Family.IPV4 else 'ip6tables'}-{self.driver.variant}"

    def run(self, arguments: str) -> str:
        return sh(f"{self.iptables} -w 60 {arguments}")

    def send_packets(self) -> None:
        """Let three datagrams count in the rules on their way over the loopback interface."""
        sh("ip link set lo up")
        ipv4 = self.driver.family is Family.IPV4
        with socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6, socket.SOCK_DGRAM) as sender:
            for port in (9001, 9002, 9003):
                sender.sendto(b"x", ("127.0.0.1" if ipv4 else "::1", port))

    def save(self, table: str = "", counters: bool = False) -> list[str]:
        options = (f" -t {table}" if table else "") + (" -c" if counters else "")
        return [line for line in sh(self.iptables + "-save" + options).splitlines() if line[:1] in "-["]

    def saved_chain(self, table: str, chain: str) -> list[str]:
        return [line for line in self.save(table) if line.startswith(f"-A {chain} ")]


@pytest.fixture(
    params=[(d, f) for d in (LegacyRules, NftRules) for f in Family], ids=lambda p: f"{p[0].variant}-{p[1]}"
)
def host(request: pytest.FixtureRequest) -> Host:
    """A host of one variant and family, with the sets in place and no rules."""
    request.getfixturevalue("network_namespace")
    driver, family = request.param
    sh("ipset restore", "\n".join(render_ipset(set_specs(family), ())) + "\n")
    return Host(driver(family), plan_rules(SETTINGS, family, None))


def test_the_saved_rules_are_the_rendered_ones_to_the_byte(host: Host) -> None:
    """IPT-04, IPT-07, IPT-90, IPT-93: what iptables-save prints is what the rule set says, in the same order."""
    host.driver.replace(host.rules)
    for table in host.rules.tables:
        saved = host.save(table.table)
        rendered = [x for x in render_rules(RuleSet(host.driver.family, (table,))) if x.startswith("-A")]
        assert sorted(saved) == sorted(rendered)
        for name in (*(c.name for c in table.chains), *(j.builtin for j in table.jumps)):
            start = f"-A {name} "
            assert [x for x in saved if x.startswith(start)] == [x for x in rendered if x.startswith(start)]


def test_rules_match_after_they_were_written_and_not_before(host: Host) -> None:
    """IPT-06: `matches` tells the complete rule set from none."""
    assert not host.driver.matches(host.rules)
    host.driver.replace(host.rules)
    assert host.driver.matches(host.rules)


@pytest.mark.parametrize(
    "detection",
    [
        LocalDetection(),
        LocalDetection(mode=LocalDetectionMode.BRIDGE_INTERFACE, bridge_interface="cni0"),
        LocalDetection(mode=LocalDetectionMode.INTERFACE_NAME_PREFIX, interface_name_prefix="cali"),
        LocalDetection(mode=LocalDetectionMode.INTERFACE_NAME_PREFIX, interface_name_prefix="fifteen-letters"),
        LocalDetection(cluster_networks=(Network.parse("0.0.0.0/0"), Network.parse("::/0"))),
    ],
    ids=["none", "bridge", "prefix", "longest-prefix", "everything"],
)
def test_every_local_detection_reads_back_as_written(host: Host, detection: LocalDetection) -> None:
    """LOC-01 to LOC-04: no form of the match is printed otherwise than planned."""
    rules = plan_rules(Settings(local_detection=detection), host.driver.family, None)
    host.driver.replace(rules)
    assert host.driver.matches(rules)


def test_other_marks_and_masquerading_of_everything_read_back_as_written(host: Host) -> None:
    """IPT-04, IPT-23a: bit 31 and bit 0 as well."""
    for bit in (31, 0):
        settings = Settings(masquerade_bit=bit, masquerade_all=True)
        rules = plan_rules(settings, host.driver.family, None, random_fully=False)
        host.driver.replace(rules)
        assert host.driver.matches(rules)
        assert not host.driver.matches(host.rules)


def test_a_second_replacement_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """DEV-03: rules that are right are not written again, so nothing is started but the reading program."""
    host.driver.replace(host.rules)
    monkeypatch.setattr(type(host.driver), "_write", _refuse_changes)
    host.driver.replace(host.rules)


def _refuse_changes(_driver: object, changes: object) -> None:
    assert not any(c.commands for c in changes) if isinstance(changes, list) else False


def test_a_chain_that_is_right_keeps_its_counters_when_another_is_repaired(host: Host) -> None:
    """A change writes the chains that differ and no other."""
    host.driver.replace(host.rules)
    host.send_packets()
    counted = [line for line in host.save("nat", counters=True) if "-A KUBE-SERVICES -s " in line]
    assert not counted[0].startswith("[0:0]")
    host.run("-t nat -F KUBE-MARK-MASQ")
    assert not host.driver.matches(host.rules)
    host.driver.replace(host.rules)
    assert host.driver.matches(host.rules)
    assert counted == [line for line in host.save("nat", counters=True) if "-A KUBE-SERVICES -s " in line]


def test_a_missing_jump_is_inserted_at_the_top_and_the_others_stay(host: Host) -> None:
    """IPT-01: jumps that stand anywhere are left there; missing ones come to the top in their order."""
    host.driver.replace(host.rules)
    host.run("-I INPUT 1 -p tcp -m comment --comment first -j ACCEPT")
    for comment, chain in (
        ("kubernetes ipvs access filter", "KUBE-IPVS-FILTER"),
        ("kube-proxy firewall rules", "KUBE-PROXY-FIREWALL"),
    ):
        host.run(f'-D INPUT -m comment --comment "{comment}" -j {chain}')
    host.driver.replace(host.rules)
    assert [line.rpartition(" ")[2] for line in host.saved_chain("filter", "INPUT")] == [
        "KUBE-IPVS-FILTER",
        "KUBE-PROXY-FIREWALL",
        "ACCEPT",
        "KUBE-NODE-PORT",
    ]


def test_of_several_copies_of_a_jump_the_first_stays(host: Host) -> None:
    """IPT-01: surplus copies go; a foreign rule between them is not overtaken."""
    host.driver.replace(host.rules)
    host.run("-A OUTPUT -t nat -p tcp -m comment --comment between -j ACCEPT")
    for _ in range(2):
        host.run('-A OUTPUT -t nat -m comment --comment "kubernetes service portals" -j KUBE-SERVICES')
    assert not host.driver.matches(host.rules)
    host.driver.replace(host.rules)
    assert host.driver.matches(host.rules)
    saved = host.saved_chain("nat", "OUTPUT")
    assert [line.rpartition(" ")[2] for line in saved] == ["KUBE-SERVICES", "ACCEPT"]


def test_foreign_rules_and_their_counters_are_untouched(host: Host) -> None:
    """Design, idea 3: what is not ours is left alone, in chains of others and in built-in ones."""
    host.run("-N OTHER")
    host.run("""-A OTHER -p udp -m comment --comment "it's \\"theirs\\"" -j ACCEPT""")
    host.run("-A OUTPUT -p udp -m udp --dport 9000:9010 -j OTHER")
    host.run("-t mangle -A OUTPUT -p udp -j ACCEPT")
    host.send_packets()
    before = host.save(counters=True)
    assert len(before) == len([line for line in before if not line.startswith("[0:0]")]) == 3
    host.driver.replace(host.rules)
    assert [line for line in host.save(counters=True) if line in before] == before
    host.driver.remove(host.rules)
    assert host.save(counters=True) == before


def test_removal_leaves_nothing_of_ours_and_may_be_repeated(host: Host) -> None:
    """CLN-05, DEV-30: jumps go wherever and however often they stand, chains whatever they hold."""
    before = host.driver.list_ours(host.rules)
    host.driver.replace(host.rules)
    host.run("-A KUBE-IPVS-OUT-FILTER -p tcp -m comment --comment leftover -j DROP")
    host.run("-t nat -I OUTPUT 1 -p tcp -j ACCEPT")
    host.run('-t nat -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES')
    assert len(host.driver.list_ours(host.rules)) == 22
    host.driver.remove(host.rules)
    assert before == host.driver.list_ours(host.rules) == []
    assert not [line for line in sh(f"{host.iptables}-save").splitlines() if "KUBE-" in line]
    assert len(host.saved_chain("nat", "OUTPUT")) == 1
    host.driver.remove(host.rules)


def test_a_chain_that_a_foreign_rule_needs_is_emptied_and_named(host: Host) -> None:
    """The chain cannot be deleted; all others are, and the error says which one stays."""
    host.driver.replace(host.rules)
    host.run("-A FORWARD -p tcp -m comment --comment theirs -j KUBE-FORWARD")
    with pytest.raises(Busy, match=r"filter KUBE-FORWARD: rules that are not ours"):
        host.driver.remove(host.rules)
    assert host.driver.list_ours(host.rules) == ["filter KUBE-FORWARD"]
    assert host.saved_chain("filter", "KUBE-FORWARD") == []


def test_a_table_is_left_as_it_was_when_a_set_is_missing(host: Host) -> None:
    """A rule that the kernel refuses changes nothing of its table."""
    host.driver.replace(host.rules)
    host.driver.remove(host.rules)
    sh(f"ipset destroy {set_specs(host.driver.family)[0].name}")  # the loopback set of KUBE-POSTROUTING
    before = host.save("nat")
    with pytest.raises(ToolFailed):
        host.driver.replace(host.rules)
    assert host.save("nat") == before


def test_a_program_that_holds_the_lock_is_waited_for_no_longer_than_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The legacy driver waits for the lock, then says that it is busy; a free lock is taken at once."""
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "lock"))
    clock = iter((0.0, 0.5, 1.5)).__next__
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Busy), xtables_lock(1.0, clock=clock):
            pytest.fail("the lock was taken from its holder")
    with xtables_lock(0.0):
        pass


def test_writing_one_table_loads_no_other() -> None:
    """A table costs every packet a little; python-iptables would open all five of them."""
    family = Family.IPV4
    table = TableRules(Table.MANGLE, plan_rules(SETTINGS, family, None).tables[2].chains, ())
    sh("ipset restore", "\n".join(render_ipset(set_specs(family), ())) + "\n")
    assert not LegacyRules(family).matches(RuleSet(family, (table,)))
    assert tables_in_use(family) == frozenset()
    LegacyRules(family).replace(RuleSet(family, (table,)))
    assert tables_in_use(family) == {"mangle"}


def test_looking_through_and_cleaning_an_untouched_host_loads_no_legacy_table() -> None:
    """Facts of the nft variant: opening a legacy table makes every later iptables call warn."""
    for family in Family:
        driver = LegacyRules(family)
        rules = plan_rules(SETTINGS, family, None)
        assert driver.list_ours(rules) == []
        driver.remove(rules)
        assert iptables_legacy.tables_in_use(family) == frozenset()
    assert detect_variant() in ("nft", "legacy")
    assert tables_in_use(Family.IPV4) == frozenset()


def test_kubelets_hint_decides_the_variant_whatever_rules_there_are() -> None:
    """A chain that kubelet made in mangle counts more than any number of rules, nft first."""
    sh("iptables-nft -A INPUT -p tcp -j ACCEPT")
    assert detect_variant() == "nft"
    sh("iptables-legacy -w 60 -t mangle -N KUBE-IPTABLES-HINT")
    assert detect_variant() == "legacy"
    sh("ip6tables-nft -t mangle -N KUBE-KUBELET-CANARY")
    assert detect_variant() == "nft"


def test_without_a_hint_the_variant_with_more_rules_is_the_hosts() -> None:
    """Both variants may hold rules; the agent goes where most of them are."""
    sh("iptables-legacy -w 60 -A INPUT -p tcp -j ACCEPT")
    assert detect_variant() == "legacy"
    sh("iptables-nft -A INPUT -p tcp -j ACCEPT")
    sh("ip6tables-nft -A INPUT -p tcp -j ACCEPT")
    assert detect_variant() == "nft"


def test_a_kernel_with_all_parts_lacks_none_and_the_trial_leaves_nothing_behind(host: Host) -> None:
    """DEV-81: each match and target of the rules is tried."""
    before = host.save()
    assert host.driver.missing(host.rules) == ()
    assert host.save() == before


def test_an_absent_set_is_no_missing_part(host: Host) -> None:
    """DEV-81: a rule for it is refused, but loading a module would not help."""
    sh("ipset destroy")
    assert host.driver.missing(host.rules) == ()


def test_the_installed_iptables_knows_random_fully() -> None:
    """IPT-05: every supported distribution has 1.6.2 or later."""
    assert supports_random_fully()
