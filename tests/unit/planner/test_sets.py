"""Names and types of the ipsets."""

from __future__ import annotations

import pytest

from ipvsagent.model.address import Family
from ipvsagent.model.state import SetType
from ipvsagent.planner import sets


@pytest.mark.parametrize(
    ("base", "ipv6"),
    [
        ("KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP"),
        ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "KUBE-6-LOAD-BALANCER-SOURCE-CID"),
        ("KUBE-NODE-PORT-LOCAL-SCTP-HASH", "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS"),
        ("KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-6-HEALTH-CHECK-NODE-PORT"),
        ("IPVSAGENT-NODE-PORT-IPS", "IPVSAGENT-6-NODE-PORT-IPS"),
    ],
)
def test_ipv6_names_carry_a_six_and_are_cut(base: str, ipv6: str) -> None:
    """SET-09, SET-15, SET-18: 31 characters are all that the kernel takes."""
    assert sets.set_name(base, Family.IPV4) == base
    assert sets.set_name(base, Family.IPV6) == ipv6


@pytest.mark.parametrize("family", Family)
def test_there_are_seventeen_sets_and_a_note_with_names_of_their_own(family: Family) -> None:
    """SET-01 to SET-18: no two names fall together when cut, and none is shared by the families."""
    names = {spec.name for spec in sets.set_specs(family)}
    other = Family.IPV6 if family is Family.IPV4 else Family.IPV4
    assert len(names - sets.NOTES) == 17
    assert len(names & sets.NOTES) == 1
    assert names.isdisjoint(spec.name for spec in sets.set_specs(other))
    assert max(len(name) for name in names) <= 31
    assert len(sets.COMMENTS) == 17


def test_types_are_those_of_kube_proxy() -> None:
    """SET-01 to SET-17: a bitmap has no family."""
    by_type: dict[SetType, list[str]] = {}
    for spec in sets.set_specs(Family.IPV4):
        by_type.setdefault(spec.type, []).append(spec.name)
        assert spec.family is (None if spec.type is SetType.BITMAP_PORT else Family.IPV4)
    assert by_type == {
        SetType.HASH_IP_PORT_IP: ["KUBE-LOOP-BACK", "KUBE-LOAD-BALANCER-SOURCE-IP"],
        SetType.HASH_IP_PORT: [
            "KUBE-CLUSTER-IP",
            "KUBE-EXTERNAL-IP",
            "KUBE-EXTERNAL-IP-LOCAL",
            "KUBE-LOAD-BALANCER",
            "KUBE-LOAD-BALANCER-FW",
            "KUBE-LOAD-BALANCER-LOCAL",
            "KUBE-NODE-PORT-SCTP-HASH",
            "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
        ],
        SetType.HASH_IP_PORT_NET: ["KUBE-LOAD-BALANCER-SOURCE-CIDR"],
        SetType.BITMAP_PORT: [
            "KUBE-NODE-PORT-TCP",
            "KUBE-NODE-PORT-LOCAL-TCP",
            "KUBE-NODE-PORT-UDP",
            "KUBE-NODE-PORT-LOCAL-UDP",
            "KUBE-HEALTH-CHECK-NODE-PORT",
        ],
        SetType.HASH_IP: ["KUBE-IPVS-IPS", "IPVSAGENT-NODE-PORT-IPS"],
    }
