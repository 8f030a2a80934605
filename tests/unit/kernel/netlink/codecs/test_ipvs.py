"""Our IPVS encoder against pyroute2's, byte for byte."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic import ipvs as pyroute2_ipvs

from ipvsagent.kernel.netlink.codecs import ipvs as ipvs_codec
from ipvsagent.model.address import Address, Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveRealServer,
    RemoveVirtualServer,
    SingleIpvsOperation,
)
from ipvsagent.model.state import RealServer, VirtualServer, VirtualServerKey

# Numbers of include/uapi/linux/ip_vs.h: IPVS_CMD_ATTR_*, IPVS_SVC_ATTR_ADDR, IPVS_DEST_ATTR_*.
SERVICE, SERVICE_ADDRESS, DEST, DEST_ADDRESS, ADDRESS_FAMILY = 1, 3, 2, 1, 11

ipv4 = st.binary(min_size=4, max_size=4).map(Address)
ipv6 = st.binary(min_size=16, max_size=16).map(Address)
ports = st.integers(0, 65535)


@st.composite
def virtual_servers(draw: st.DrawFn) -> tuple[VirtualServer, RealServer]:
    """A virtual server and a real server of the same family."""
    addresses = draw(st.sampled_from([ipv4, ipv6]))
    key = VirtualServerKey(draw(st.sampled_from(Protocol)), draw(addresses), draw(ports))
    server = VirtualServer(
        key,
        draw(st.sampled_from(["rr", "wrr", "lblcr", "mh"])),
        draw(st.sampled_from([0, 0x8, 0x18])),
        draw(st.sampled_from([0, 1, 10800])),
    )
    return server, RealServer(draw(addresses), draw(ports), draw(st.integers(0, 2**31 - 1)))


def _family(address: Address) -> int:
    return 2 if len(address) == 4 else 10


def _key(key: VirtualServerKey) -> list[tuple[str, Any]]:
    return [
        ("IPVS_SVC_ATTR_AF", _family(key.address)),
        ("IPVS_SVC_ATTR_PROTOCOL", int(key.protocol)),
        ("IPVS_SVC_ATTR_ADDR", str(key.address)),
        ("IPVS_SVC_ATTR_PORT", key.port),
    ]


def _service(server: VirtualServer) -> list[tuple[str, Any]]:
    timeout = server.persistence_timeout_seconds
    flags = server.flags | (1 if timeout else 0)
    netmask = "255.255.255.255" if _family(server.key.address) == 2 else "128.0.0.0"
    return [
        *_key(server.key),
        ("IPVS_SVC_ATTR_SCHED_NAME", server.scheduler),
        ("IPVS_SVC_ATTR_FLAGS", {"flags": flags, "mask": 0xFFFFFFFF}),
        ("IPVS_SVC_ATTR_TIMEOUT", timeout),
        ("IPVS_SVC_ATTR_NETMASK", netmask),
    ]


def _dest(server: RealServer) -> list[tuple[str, Any]]:
    return [
        ("IPVS_DEST_ATTR_ADDR_FAMILY", _family(server.address)),
        ("IPVS_DEST_ATTR_ADDR", str(server.address)),
        ("IPVS_DEST_ATTR_PORT", server.port),
        ("IPVS_DEST_ATTR_FWD_METHOD", 0),
        ("IPVS_DEST_ATTR_WEIGHT", server.weight),
        ("IPVS_DEST_ATTR_U_THRESH", 0),
        ("IPVS_DEST_ATTR_L_THRESH", 0),
    ]


def _pyroute2(command: int, service: list[tuple[str, Any]], dest: list[tuple[str, Any]] | None = None) -> bytes:
    message = pyroute2_ipvs.ipvsmsg()
    message["cmd"] = command
    message["version"] = pyroute2_ipvs.GENL_VERSION
    message["attrs"] = [("IPVS_CMD_ATTR_SERVICE", {"attrs": service})]
    if dest is not None:
        message["attrs"].append(("IPVS_CMD_ATTR_DEST", {"attrs": dest}))
    message.encode()
    return bytes(message.data[16:])  # without the netlink header


def _attributes(data: bytes) -> dict[int, bytes]:
    from ipvsagent.kernel.netlink.sockets import attributes

    return attributes(data)


def _comparable(payload: bytes) -> tuple[bytes, dict[int, dict[int, bytes]]]:
    """Header and nested attributes by number: their order is free, and each one's bytes must agree."""
    return payload[:4], {number: _attributes(nested) for number, nested in _attributes(payload[4:]).items()}


@given(virtual_servers())
def test_every_message_has_the_bytes_that_pyroute2_makes(made: tuple[VirtualServer, RealServer]) -> None:
    """VS-03, VS-04, VS-06: keys, settings, flags with mask, netmask and all of a real server."""
    server, real = made
    key = server.key
    expected: list[tuple[SingleIpvsOperation, bytes]] = [
        (AddVirtualServer(server), _pyroute2(pyroute2_ipvs.IPVS_CMD_NEW_SERVICE, _service(server))),
        (ChangeVirtualServer(server), _pyroute2(pyroute2_ipvs.IPVS_CMD_SET_SERVICE, _service(server))),
        (RemoveVirtualServer(key), _pyroute2(pyroute2_ipvs.IPVS_CMD_DEL_SERVICE, _key(key))),
        (AddRealServer(key, real), _pyroute2(pyroute2_ipvs.IPVS_CMD_NEW_DEST, _key(key), _dest(real))),
        (ChangeRealServer(key, real), _pyroute2(pyroute2_ipvs.IPVS_CMD_SET_DEST, _key(key), _dest(real))),
        (
            RemoveRealServer(key, real.address, real.port),
            _pyroute2(pyroute2_ipvs.IPVS_CMD_DEL_DEST, _key(key), _dest(real)[:3]),
        ),
    ]
    for operation, theirs in expected:
        comparable = _comparable(theirs)
        if isinstance(operation, RemoveRealServer):
            # pyroute2 cannot encode the address without the family, which the kernel does not need here.
            del comparable[1][DEST][ADDRESS_FAMILY]
        # pyroute2 sends 4 bytes of an IPv4 address; ipvsadm and we send all of union nf_inet_addr, as old kernels want.
        for nested, number in ((SERVICE, SERVICE_ADDRESS), (DEST, DEST_ADDRESS)):
            if nested in comparable[1]:
                comparable[1][nested][number] = comparable[1][nested][number].ljust(16, b"\0")
        assert _comparable(ipvs_codec.encode(operation)) == comparable


@given(virtual_servers(), st.data())
def test_real_servers_together_are_encoded_as_one_by_one(
    made: tuple[VirtualServer, RealServer], data: st.DataObject
) -> None:
    """VS-06: whatever ports and weights they have, in the order given."""
    server, first = made
    addresses = ipv4 if len(first.address) == 4 else ipv6
    alike = st.builds(RealServer, addresses, st.just(first.port), st.just(first.weight))
    others = st.builds(RealServer, addresses, st.sampled_from([80, 8080]), st.sampled_from([0, 1, 7]))
    real_servers = (first, *data.draw(st.lists(st.one_of(alike, others), max_size=8)))
    together = [
        before + middle + after
        for before, middles, after in ipvs_codec.encode_real_servers(server.key, real_servers)
        for middle in middles
    ]
    assert together == [ipvs_codec.encode(AddRealServer(server.key, real)) for real in real_servers]
