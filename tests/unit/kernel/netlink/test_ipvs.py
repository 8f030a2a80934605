"""The IPVS driver on a scripted netlink socket: what a kernel at rest never shows."""

from __future__ import annotations

import errno
import struct

import pytest

from ipvsagent.errors import AlreadyExists, NotFound, NotPermitted, NotSupported, kernel_error
from ipvsagent.kernel.netlink import ipvs
from ipvsagent.kernel.netlink.codecs import ipvs as ipvs_codec
from ipvsagent.kernel.netlink.sockets import Message, attribute
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import AddRealServer, AddRealServers, AddVirtualServer
from ipvsagent.model.state import RealServer, VirtualServer, VirtualServerKey

FAMILY = 42
GET_SERVICE, GET_DEST = 4, 8  # IPVS_CMD_*
GONE = VirtualServerKey(Protocol.TCP, Address.parse("10.96.0.1"), 80)
EMPTY = VirtualServerKey(Protocol.UDP, Address.parse("fd00::1"), 53)


class ScriptedNetlink:
    """Lists two virtual servers without real servers, of which one has gone when it is asked for."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.closed = False

    def __call__(self, _protocol: int) -> ScriptedNetlink:
        return self

    def close(self) -> None:
        self.closed = True

    def ask(self, message: Message, *, operation: str, subject: str = "") -> bytes:
        if self.refusal:
            raise kernel_error(operation, subject, self.refusal)
        if message.type != FAMILY:
            return bytes(4) + attribute(1, struct.pack("=H", FAMILY))
        assert message.payload[0] == GET_SERVICE
        if message.payload == ipvs_codec.get_virtual_server(GONE):
            raise kernel_error(operation, subject, errno.ESRCH)
        return message.payload

    def dump(self, message: Message, *, operation: str, subject: str = "") -> list[bytes]:
        assert operation
        if message.payload[0] == GET_DEST:
            assert subject
            return []
        return [ipvs_codec.encode(AddVirtualServer(VirtualServer(key, "rr"))) for key in (GONE, EMPTY)]


def test_a_virtual_server_that_goes_during_the_listing_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers a listing of its real servers with nothing, as for an empty one."""
    monkeypatch.setattr(ipvs, "NetlinkSocket", ScriptedNetlink())
    driver = ipvs.IpvsDriver()
    found = driver.list_virtual_servers()
    driver.close()
    assert [(server.key, server.real_servers) for server in found] == [(EMPTY, ())]


def test_a_kernel_without_ipvs_is_reported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generic netlink answers ENOENT for a family that it has not."""
    netlink = ScriptedNetlink(errno.ENOENT)
    monkeypatch.setattr(ipvs, "NetlinkSocket", netlink)
    with pytest.raises(NotSupported, match=r"the kernel has no IPVS \(module `ip_vs`, `CONFIG_IP_VS`\)"):
        ipvs.IpvsDriver()
    assert netlink.closed


def test_any_other_refusal_keeps_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing capability is not a missing module."""
    netlink = ScriptedNetlink(errno.EPERM)
    monkeypatch.setattr(ipvs, "NetlinkSocket", netlink)
    with pytest.raises(NotPermitted):
        ipvs.IpvsDriver()
    assert netlink.closed


def test_a_real_server_of_the_other_family_is_read_as_such() -> None:
    """DEV-29: a tunnel of somebody else's may lead from IPv4 to IPv6."""
    server = RealServer(Address.parse("fd00::9"), 80)
    payload = ipvs_codec.encode(AddRealServer(GONE, server))
    counters = attribute(7, bytes(4)) + attribute(8, bytes(4))  # ACTIVE_CONNS, INACT_CONNS, as a listing has them
    service = len(ipvs_codec.nested_key(GONE))
    listed = payload[:4] + attribute(2, payload[4 + service + 4 :] + counters)
    assert ipvs_codec.decode_real_server(listed, Family.IPV4).address == server.address


def test_a_virtual_server_by_firewall_mark_is_left_out_of_listings() -> None:
    """VS-14, DEV-29: it has no address by which anybody could take it for ours."""
    family, mark = attribute(1, b"\2\0"), attribute(5, b"\7\0\0\0")  # IPVS_SVC_ATTR_AF, _FWMARK
    listed = bytes(4) + attribute(1, family + mark + attribute(6, b"rr\0"))
    assert ipvs_codec.decode_virtual_server(listed) is None


def test_a_failed_operation_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors line up with their operations."""
    netlink = ScriptedNetlink()
    monkeypatch.setattr(ipvs, "NetlinkSocket", netlink)
    monkeypatch.setattr(
        netlink, "execute_batch", lambda _batch: {2: (errno.EEXIST, b""), 3: (errno.ESRCH, b"")}, raising=False
    )
    driver = ipvs.IpvsDriver()
    first, second = (RealServer(Address.parse(f"fd00::{n}"), 80) for n in (7, 8))
    third = RealServer(Address.parse("10.0.0.9"), 80)
    added, one, failed, lost = driver.apply(
        [
            AddVirtualServer(VirtualServer(EMPTY, "rr")),
            AddRealServers(EMPTY, (first, second)),
            AddRealServer(GONE, third),
        ]
    )
    driver.close()
    assert (added, one) == (None, None)
    assert isinstance(failed, AlreadyExists)
    assert str(failed) == "add real server [fd00::8]:80 to [fd00::1]:53/UDP: EEXIST"
    assert isinstance(lost, NotFound)
    assert str(lost) == "add real server 10.0.0.9:80 to 10.96.0.1:80/TCP: ESRCH"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "the kernel has no scheduler `mh` (module `ip_vs_mh`, `CONFIG_IP_VS_MH`)"),
        (errno.EAFNOSUPPORT, "IPVS of this kernel has no IPv6 (`CONFIG_IP_VS_IPV6`)"),
        (errno.EEXIST, "EEXIST"),
    ],
)
def test_the_error_of_a_virtual_server_names_the_missing_part(
    monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """DEV-82: the kernel answers with a number alone."""
    netlink = ScriptedNetlink()
    monkeypatch.setattr(ipvs, "NetlinkSocket", netlink)
    monkeypatch.setattr(netlink, "execute_batch", lambda _batch: {0: (number, b"")}, raising=False)
    driver = ipvs.IpvsDriver()
    (refused,) = driver.apply([AddVirtualServer(VirtualServer(EMPTY, "mh"))])
    driver.close()
    assert str(refused) == f"add virtual server [fd00::1]:53/UDP: {words}"
