"""Counts out of the kernel's messages and files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.kernel.netlink.codecs import statistics as codec
from ipvsagent.kernel.netlink.sockets import attribute
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.state import RealServer, RealServerKey, VirtualServerKey
from ipvsagent.model.statistics import Counts, RealServerStatistics
from support.builders import address
from support.statistics_bytes import connections_file, real_server_message, virtual_server_message

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)
DNS = VirtualServerKey(Protocol.UDP, address("fd00:96::53"), 53)
COUNTS = (1, 2, 3, 4, 5)

keys = st.builds(
    VirtualServerKey,
    st.sampled_from(Protocol),
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)).map(Address),
    st.integers(0, 65535),
)
numbers = st.integers(0, 2**64 - 1)


@given(st.dictionaries(keys, st.tuples(numbers, numbers, numbers, numbers, numbers), max_size=5))
def test_counts_of_a_listing_are_those_that_the_kernel_sent(wanted: dict[VirtualServerKey, Counts]) -> None:
    """All 64 bits, whatever the scheduler's name; a second listing, whose keys are known, gives the same."""
    payloads = [
        virtual_server_message(key, counts, scheduler="lblcr"[: 2 + i % 4])
        for i, (key, counts) in enumerate(wanted.items())
    ]
    found, known = codec.decode_counts(payloads, {})
    assert found == wanted
    assert codec.decode_counts(payloads, known) == (wanted, known)


def test_counts_are_found_where_a_kernel_puts_something_behind_them() -> None:
    """Attributes that are not known yet do no harm."""
    payload = virtual_server_message(WEB, COUNTS, trailer=attribute(13, b"anything at all that is new"))
    assert codec.decode_counts([payload], {})[0] == {WEB: COUNTS}


def test_keys_of_virtual_servers_that_went_are_not_kept() -> None:
    """Memory follows the table."""
    _, known = codec.decode_counts([virtual_server_message(WEB, COUNTS), virtual_server_message(DNS, COUNTS)], {})
    assert len(known) == 2
    assert list(codec.decode_counts([virtual_server_message(DNS, COUNTS)], known)[1].values()) == [DNS]


def test_a_real_server_has_its_counts_and_connections() -> None:
    """Of either family."""
    for text, family in (("10.244.0.11", Family.IPV4), ("fd00:244::11", Family.IPV6)):
        payload = real_server_message(RealServer(address(text), 8080), COUNTS, active=7, inactive=8)
        expected = RealServerKey(address(text), 8080), RealServerStatistics(COUNTS, 7, 8)
        assert codec.decode_real_server(payload, family) == expected


def test_connections_of_all_real_servers_are_added_up() -> None:
    """What is there by firewall mark belongs to nobody; no real servers are no connections."""
    text = connections_file(
        [
            ("TCP  0A60000A:0050", [(1, 2), (30, 40)]),
            ("FWM  00000007", [(500, 500)]),
            ("UDP  [fd00:0096:0000:0000:0000:0000:0000:0053]:0035", [(0, 9)]),
            ("SCTP 0A60000B:0051", []),
        ]
    )
    sctp = VirtualServerKey(Protocol.SCTP, address("10.96.0.11"), 81)
    known: codec.Lines = {}
    for _ in range(2):
        assert codec.decode_connections(text, known) == {WEB: (31, 42), DNS: (0, 9), sctp: (0, 0)}


def test_the_nodes_counts_are_those_of_its_processors_not_the_estimators() -> None:
    """The last line stands still while estimation is off (measured)."""
    text = (
        "       Total Incoming Outgoing         Incoming         Outgoing\n"
        "CPU    Conns  Packets  Packets            Bytes            Bytes\n"
        "  0        C        C        C              1C8              318\n"
        "  1        1        2        3                4                5\n"
        "  ~        5        5        5               BE              14A\n"
        "\n"
        "     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n"
        "           1        1        1               18               29\n"
    )
    assert codec.decode_totals(text) == (13, 14, 15, 460, 797)
