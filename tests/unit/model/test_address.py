"""Packed addresses and networks."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.model.address import Address, Family, Network


@given(st.ip_addresses())
def test_text_and_bytes_agree_with_the_standard_library(
    value: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """An address survives the way to text and back, and its kind is what `ipaddress` says."""
    parsed = Address.parse(str(value))
    assert parsed == value.packed
    assert Address.parse(str(parsed)) == parsed
    assert parsed.family is (Family.IPV4 if value.version == 4 else Family.IPV6)
    assert parsed.is_loopback == value.is_loopback or parsed.is_mapped_ipv4
    assert parsed.is_link_local == value.is_link_local or parsed.is_mapped_ipv4
    assert parsed.is_multicast == value.is_multicast or parsed.is_mapped_ipv4


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "::1%lo", "fe80::1%eth0", "a", "1.2.3.4/32", "\0"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Zones, leading zeros and prefix lengths are no addresses."""
    with pytest.raises(ValueError, match="is not an IP address"):
        Address.parse(text)


def test_networks_clear_host_bits_and_know_their_members() -> None:
    """SVC-10: host bits are masked."""
    network = Network.parse("192.168.60.77/24")
    assert str(network) == "192.168.60.0/24"
    assert Address.parse("192.168.60.1") in network
    assert Address.parse("192.168.61.1") not in network
    assert Address.parse("::ffff:192.168.60.1") not in network
    assert str(Network.parse("fd00::1")) == "fd00::1/128"


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/a", "x/8", "::/129", "10.0.0.0/²"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    """The message quotes what was given."""
    with pytest.raises(ValueError, match="is not a CIDR"):
        Network.parse(text)
