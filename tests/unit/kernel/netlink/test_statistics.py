"""Reading the counts of real servers, as many as there is room for."""

from __future__ import annotations

from ipvsagent.kernel.netlink.statistics import real_servers_of
from ipvsagent.model.address import Protocol
from ipvsagent.model.state import RealServerKey, VirtualServerKey
from ipvsagent.model.statistics import RealServerStatistics
from support.builders import address

KEYS = [VirtualServerKey(Protocol.TCP, address(f"10.96.0.{n}"), 80) for n in (3, 1, 4, 2)]
ONE = RealServerStatistics((1, 1, 1, 1, 1), 0, 0)


def test_real_servers_beyond_the_limit_are_not_even_read_and_their_virtual_servers_are_counted() -> None:
    """A virtual server is read whole or not at all, and the same ones at each reading."""
    read: list[str] = []

    def reader(key: VirtualServerKey) -> dict[RealServerKey, RealServerStatistics]:
        read.append(str(key))
        return {RealServerKey(address("10.244.0.1"), n): ONE for n in range(2)}

    found, left_out = real_servers_of(KEYS, reader, at_most=3)
    assert read == ["10.96.0.1:80/TCP", "10.96.0.2:80/TCP"]
    assert [len(servers) for servers in found.values()] == [2, 2]
    assert left_out == 2


def test_all_real_servers_are_read_where_there_is_room() -> None:
    """Some have none."""
    assert real_servers_of(KEYS, lambda _: {}) == ({key: {} for key in sorted(KEYS)}, 0)
