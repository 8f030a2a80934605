"""Our rtnetlink encoder against pyroute2's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from ipvsagent.kernel.netlink.codecs import addresses as codec
from ipvsagent.kernel.netlink.sockets import attributes
from ipvsagent.model.address import Address

addresses = st.sampled_from([4, 16]).flatmap(lambda n: st.binary(min_size=n, max_size=n)).map(Address)


@given(addresses, st.integers(1, 1000))
def test_an_address_has_the_bytes_that_pyroute2_makes(address: Address, index: int) -> None:
    """ADR-02: full length, global scope; IPv6 without duplicate address detection, which a down link never ends."""
    message = ifaddrmsg()
    message["family"] = int(address.family)
    message["prefixlen"] = address.family.bits
    message["flags"] = 0 if len(address) == 4 else 0x02
    message["index"] = index
    text = str(address)
    message["attrs"] = [["IFA_LOCAL", text], ["IFA_ADDRESS", text]] if len(address) == 4 else [["IFA_ADDRESS", text]]
    if len(address) == 16:
        message["attrs"].append(["IFA_FLAGS", 0x02])
    message.encode()
    theirs = bytes(message.data[16:])
    ours = codec.encode_address(address, index)
    assert ours[:8] == theirs[:8]
    assert attributes(ours, 8) == attributes(theirs, 8)
    assert codec.decode_address(ours) == (index, address, address.family.bits)


def test_a_dummy_interface_has_the_bytes_that_pyroute2_makes() -> None:
    """ADR-01."""
    message = ifinfmsg()
    message["attrs"] = [
        ["IFLA_IFNAME", "kube-ipvs0"],
        ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", "dummy"]]}],
    ]
    message.encode()
    theirs, ours = bytes(message.data[16:]), codec.encode_dummy("kube-ipvs0")
    assert ours[:16] == theirs[:16]
    link = codec.decode_link(theirs)
    assert codec.decode_link(ours) == link
    assert (link.name, link.kind) == ("kube-ipvs0", "dummy")
