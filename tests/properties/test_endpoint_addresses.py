"""The quick way to check the addresses of a slice against the careful one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.model.address import Address, Family
from ipvsagent.model.objects import EndpointSlice, Kind, ObjectKey
from ipvsagent.source.decode import Usable, decode_value
from ipvsagent.source.problems import ORDINARY_FIRST_BYTES, Problems, check_address

ADDRESSES = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)).map(Address)


@given(ADDRESSES)
def test_an_address_with_an_ordinary_first_byte_is_unicast(address: Address) -> None:
    """EP-02: no loopback, multicast, link-local or unspecified address gets by."""
    if address[0] in ORDINARY_FIRST_BYTES[address.family]:
        special = (address.is_loopback, address.is_multicast, address.is_link_local)
        assert not any(special)
        assert not address.is_unspecified
        assert address != Address.parse("255.255.255.255")


def test_usual_pod_addresses_are_ordinary() -> None:
    """Otherwise the quick way would be none."""
    for text in ("10.244.0.11", "172.16.0.1", "192.168.60.1", "100.64.3.4", "fd00::1", "2001:db8::1"):
        address = Address.parse(text)
        assert address[0] in ORDINARY_FIRST_BYTES[address.family]


@given(st.lists(st.one_of(ADDRESSES.map(str), st.sampled_from(["", "10.0.0.300", "::1%eth0", " 10.0.0.1", "web"]))))
def test_one_bad_address_takes_no_other_endpoint_along(texts: list[str]) -> None:
    """EP-02, EP-07: each address is judged by itself, whatever stands beside it."""
    endpoints = [{"addresses": [text]} for text in texts] + [{"addresses": []}, {}]
    found = decode_value(
        Kind.ENDPOINT_SLICE,
        {
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": endpoints,
        },
    )
    assert isinstance(found, Usable)
    assert isinstance(found.object, EndpointSlice)
    problems = Problems(Kind.ENDPOINT_SLICE, ObjectKey("shop", "web"))
    expected = [a for a in (check_address(t, "", problems) for t in texts) if a and a.family is Family.IPV4]
    assert [e.address for e in found.object.endpoints] == expected
    assert bool(found.problems) == (len(expected) < len(texts))
