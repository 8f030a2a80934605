"""Reading the kernel's counts from listings, without decoding the rest.

A listing of 10,000 virtual servers is 4 MB, and most of it is not needed. The key is at the start of each message. Its
bytes are the same in every listing, so they are looked up instead of decoded. The counts are at the end: ten 64-bit
numbers (include/uapi/linux/ip_vs.h), of which the first five are cumulative. If a kernel arranges a message in another
way, all of its attributes are decoded.

A listing of virtual servers does not contain the current connections. They are in the listing of each virtual server's
real servers, and all together in the file ``/proc/net/ip_vs``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ipvsagent.kernel.netlink.codecs import ipvs as codec
from ipvsagent.kernel.netlink.sockets import attributes
from ipvsagent.model.address import Address, Family, Protocol
from ipvsagent.model.state import RealServerKey, VirtualServerKey
from ipvsagent.model.statistics import Counts, RealServerStatistics

STATISTICS_ATTRIBUTE = 12
"""IPVS_SVC_ATTR_STATS64 and IPVS_DEST_ATTR_STATS64, which happen to have the same number."""

_CUMULATIVE = 5
_NUMBERS = struct.Struct("=" + "HHQ" * 10)
_NEST = struct.Struct("=HH")
_NEST_BYTES = _NEST.size + _NUMBERS.size
_U64 = struct.Struct("=Q")
_U32 = struct.Struct("=I")
_PORT = struct.Struct("!H")
_TYPE_MASK = 0x3FFF
_HEADER_BYTES = 4  # generic netlink
_KEY = slice(_HEADER_BYTES + 4, _HEADER_BYTES + 4 + 44)  # family, protocol, address, port: 8 + 8 + 20 + 8
_FIRST_KINDS = struct.Struct("=HHxxxx HHxxxx HH16x HHxxxx".replace(" ", ""))
_FIRST = (6, 1, 6, 2, 20, 3, 6, 4)  # length and type of these four
_DEST_ADDRESS, _DEST_PORT, _DEST_ACTIVE, _DEST_INACTIVE, _DEST_FAMILY = 1, 2, 7, 8, 11

Keys = dict[bytes, VirtualServerKey | None]
"""Keys by their bytes; None for virtual servers by firewall mark."""


def decode_counts(payloads: Iterable[bytes], known: Keys) -> tuple[dict[VirtualServerKey, Counts], Keys]:
    """Read the counts of a listing of virtual servers.

    Args:
        known: what the last call returned; empty at first.

    Returns:
        The counts, and the keys of this listing for the next call; keys of removed virtual servers are not in it.
    """
    found: dict[VirtualServerKey, Counts] = {}
    keys: Keys = {}
    for payload in payloads:
        packed = payload[_KEY]
        key: VirtualServerKey | None
        if packed in known:
            key = known[packed]
        else:
            observed = codec.decode_virtual_server(payload)
            key = observed.key if observed else None
            if _FIRST_KINDS.unpack_from(packed) != _FIRST:
                packed = b""  # another arrangement: never look it up by its bytes
        if packed:
            keys[packed] = key
        if key is not None:
            found[key] = _counts(payload)
    return found, keys


def decode_real_server(payload: bytes, family: Family) -> tuple[RealServerKey, RealServerStatistics]:
    """Read one real server of a listing.

    Args:
        family: the virtual server's; with a tunnel the real server may be of the other family.
    """
    found = attributes(attributes(payload, _HEADER_BYTES)[2])  # IPVS_CMD_ATTR_DEST
    if _DEST_FAMILY in found:
        family = Family(struct.unpack("=H", found[_DEST_FAMILY])[0])
    address = Address(found[_DEST_ADDRESS][: family.bits // 8])
    return RealServerKey(address, _PORT.unpack(found[_DEST_PORT])[0]), RealServerStatistics(
        _counts(payload), _U32.unpack(found[_DEST_ACTIVE])[0], _U32.unpack(found[_DEST_INACTIVE])[0]
    )


def _counts(payload: bytes) -> Counts:
    end = len(payload)
    if end >= _NEST_BYTES:
        length, kind = _NEST.unpack_from(payload, end - _NEST_BYTES)
        if length == _NEST_BYTES and kind & _TYPE_MASK == STATISTICS_ATTRIBUTE:
            numbers = _NUMBERS.unpack_from(payload, end - _NUMBERS.size)
            if numbers[1:15:3] == (1, 2, 3, 4, 5):
                return numbers[2:15:3]
    nested = next(iter(attributes(payload, _HEADER_BYTES).values()), b"")
    statistics = attributes(attributes(nested).get(STATISTICS_ATTRIBUTE, b""))
    return tuple(_U64.unpack(statistics[n])[0] if n in statistics else 0 for n in range(1, _CUMULATIVE + 1))


Lines = dict[bytes, VirtualServerKey | None]
"""The keys of virtual servers by the first two words of their lines in ``/proc/net/ip_vs``."""


def decode_connections(text: bytes, known: Lines) -> dict[VirtualServerKey, tuple[int, int]]:
    """Add up active and inactive connections of each virtual server's real servers.

    Args:
        text: ``/proc/net/ip_vs``.
        known: keys that were found before; new ones are added to it.
    """
    found: dict[VirtualServerKey, tuple[int, int]] = {}
    key: VirtualServerKey | None = None
    active = inactive = 0
    for line in text.split(b"\n"):
        if line.startswith(b"  -> "):
            if key is not None:
                words = line.rsplit(None, 2)
                active += int(words[1])
                inactive += int(words[2])
        elif line.startswith((b"TCP", b"UDP", b"SCTP", b"FWM")):
            if key is not None:
                found[key] = active, inactive
            name = b" ".join(line.split(None, 2)[:2])
            if name not in known:
                known[name] = _key_of_line(name)
            key, active, inactive = known[name], 0, 0
    if key is not None:
        found[key] = active, inactive
    return found


def _key_of_line(name: bytes) -> VirtualServerKey | None:
    protocol, _, place = name.decode("ascii").partition(" ")
    if protocol == "FWM":
        return None
    address, _, port = place.rpartition(":")
    packed = Address.parse(address.strip("[]")) if address.startswith("[") else Address(bytes.fromhex(address))
    return VirtualServerKey(Protocol[protocol], packed, int(port, 16))


def decode_totals(text: str) -> Counts:
    """Add up the counts of all CPUs in ``/proc/net/ip_vs_stats_percpu``.

    The file's own sum comes from the estimator and stops changing when that is off; the CPUs' lines are always current.
    """
    totals = [0] * _CUMULATIVE
    for line in text.splitlines()[2:]:  # below two lines of headings
        words = line.split()
        if words[:1] == ["~"]:
            break
        totals = [total + int(word, 16) for total, word in zip(totals, words[1:], strict=True)]
    return tuple(totals)
