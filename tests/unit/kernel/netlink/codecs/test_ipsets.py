"""Our ipset encoder against pyroute2's, and against itself where pyroute2 has none."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_IPSET
from pyroute2.netlink.nfnetlink import ipset as constants

from ipvsagent.kernel.netlink.codecs import ipsets as codec
from ipvsagent.kernel.netlink.sockets import attributes
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.state import SetEntry, SetSpec, SetType
from ipvsagent.planner.sets import set_specs

ALL_SPECS = [spec for family in Family for spec in set_specs(family)]


@st.composite
def entries(draw: st.DrawFn) -> tuple[SetSpec, list[SetEntry]]:
    """A set and some entries that it can hold."""
    spec = draw(st.sampled_from(ALL_SPECS))
    size = 16 if spec.family is Family.IPV6 else 4
    addresses = st.binary(min_size=size, max_size=size).map(Address)
    ports = st.integers(0, 65535)
    protocols = st.sampled_from(Protocol)
    made = {
        SetType.BITMAP_PORT: st.builds(SetEntry, st.just(spec.name), ports),
        SetType.HASH_IP: st.builds(SetEntry, st.just(spec.name), address=addresses),
        SetType.HASH_IP_PORT: st.builds(SetEntry, st.just(spec.name), ports, protocols, addresses),
        SetType.HASH_IP_PORT_IP: st.builds(SetEntry, st.just(spec.name), ports, protocols, addresses, addresses),
        SetType.HASH_IP_PORT_NET: st.builds(
            SetEntry, st.just(spec.name), ports, protocols, addresses, addresses, st.integers(1, size * 8)
        ),
    }[spec.type]
    return spec, draw(st.lists(made, min_size=1, max_size=5))


@given(entries())
def test_entries_survive_the_way_to_bytes_and_back(made: tuple[SetSpec, list[SetEntry]]) -> None:
    """SET-30: what is written is what a listing shows, for every set of both families."""
    spec, wanted = made
    assert codec.decode_entries(codec.encode_entries(spec.name, wanted), spec) == wanted


@given(entries())
def test_an_entry_has_the_bytes_that_pyroute2_makes(made: tuple[SetSpec, list[SetEntry]]) -> None:
    """Nested attributes, flag bits and byte orders agree with pyroute2's encoder."""
    spec, wanted = made
    assert _plain(codec.encode_entries(spec.name, wanted[:1])) == _plain(_pyroute2_entry(wanted[0]))


def test_a_failing_entry_is_found_by_its_line() -> None:
    """The kernel fills the line number of the culprit into its copy of the request."""
    request = codec.encode_entries("KUBE-NODE-PORT-TCP", [SetEntry("KUBE-NODE-PORT-TCP", p) for p in (1, 2, 3)])
    culprit = request.replace(struct.pack("=HHI", 8, 9, 0), struct.pack("=HH", 8, 9) + struct.pack("!I", 2), 1)
    assert codec.decode_line_number(struct.pack("=i", -17) + bytes(16) + culprit) == 2


def _plain(payload: bytes) -> dict[int, bytes]:
    """Attributes of the request with those of the entry instead of their list."""
    found = attributes(payload, 4)
    data = attributes(attributes(found.pop(8))[7])
    data.pop(9, None)  # line numbers are ours
    found.pop(9, None)
    return found | {100 + number: value for number, value in data.items()}


def _pyroute2_entry(entry: SetEntry) -> bytes:
    attrs: list[Any] = []
    if entry.address is not None:
        attrs.append(["IPSET_ATTR_IP", _ip(entry.address)])
    if entry.address is None or entry.protocol is not None:
        attrs.append(["IPSET_ATTR_PORT", entry.port])
    if entry.protocol is not None:
        attrs.append(["IPSET_ATTR_PROTO", int(entry.protocol)])
    if entry.other_address is not None:
        attrs.append(["IPSET_ATTR_IP2", _ip(entry.other_address)])
    if entry.other_prefix_length is not None:
        attrs.append(["IPSET_ATTR_CIDR2", entry.other_prefix_length])
    message = constants.ipset_msg()
    message["header"]["type"] = NFNL_SUBSYS_IPSET << 8 | constants.IPSET_CMD_ADD
    message["header"]["flags"] = NLM_F_REQUEST
    message["nfgen_family"] = 2
    message["attrs"] = [
        ["IPSET_ATTR_PROTOCOL", 6],
        ["IPSET_ATTR_SETNAME", entry.set_name],
        ["IPSET_ATTR_ADT", {"attrs": [["IPSET_ATTR_DATA", {"attrs": attrs}]]}],
    ]
    message.encode()
    return bytes(message.data[16:])


def _ip(address: Address) -> dict[str, Any]:
    name = "IPSET_ATTR_IPADDR_IPV4" if len(address) == 4 else "IPSET_ATTR_IPADDR_IPV6"
    return {"attrs": [[name, str(address)]]}
