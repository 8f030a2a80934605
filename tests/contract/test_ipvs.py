"""What every driver of the IPVS table does."""

from __future__ import annotations

import pytest

from contract.hosts import Host
from ipvsagent.errors import AlreadyExists, InvalidRequest, KernelError, NotFound
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import (
    FLAG_SCHEDULER_1,
    FLAG_SCHEDULER_2,
    ForwardingMethod,
    IpvsTimeouts,
    ObservedRealServer,
    ObservedVirtualServer,
    RealServer,
    VirtualServer,
    VirtualServerKey,
)

VIPS = {Family.IPV4: Address.parse("10.96.0.10"), Family.IPV6: Address.parse("fd00:96::10")}
PODS = {
    Family.IPV4: (Address.parse("10.200.0.1"), Address.parse("10.200.0.2")),
    Family.IPV6: (Address.parse("fd00:200::1"), Address.parse("fd00:200::2")),
}
KEY = VirtualServerKey(Protocol.TCP, VIPS[Family.IPV4], 80)
KEY_6 = VirtualServerKey(Protocol.TCP, VIPS[Family.IPV6], 80)
ABSENT = VirtualServerKey(Protocol.UDP, VIPS[Family.IPV4], 80)
POD, POD_2 = (RealServer(a, 8080) for a in PODS[Family.IPV4])
POD_6, POD_62 = (RealServer(a, 8080) for a in PODS[Family.IPV6])


def _observed(server: VirtualServer, *real_servers: RealServer) -> ObservedVirtualServer:
    reals = tuple(ObservedRealServer(r.address, r.port, r.weight) for r in real_servers)
    return ObservedVirtualServer(server.key, server.scheduler, server.flags, server.persistence_timeout_seconds, reals)


def _listed(host: Host) -> dict[str, ObservedVirtualServer]:
    """All virtual servers, with their real servers in the order of their addresses."""
    found = {}
    for server in host.ipvs.list_virtual_servers():
        reals = tuple(sorted(server.real_servers, key=lambda r: (r.address, r.port)))
        found[str(server.key)] = ObservedVirtualServer(
            server.key, server.scheduler, server.flags, server.persistence_timeout_seconds, reals
        )
    return found


def _prepare(host: Host) -> None:
    """A virtual server a family, each with one real server."""
    operations: list[IpvsOperation] = [
        AddVirtualServer(VirtualServer(KEY, "rr")),
        AddRealServer(KEY, POD),
        AddVirtualServer(VirtualServer(KEY_6, "rr")),
        AddRealServer(KEY_6, POD_6),
    ]
    assert host.ipvs.apply(operations) == [None] * 4


@pytest.mark.parametrize("family", Family, ids=lambda f: f.label)
@pytest.mark.parametrize("protocol", Protocol, ids=lambda p: p.name)
def test_what_is_added_is_listed(ipvs_host: Host, family: Family, protocol: Protocol) -> None:
    """VS-01 to VS-06: every setting of virtual and real servers comes back, none more."""
    server = VirtualServer(
        VirtualServerKey(protocol, VIPS[family], 443), "sh", FLAG_SCHEDULER_1 | FLAG_SCHEDULER_2, 10800
    )
    first, second = (RealServer(address, 8443, weight) for address, weight in zip(PODS[family], (0, 7), strict=True))
    operations: list[IpvsOperation] = [
        AddVirtualServer(server),
        AddRealServer(server.key, first),
        AddRealServer(server.key, second),
    ]
    assert ipvs_host.ipvs.apply(operations) == [None, None, None]
    assert _listed(ipvs_host) == {str(server.key): _observed(server, first, second)}
    real_servers = ipvs_host.ipvs.list_real_servers(server.key)
    assert sorted((str(r.address), r.port, r.weight) for r in real_servers) == [
        (str(first.address), 8443, 0),
        (str(second.address), 8443, 7),
    ]


def test_servers_that_differ_in_one_part_of_the_key_are_different(ipvs_host: Host) -> None:
    """Address, port and protocol together name a virtual server."""
    keys = [
        KEY,
        KEY_6,
        VirtualServerKey(Protocol.UDP, KEY.address, 80),
        VirtualServerKey(Protocol.TCP, KEY.address, 81),
        VirtualServerKey(Protocol.TCP, PODS[Family.IPV4][0], 80),
    ]
    assert ipvs_host.ipvs.apply([AddVirtualServer(VirtualServer(k, "rr")) for k in keys]) == [None] * 5
    assert ipvs_host.ipvs.apply([RemoveVirtualServer(KEY)]) == [None]
    assert sorted(_listed(ipvs_host)) == sorted(str(k) for k in keys[1:])


def test_only_ipv4_servers_are_counted(ipvs_host: Host) -> None:
    """The kernel keeps no count of the others."""
    assert ipvs_host.ipvs.count_virtual_servers() == 0
    _prepare(ipvs_host)
    assert ipvs_host.ipvs.count_virtual_servers() == 1


@pytest.mark.parametrize(
    "changed",
    [
        VirtualServer(KEY, "lc"),
        VirtualServer(KEY, "mh", FLAG_SCHEDULER_1 | FLAG_SCHEDULER_2),
        VirtualServer(KEY, "rr", 0, 10800),
        VirtualServer(KEY, "sh", FLAG_SCHEDULER_2, 60),
    ],
    ids=["scheduler", "flags", "persistence", "all"],
)
def test_settings_change_in_place(ipvs_host: Host, changed: VirtualServer) -> None:
    """VS-05: there and back again; the real servers stay."""
    plain = VirtualServer(KEY, "rr")
    _prepare(ipvs_host)
    assert ipvs_host.ipvs.apply([ChangeVirtualServer(changed)]) == [None]
    assert _listed(ipvs_host)[str(KEY)] == _observed(changed, POD)
    assert ipvs_host.ipvs.apply([ChangeVirtualServer(plain)]) == [None]
    assert _listed(ipvs_host)[str(KEY)] == _observed(plain, POD)


def test_real_servers_named_in_a_virtual_server_are_not_added_with_it(ipvs_host: Host) -> None:
    """They have operations of their own, for adding as for changing."""
    server = VirtualServer(KEY, "rr", real_servers=(POD,))
    assert ipvs_host.ipvs.apply([AddVirtualServer(server), ChangeVirtualServer(server)]) == [None, None]
    assert _listed(ipvs_host) == {str(KEY): _observed(server)}


@pytest.mark.parametrize("weight", [0, 1, 65535, 2147483647])
def test_weights_change_in_place(ipvs_host: Host, weight: int) -> None:
    """VS-06: 0 drains; the kernel has no other bound than its integer."""
    _prepare(ipvs_host)
    assert ipvs_host.ipvs.apply([ChangeRealServer(KEY, RealServer(POD.address, POD.port, weight))]) == [None]
    assert [r.weight for r in ipvs_host.ipvs.list_real_servers(KEY)] == [weight]


def test_a_change_makes_a_direct_real_server_masquerade(ipvs_host: Host) -> None:
    """VS-06: forwarding method and thresholds are set with the weight."""
    direct = RealServer(POD_2.address, KEY.port)  # direct routing keeps the port
    _prepare(ipvs_host)
    ipvs_host.make_direct_real_server(KEY, direct)
    before = {r.address: r for r in ipvs_host.ipvs.list_real_servers(KEY)}[direct.address]
    assert (before.forwarding_method, before.upper_threshold, before.lower_threshold) == (
        ForwardingMethod.DIRECT_ROUTING,
        9,
        5,
    )
    assert ipvs_host.ipvs.apply([ChangeRealServer(KEY, direct)]) == [None]
    after = {r.address: r for r in ipvs_host.ipvs.list_real_servers(KEY)}[direct.address]
    assert after == ObservedRealServer(direct.address, direct.port, 1)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (AddVirtualServer(VirtualServer(KEY, "wrr")), AlreadyExists),
        (AddVirtualServer(VirtualServer(ABSENT, "nonsense")), NotFound),
        (ChangeVirtualServer(VirtualServer(KEY, "nonsense")), NotFound),
        (ChangeVirtualServer(VirtualServer(ABSENT, "rr")), NotFound),
        (RemoveVirtualServer(ABSENT), NotFound),
        (AddRealServer(KEY, RealServer(POD.address, POD.port, 9)), AlreadyExists),
        (AddRealServer(ABSENT, POD), NotFound),
        (AddRealServer(KEY, POD_6), InvalidRequest),
        (AddRealServer(KEY_6, POD), InvalidRequest),
        (AddRealServer(KEY, RealServer(POD_2.address, 80, -1)), InvalidRequest),
        (AddRealServer(KEY, RealServer(Address.parse("224.0.0.1"), 80)), InvalidRequest),
        (AddRealServer(KEY, RealServer(Address.parse("0.0.0.0"), 80)), InvalidRequest),
        (AddRealServer(KEY_6, RealServer(Address.parse("ff02::1"), 80)), InvalidRequest),
        (AddRealServer(KEY_6, RealServer(Address.parse("fe80::1"), 80)), InvalidRequest),
        (AddRealServer(KEY_6, RealServer(Address.parse("::"), 80)), InvalidRequest),
        (ChangeRealServer(KEY, POD_2), NotFound),
        (ChangeRealServer(KEY, RealServer(POD.address, 8081)), NotFound),
        (ChangeRealServer(ABSENT, POD), NotFound),
        (ChangeRealServer(KEY, RealServer(POD.address, POD.port, -1)), InvalidRequest),
        (RemoveRealServer(KEY, POD_2.address, POD_2.port), NotFound),
        (RemoveRealServer(KEY, POD.address, 8081), NotFound),
        (RemoveRealServer(ABSENT, POD.address, POD.port), NotFound),
    ],
    ids=lambda value: str(value) if not isinstance(value, type) else value.__name__,
)
def test_the_kernel_is_strict(ipvs_host: Host, operation: IpvsOperation, error: type[KernelError]) -> None:
    """What cannot be done changes nothing, and neither stops nor shifts the answers of what stands around it."""
    _prepare(ipvs_host)
    before = _listed(ipvs_host)
    around = VirtualServer(VirtualServerKey(Protocol.SCTP, KEY.address, 9), "rr")
    results = ipvs_host.ipvs.apply([AddVirtualServer(around), operation, AddRealServer(around.key, POD)])
    assert [type(r) for r in results] == [type(None), error, type(None)]
    assert str(results[1]).startswith(str(operation))
    assert _listed(ipvs_host) == {**before, str(around.key): _observed(around, POD)}


def test_a_removed_virtual_server_takes_its_real_servers_along(ipvs_host: Host) -> None:
    """A virtual server that is created again has none."""
    _prepare(ipvs_host)
    assert ipvs_host.ipvs.apply([RemoveVirtualServer(KEY)]) == [None]
    assert list(_listed(ipvs_host)) == [str(KEY_6)]
    assert ipvs_host.ipvs.apply([AddVirtualServer(VirtualServer(KEY, "rr"))]) == [None]
    assert ipvs_host.ipvs.list_real_servers(KEY) == []


def test_a_removed_real_server_leaves_the_others(ipvs_host: Host) -> None:
    """Address and port together name it."""
    _prepare(ipvs_host)
    other_port = RealServer(POD.address, 9090)
    operations: list[IpvsOperation] = [
        AddRealServer(KEY, other_port),
        AddRealServer(KEY_6, POD_62),
        RemoveRealServer(KEY, POD.address, POD.port),
        RemoveRealServer(KEY_6, POD_6.address, POD_6.port),
    ]
    assert ipvs_host.ipvs.apply(operations) == [None] * 4
    assert [r.port for r in ipvs_host.ipvs.list_real_servers(KEY)] == [9090]
    assert [r.address for r in ipvs_host.ipvs.list_real_servers(KEY_6)] == [POD_62.address]


def test_a_thousand_operations_of_both_families_go_in_one_call(ipvs_host: Host) -> None:
    """More than one send holds; done twice, every single one is refused, in order."""
    operations: list[IpvsOperation] = []
    for number in range(250):
        key = VirtualServerKey(Protocol.TCP, VIPS[Family.IPV6 if number % 2 else Family.IPV4], 1000 + number)
        operations.append(AddVirtualServer(VirtualServer(key, "rr")))
        pods = PODS[key.address.family]
        operations += [AddRealServer(key, RealServer(pods[n % 2], 8000 + n)) for n in range(3)]
    assert ipvs_host.ipvs.apply(operations) == [None] * 1000
    listed = ipvs_host.ipvs.list_virtual_servers()
    assert sorted(v.key.port for v in listed) == list(range(1000, 1250))
    assert {len(v.real_servers) for v in listed} == {3}
    assert ipvs_host.ipvs.count_virtual_servers() == 125
    refused = ipvs_host.ipvs.apply(operations)
    assert {type(r) for r in refused} == {AlreadyExists}
    assert [str(r).partition(": EEXIST")[0] for r in refused] == [str(o) for o in operations]
    removed = [RemoveVirtualServer(v.key) for v in listed]
    assert ipvs_host.ipvs.apply(removed) == [None] * 250
    assert ipvs_host.ipvs.list_virtual_servers() == []


def test_nothing_comes_of_an_empty_batch(ipvs_host: Host) -> None:
    """No answer, no error."""
    assert ipvs_host.ipvs.apply([]) == []


def test_real_servers_of_a_missing_virtual_server_are_none(ipvs_host: Host) -> None:
    """The kernel lists nothing and reports no error."""
    assert ipvs_host.ipvs.list_real_servers(ABSENT) == []


def test_flushing_removes_everything(ipvs_host: Host) -> None:
    """Also where there is nothing to remove."""
    ipvs_host.ipvs.flush()
    _prepare(ipvs_host)
    ipvs_host.ipvs.flush()
    assert ipvs_host.ipvs.list_virtual_servers() == []
    assert ipvs_host.ipvs.count_virtual_servers() == 0


def test_timeouts_that_are_not_given_stay(ipvs_host: Host) -> None:
    """SYS-08: 0 keeps a value; a new namespace has the kernel's defaults."""
    assert ipvs_host.ipvs.timeouts() == IpvsTimeouts(900, 120, 300)
    ipvs_host.ipvs.set_timeouts(IpvsTimeouts(tcp_seconds=7200))
    assert ipvs_host.ipvs.timeouts() == IpvsTimeouts(7200, 120, 300)
    ipvs_host.ipvs.set_timeouts(IpvsTimeouts(tcp_fin_seconds=60, udp_seconds=30))
    assert ipvs_host.ipvs.timeouts() == IpvsTimeouts(7200, 60, 30)
    ipvs_host.ipvs.set_timeouts(IpvsTimeouts())
    assert ipvs_host.ipvs.timeouts() == IpvsTimeouts(7200, 60, 30)


def test_every_scheduler_listed_as_available_can_be_used(ipvs_host: Host) -> None:
    """The modules driver names schedulers, loaded or not, and nothing else."""
    names = ipvs_host.modules.available_schedulers()
    assert {"rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh"} <= set(names)
    assert names == sorted(names)
    _prepare(ipvs_host)
    # Loaded first, as the agent does: loading on demand holds the IPVS lock meanwhile, and some of these modules wait
    # for network namespaces that are just ending, which wait for that lock. The kernel then hangs for good.
    for name in names:
        ipvs_host.modules.load(f"ip_vs_{name}")
    assert ipvs_host.ipvs.apply([ChangeVirtualServer(VirtualServer(KEY, n)) for n in names]) == [None] * len(names)


def test_loading_a_module_twice_is_fine_and_an_unknown_one_is_not(ipvs_host: Host) -> None:
    """Modules are loaded only where they are missing."""
    ipvs_host.modules.load("ip_vs")
    with pytest.raises(NotFound):
        ipvs_host.modules.load("ip_vs_nonsense")
