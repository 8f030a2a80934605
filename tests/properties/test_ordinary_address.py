"""The quick way to check an endpoint's address against the careful one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.model.address import Address
from ipvsagent.model.objects import Kind, ObjectKey
from ipvsagent.source.problems import Problems, check_address, ordinary_address


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)))
def test_what_the_quick_way_takes_the_careful_way_takes_without_a_problem(packed: bytes) -> None:
    """EP-02: no loopback, multicast, link-local or unspecified address gets by."""
    text = str(Address(packed))
    quick = ordinary_address(text)
    problems = Problems(Kind.ENDPOINT_SLICE, ObjectKey("shop", "web"))
    careful = check_address(text, "endpoints[0].addresses[0]", problems)
    if quick is not None:
        assert quick == careful
        assert not problems.found()


def test_usual_pod_addresses_go_the_quick_way() -> None:
    """Otherwise it would be no quick way."""
    for text in ("10.244.0.11", "172.16.0.1", "192.168.60.1", "100.64.3.4", "fd00::1", "2001:db8::1"):
        assert ordinary_address(text) == Address.parse(text)
