"""Claims: one owner a virtual server, whatever the order (DEV-14)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.model.address import Protocol
from ipvsagent.model.state import FrontendKind, VirtualServerKey
from ipvsagent.planner.claims import Claim, Claims
from support.builders import address, key

WEB = VirtualServerKey(Protocol.TCP, address("198.51.100.7"), 80)


def _claim(name: str, created_at: str = "2026", kind: FrontendKind = FrontendKind.EXTERNAL_IP) -> Claim:
    return Claim.of(kind, created_at, key(name))


def test_the_older_service_wins_and_the_next_takes_over_when_it_leaves() -> None:
    """DEV-14."""
    claims = Claims()
    claims.enter(WEB, _claim("shop/new", "2026"))
    claims.enter(WEB, _claim("shop/old", "2025"))
    claims.enter(WEB, _claim("shop/newest", "2027"))
    assert claims.owner(WEB) == key("shop/old")
    assert [c.service.name for c in claims.losers()[WEB]] == ["new", "newest"]
    claims.withdraw(WEB, key("shop/old"))
    assert claims.owner(WEB) == key("shop/new")
    claims.withdraw(WEB, key("shop/newest"))
    assert not claims.losers()
    claims.withdraw(WEB, key("shop/new"))
    assert claims.owner(WEB) is None


def test_a_cluster_ip_beats_age() -> None:
    """DEV-14."""
    claims = Claims()
    claims.enter(WEB, _claim("shop/old", "2020"))
    claims.enter(WEB, _claim("shop/web", "2026", FrontendKind.CLUSTER_IP))
    assert claims.owner(WEB) == key("shop/web")


@given(st.permutations(["shop/a", "shop/b", "shop/c", "shop/d"]), st.sets(st.sampled_from("abcd"), max_size=3))
def test_the_owner_does_not_depend_on_the_order_of_events(order: list[str], leaving: set[str]) -> None:
    """Invariant: each claimed virtual server has exactly one owner, by the claims alone."""
    claims = Claims()
    for name in order:
        claims.enter(WEB, _claim(name))
    for name in sorted(leaving, reverse=True):
        claims.withdraw(WEB, key(f"shop/{name}"))
    staying = sorted(set("abcd") - leaving)
    assert claims.owner(WEB) == key(f"shop/{staying[0]}")
    assert [c.service.name for c in claims.losers().get(WEB, [])] == staying[1:]


def test_a_service_of_unknown_age_takes_nothing_from_one_whose_age_is_known() -> None:
    """DEV-14: manifests need not carry a creationTimestamp."""
    claims = Claims()
    claims.enter(WEB, _claim("shop/a", ""))
    claims.enter(WEB, _claim("shop/b", "2026-01-01T00:00:00Z"))
    assert claims.owner(WEB) == key("shop/b")
