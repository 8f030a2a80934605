"""What the ipset driver says about a kernel that lacks a part."""

from __future__ import annotations

import errno
import re

import pytest

from ipvsagent.errors import KernelError, NodeUnusable, NotPermitted, NotSupported, kernel_error
from ipvsagent.kernel.netlink.conntrack import ConntrackDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.sockets import Message
from ipvsagent.model.address import Family
from ipvsagent.model.state import SetSpec, SetType
from ipvsagent.requirements import needed_from_node

FIND_TYPE = 4098  # IPSET_ERR_FIND_TYPE


def _driver(monkeypatch: pytest.MonkeyPatch, number: int) -> IpSetDriver:
    """A driver whose kernel answers every question with an error number."""

    class Refusing:
        def __init__(self, protocol: int, *, capped_answers: bool) -> None:
            pass

        def ask(self, message: Message, *, operation: str, subject: str = "") -> bytes:
            raise kernel_error(operation, subject, number if message else 0)

        dump = ask

    monkeypatch.setattr("ipvsagent.kernel.netlink.ipsets.NetlinkSocket", Refusing)
    return IpSetDriver()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (SetType.HASH_IP, "`hash:ip` (module `ip_set_hash_ip`, `CONFIG_IP_SET_HASH_IP`)"),
        (SetType.HASH_IP_PORT, "`hash:ip,port` (module `ip_set_hash_ipport`, `CONFIG_IP_SET_HASH_IPPORT`)"),
        (SetType.HASH_IP_PORT_IP, "`hash:ip,port,ip` (module `ip_set_hash_ipportip`, `CONFIG_IP_SET_HASH_IPPORTIP`)"),
        (
            SetType.HASH_IP_PORT_NET,
            "`hash:ip,port,net` (module `ip_set_hash_ipportnet`, `CONFIG_IP_SET_HASH_IPPORTNET`)",
        ),
        (SetType.BITMAP_PORT, "`bitmap:port` (module `ip_set_bitmap_port`, `CONFIG_IP_SET_BITMAP_PORT`)"),
    ],
)
def test_a_missing_set_type_is_named_with_its_module(monkeypatch: pytest.MonkeyPatch, kind: SetType, part: str) -> None:
    """DEV-67."""
    driver = _driver(monkeypatch, FIND_TYPE)
    with pytest.raises(NotSupported) as caught:
        driver.create(SetSpec("KUBE-X", kind, Family.IPV4))
    assert str(caught.value) == f"find ipset type {kind.value}: the kernel has no set type {part}"


def test_a_kernel_without_ipsets_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEV-67: nfnetlink answers EINVAL for a subsystem that is absent."""
    driver = _driver(monkeypatch, errno.EINVAL)
    with pytest.raises(NotSupported) as caught:
        driver.list_sets()
    assert str(caught.value) == "list ipsets: the kernel has no ipsets (module `ip_set`, `CONFIG_IP_SET`)"
    with pytest.raises(NotSupported):
        driver.create(SetSpec("KUBE-X", SetType.HASH_IP, Family.IPV4))


def test_another_error_is_not_taken_for_a_missing_set_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEV-67."""
    with pytest.raises(NotPermitted):
        _driver(monkeypatch, errno.EPERM).create(SetSpec("KUBE-X", SetType.HASH_IP, Family.IPV4))


def test_a_missing_part_ends_the_start_with_a_remedy_that_installs_it() -> None:
    """DEV-67."""
    missing: KernelError = NotSupported("list ipsets", detail="the kernel has no ipsets")
    with pytest.raises(NodeUnusable) as caught, needed_from_node():
        raise missing
    assert caught.value.fact == "the node could not be prepared: list ipsets: the kernel has no ipsets"
    assert caught.value.remedy == "load the named module, or install the full kernel package of the distribution"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (4099, "no more ipsets can be made (module option `ip_set max_sets`)"),
        (4106, "the address family does not fit the ipset"),
        (4400, "the kernel's ipsets refuse it with number 4400"),
    ],
)
def test_numbers_of_ipsets_are_given_in_words(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    """DEV-82: an operator cannot look up the kernel's own numbers."""
    driver = _driver(monkeypatch, 0)
    monkeypatch.setattr("ipvsagent.kernel.netlink.ipsets.NetlinkSocket.execute", lambda *_: [number], raising=False)
    with pytest.raises(KernelError, match=f"destroy ipset KUBE-X: {re.escape(words)}"):
        driver.destroy("KUBE-X")


def test_a_kernel_that_cannot_list_flows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEV-82: nfnetlink answers EINVAL for a subsystem that is absent."""

    class Refusing:
        def __init__(self, _protocol: int) -> None:
            pass

        def dump(self, _message: Message, *, operation: str, subject: str = "") -> bytes:
            raise kernel_error(operation, subject, errno.EINVAL)

    monkeypatch.setattr("ipvsagent.kernel.netlink.conntrack.NetlinkSocket", Refusing)
    with pytest.raises(NotSupported, match="module `nf_conntrack_netlink`, `CONFIG_NF_CT_NETLINK`"):
        ConntrackDriver().list_flows(Family.IPV4)
