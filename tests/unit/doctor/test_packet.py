"""Sample packets through saved rules."""

from __future__ import annotations

import pytest

from ipvsagent.doctor.packet import Fate, Packet, walk_input
from unit.doctor.snapshots import POD, VIP, saved

PACKET = Packet("tcp", 80, source=POD, destination=VIP)

UFW = (
    "-A INPUT -j ufw-before-input",
    "-A INPUT -j ufw-user-input",
    "-A ufw-before-input -i lo -j ACCEPT",
    "-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A ufw-before-input -j ufw-not-local",
    "-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN",
    "-A ufw-not-local -j DROP",
    "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT",
)


@pytest.mark.parametrize(
    ("lines", "policy", "fate"),
    [
        ((), "ACCEPT", Fate.ACCEPTED),
        ((), "DROP", Fate.DROPPED),
        (UFW, "DROP", Fate.DROPPED),
        ((*UFW, "-A ufw-user-input -s 10.244.0.0/16 -j ACCEPT"), "DROP", Fate.ACCEPTED),
        ((*UFW, "-A ufw-user-input -s 10.244.0.0/16 -d 10.97.0.0/16 -j ACCEPT"), "DROP", Fate.DROPPED),
        (("-A INPUT ! -s 10.244.0.0/16 -j DROP",), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -p tcp -m multiport --dports 22,80:90 -j REJECT --reject-with tcp-reset",), "ACCEPT", Fate.DROPPED),
        (("-A INPUT -p udp -j DROP",), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -m set --match-set bad src -j DROP",), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -m set --match-set good src -j ACCEPT", "-A INPUT -j DROP"), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -i eth0 -j ZONE", "-A INPUT -j DROP", "-A ZONE -s 10.0.0.0/8 -j ACCEPT"), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -i eth0 -j ZONE", "-A ZONE -j DROP"), "ACCEPT", Fate.ACCEPTED),
        (("-A INPUT -j KUBE-FIREWALL", "-A KUBE-FIREWALL -j DROP"), "ACCEPT", Fate.ACCEPTED),
        (('-A INPUT -m comment --comment "all but -p udp" -j DROP',), "ACCEPT", Fate.DROPPED),
        (("-A INPUT -j LOG --log-prefix x", "-A INPUT -s 0.0.0.0/0 -j DROP"), "ACCEPT", Fate.DROPPED),
    ],
)
def test_a_packet_is_dropped_only_where_that_is_certain(lines: tuple[str, ...], policy: str, fate: Fate) -> None:
    """A packet counts as accepted if that is unknown."""
    assert walk_input(saved(*lines, policy=policy), PACKET).fate is fate


def test_the_rule_that_drops_is_named() -> None:
    """As iptables prints it."""
    rules = saved("-A INPUT -j A", "-A A -p tcp -m tcp --dport 80 -j DROP")
    assert walk_input(rules, PACKET).because == "-A A -p tcp -m tcp --dport 80 -j DROP"


def test_an_unknown_address_leaves_a_rule_about_it_open() -> None:
    """It may or may not hold."""
    rules = saved("-A INPUT -s 10.0.0.0/8 -j ACCEPT", policy="DROP")
    assert walk_input(rules, Packet("tcp", 80)).fate is Fate.ACCEPTED
