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
    meant = getattr(value, "ipv4_mapped", None) or value  # an IPv4-mapped address is the IPv4 address (SVC-20)
    assert parsed == meant.packed
    assert Address.parse(str(parsed)) == parsed
    assert parsed.family is (Family.IPV4 if meant.version == 4 else Family.IPV6)
    assert parsed.is_loopback == meant.is_loopback
    assert parsed.is_link_local == meant.is_link_local
    assert parsed.is_multicast == meant.is_multicast


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0", "10.0.0.256", "0256.0.0.1", "::1%lo", "fe80::1%eth0", "a", "1.2.3.4/32", "\0", "\udc80"),
        *(
            "0x10.0.0.1",
            "1.2.3.4.5",
            " 10.0.0.1",
            "10.0.0.1 ",
            "0a.0.0.1",
            "::fffff",
            "::1::2",
            "1:2:3:4:5:6:7",
            "::0x1",
        ),
        *("10.0.0.-1", "10..0.1", "\uff11\uff10.0.0.1", "::10.0.0", "1:2:3:4:5:6:7:10.0.0.1"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """SVC-20: zones, blanks, prefix lengths, other digits and hexadecimal IPv4 are no addresses."""
    with pytest.raises(ValueError, match="is not an IP address"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("010.000.001.009", "10.0.1.9"),
        ("08.09.010.011", "8.9.10.11"),
        ("192.168.11.0000000233", "192.168.11.233"),
        ("::ffff:192.168.11.233", "192.168.11.233"),
        ("::FFFF:192.168.011.233", "192.168.11.233"),
        ("0000:0000:0000:0000:0000:ffff:c0a8:0be9", "192.168.11.233"),
        ("fd00:0000:0:0::000a", "fd00::a"),
        ("fd00::00000a", "fd00::a"),
        ("FD00::A", "fd00::a"),
        ("64:ff9b::010.0.0.01", "64:ff9b::a00:1"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
    ],
)
def test_older_spellings_are_read_as_kube_proxy_reads_them(text: str, meant: str) -> None:
    """SVC-20: leading zeros are decimal, never octal; an IPv4-mapped address is the IPv4 address."""
    assert str(Address.parse(text)) == meant
    assert Address.parse(text) == Address.parse(meant)


@given(st.ip_addresses(), st.data())
def test_leading_zeros_never_change_an_address(
    value: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
) -> None:
    """SVC-20: whatever number they stand before."""
    separator = "." if value.version == 4 else ":"
    numbers = value.exploded.split(separator)
    padded = separator.join("0" * data.draw(st.integers(0, 5)) + number for number in numbers)
    assert Address.parse(padded) == Address.parse(str(value))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("203.000.113.000/24", "203.0.113.0/24"),
        ("010.020.000.000/016", "10.20.0.0/16"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("FD00:0000::00000/8", "fd00::/8"),
    ],
)
def test_older_spellings_of_ranges_are_read_as_kube_proxy_reads_them(text: str, meant: str) -> None:
    """SVC-20: the length of an IPv4-mapped range counts from the first of 128 bits."""
    assert str(Network.parse(text)) == meant


def test_networks_clear_host_bits_and_know_their_members() -> None:
    """SVC-10: host bits are masked."""
    network = Network.parse("192.168.60.77/24")
    assert str(network) == "192.168.60.0/24"
    assert Address.parse("192.168.60.1") in network
    assert Address.parse("192.168.61.1") not in network
    assert Address.parse("::ffff:192.168.60.1") in network
    assert Address.parse("fd00::1") not in network
    assert str(Network.parse("fd00::1")) == "fd00::1/128"


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/a", "x/8", "::/129", "10.0.0.0/²", "10.0.0.0/+8"),
        *("::ffff:10.0.0.0/95", "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/129", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0"),
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    """The message quotes what was given."""
    with pytest.raises(ValueError, match="is not a CIDR"):
        Network.parse(text)
