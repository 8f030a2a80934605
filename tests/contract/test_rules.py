"""What every driver of iptables rules does."""

from __future__ import annotations

import pytest

from contract.firewall import FOREIGN_RULE, TO_FILTER, TO_FIRST, TO_SECOND, Firewall, nat
from ipvsagent.errors import Busy, KernelError
from ipvsagent.model.address import Family
from ipvsagent.model.rules import BuiltinJump, Chain, Comment, InSet, Jump, Rule, RuleSet, Table, TableRules

FIRST_LINE = '-m comment --comment "first of all" -j TEST-FIRST'
SECOND_LINE = "-j TEST-SECOND"
FOREIGN_LINE = '-p tcp -m comment --comment "not ours" -j ACCEPT'
ALL = [
    "nat TEST-FIRST",
    "nat TEST-SECOND",
    "nat OUTPUT -j TEST-FIRST",
    "nat OUTPUT -j TEST-SECOND",
    "filter TEST-FILTER",
    "filter INPUT -j TEST-FILTER",
]


def test_written_rules_match(firewall: Firewall) -> None:
    """IPT-04: what was written is read back as it was meant; nothing of it is there before."""
    assert not firewall.driver.matches(firewall.rules)
    assert firewall.driver.list_ours(firewall.rules) == []
    firewall.driver.replace(firewall.rules)
    assert firewall.driver.matches(firewall.rules)
    assert firewall.driver.list_ours(firewall.rules) == ALL
    mark_rule = firewall.host.chain_rules(firewall.family, Table.NAT, "TEST-SECOND")
    assert mark_rule == ["-j MARK --set-xmark 0x4000/0x4000"]


def test_a_driver_serves_its_family(firewall: Firewall) -> None:
    """The other family's rules are untouched."""
    assert firewall.driver.family is firewall.family
    firewall.driver.replace(firewall.rules)
    other = next(f for f in Family if f is not firewall.family)
    assert firewall.host.chain_rules(other, Table.NAT, "OUTPUT") == []


def test_jumps_are_inserted_at_the_top_in_the_order_given(firewall: Firewall) -> None:
    """IPT-02: rules of others in built-in chains are untouched and stay below them."""
    firewall.append(FOREIGN_RULE)
    firewall.driver.replace(firewall.rules)
    assert firewall.builtin() == [FIRST_LINE, SECOND_LINE, FOREIGN_LINE]


def test_writing_again_doubles_nothing(firewall: Firewall) -> None:
    """The built-in chains get each jump once."""
    firewall.driver.replace(firewall.rules)
    firewall.driver.replace(firewall.rules)
    assert firewall.builtin() == [FIRST_LINE, SECOND_LINE]
    assert firewall.builtin(Table.FILTER, "INPUT") == ["-j TEST-FILTER"]


def test_a_jump_that_stands_below_others_is_left_there(firewall: Firewall) -> None:
    """A rule above it was put there on purpose."""
    firewall.driver.replace(firewall.rules)
    firewall.delete(TO_SECOND)
    firewall.append(FOREIGN_RULE)
    firewall.append(TO_SECOND)
    assert firewall.driver.matches(firewall.rules)
    firewall.driver.replace(firewall.rules)
    assert firewall.builtin() == [FIRST_LINE, FOREIGN_LINE, SECOND_LINE]


def test_surplus_copies_of_a_jump_go(firewall: Firewall) -> None:
    """The first copy keeps its place."""
    firewall.driver.replace(firewall.rules)
    firewall.append(FOREIGN_RULE)
    firewall.append(TO_FIRST)
    firewall.append(TO_FIRST)
    assert not firewall.driver.matches(firewall.rules)
    firewall.driver.replace(firewall.rules)
    assert firewall.builtin() == [FIRST_LINE, SECOND_LINE, FOREIGN_LINE]
    assert firewall.driver.matches(firewall.rules)


def test_a_missing_jump_is_noticed_and_put_back(firewall: Firewall) -> None:
    """It comes back at the top."""
    firewall.driver.replace(firewall.rules)
    firewall.delete(TO_SECOND)
    assert not firewall.driver.matches(firewall.rules)
    assert "nat OUTPUT -j TEST-SECOND" not in firewall.driver.list_ours(firewall.rules)
    firewall.driver.replace(firewall.rules)
    assert firewall.builtin() == [SECOND_LINE, FIRST_LINE]


def test_a_rule_of_others_in_our_chain_is_noticed_and_removed(firewall: Firewall) -> None:
    """Our chains hold exactly our rules."""
    firewall.driver.replace(firewall.rules)
    firewall.append(FOREIGN_RULE, table=Table.FILTER, chain="TEST-FILTER")
    assert not firewall.driver.matches(firewall.rules)
    firewall.driver.replace(firewall.rules)
    assert len(firewall.host.chain_rules(firewall.family, Table.FILTER, "TEST-FILTER")) == 1
    assert firewall.driver.matches(firewall.rules)


def test_other_rules_replace_those_that_were_written_before(firewall: Firewall) -> None:
    """A changed configuration rewrites the chains; a chain may become empty."""
    firewall.driver.replace(firewall.rules)
    jumps = (BuiltinJump("OUTPUT", TO_FIRST), BuiltinJump("OUTPUT", TO_SECOND))
    chains = (Chain("TEST-FIRST"), Chain("TEST-SECOND", (Rule((Comment("word"),), Jump("ACCEPT")),)))
    changed = RuleSet(firewall.family, (TableRules(Table.NAT, chains, jumps),))
    assert not firewall.driver.matches(changed)
    firewall.driver.replace(changed)
    assert firewall.driver.matches(changed)
    assert firewall.host.chain_rules(firewall.family, Table.NAT, "TEST-FIRST") == []
    assert firewall.host.chain_rules(firewall.family, Table.NAT, "TEST-SECOND") == [
        "-m comment --comment word -j ACCEPT"
    ]
    assert not firewall.driver.matches(firewall.rules)


@pytest.mark.parametrize("written_before", [False, True], ids=["new", "replaced"])
def test_rules_that_name_a_missing_set_leave_the_table_as_it_was(firewall: Firewall, written_before: bool) -> None:
    """IPT-06: sets come before rules; a table is written as a whole or not at all."""
    if written_before:
        firewall.driver.replace(firewall.rules)
    firewall.append(FOREIGN_RULE)
    before = firewall.builtin(), firewall.driver.list_ours(firewall.rules)
    broken = RuleSet(firewall.family, (nat(set_name="TEST-ABSENT"),))
    with pytest.raises(KernelError):
        firewall.driver.replace(broken)
    assert (firewall.builtin(), firewall.driver.list_ours(firewall.rules)) == before
    assert firewall.driver.matches(firewall.rules) is written_before


def test_a_jump_to_a_missing_chain_leaves_the_table_as_it_was(firewall: Firewall) -> None:
    """As a missing set does."""
    broken = RuleSet(
        firewall.family,
        (TableRules(Table.NAT, (Chain("TEST-FIRST", (Rule((), Jump("TEST-ABSENT")),)),), ()),),
    )
    with pytest.raises(KernelError):
        firewall.driver.replace(broken)
    assert firewall.driver.list_ours(firewall.rules) == []


def test_a_jump_may_match_a_set(firewall: Firewall) -> None:
    """A set that only a jump from a built-in chain names has to be there, too."""
    jump = BuiltinJump("OUTPUT", Rule((InSet("TEST-ABSENT", "dst"),), Jump("TEST-FIRST")))
    rules = RuleSet(firewall.family, (TableRules(Table.NAT, (Chain("TEST-FIRST"),), (jump,)),))
    with pytest.raises(KernelError):
        firewall.driver.replace(rules)
    assert firewall.builtin() == []


def test_removing_takes_what_is_ours_and_nothing_else(firewall: Firewall) -> None:
    """Rules and chains of others stay; so does removing what is not there do no harm."""
    firewall.driver.remove(firewall.rules)
    firewall.driver.replace(firewall.rules)
    firewall.append(FOREIGN_RULE)
    firewall.append(TO_FIRST)
    firewall.host.make_chain(firewall.family, Table.NAT, "THEIRS")
    firewall.append(FOREIGN_RULE, chain="THEIRS")
    firewall.driver.remove(firewall.rules)
    assert firewall.driver.list_ours(firewall.rules) == []
    assert firewall.builtin() == [FOREIGN_LINE]
    assert firewall.host.chain_rules(firewall.family, Table.NAT, "THEIRS") == [FOREIGN_LINE]
    firewall.driver.remove(firewall.rules)
    firewall.host.ip_sets.destroy(firewall.clients.name)


@pytest.mark.parametrize("chain", ["INPUT", "THEIRS"])
def test_a_chain_that_others_lead_to_stays_empty(firewall: Firewall, chain: str) -> None:
    """Everything else goes, and `Busy` names the chain."""
    theirs = Rule((Comment("theirs"),), Jump("TEST-FILTER"))
    firewall.host.make_chain(firewall.family, Table.FILTER, "THEIRS")
    firewall.driver.replace(firewall.rules)
    firewall.append(theirs, table=Table.FILTER, chain=chain)
    with pytest.raises(Busy, match="filter TEST-FILTER"):
        firewall.driver.remove(firewall.rules)
    assert firewall.driver.list_ours(firewall.rules) == ["filter TEST-FILTER"]
    assert firewall.host.chain_rules(firewall.family, Table.FILTER, "TEST-FILTER") == []
    assert len(firewall.host.chain_rules(firewall.family, Table.FILTER, chain)) == 1


def test_rules_hold_the_sets_they_match(firewall: Firewall) -> None:
    """A set that a rule matches cannot be destroyed; its header tells how many rules do."""
    firewall.driver.replace(firewall.rules)
    assert [s.references for s in firewall.host.ip_sets.list_sets()] == [1]
    with pytest.raises(Busy):
        firewall.host.ip_sets.destroy(firewall.clients.name)
    firewall.driver.remove(firewall.rules)
    assert [s.references for s in firewall.host.ip_sets.list_sets()] == [0]
    firewall.host.ip_sets.destroy(firewall.clients.name)


def test_a_set_can_be_swapped_under_the_rules(firewall: Firewall) -> None:
    """SET-30: growing a set leaves the rules right; the reference belongs to the name."""
    larger = type(firewall.clients)("TEST-LARGER", firewall.clients.type, firewall.family, 200_000)
    firewall.driver.replace(firewall.rules)
    firewall.host.ip_sets.create(larger)
    firewall.host.ip_sets.swap(firewall.clients.name, larger.name)
    assert firewall.driver.matches(firewall.rules)
    sizes = {s.name: (s.max_elements, s.references) for s in firewall.host.ip_sets.list_sets()}
    assert sizes == {firewall.clients.name: (200_000, 1), larger.name: (65536, 0)}
    firewall.host.ip_sets.destroy(larger.name)


def test_a_rule_of_filter_is_looked_for_in_filter_only(firewall: Firewall) -> None:
    """Chains of one name in two tables are two chains."""
    firewall.host.make_chain(firewall.family, Table.NAT, "TEST-FILTER")
    assert firewall.driver.list_ours(firewall.rules) == []
    firewall.driver.replace(firewall.rules)
    firewall.driver.remove(firewall.rules)
    firewall.append(TO_FILTER)  # the foreign chain is still there to jump to
    assert firewall.builtin() == ["-j TEST-FILTER"]
