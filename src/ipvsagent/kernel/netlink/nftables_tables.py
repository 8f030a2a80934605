"""The tables of nftables, as the kernel lists them; no program is needed for it."""

from __future__ import annotations

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from ipvsagent.errors import kernel_error

_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}  # NFPROTO_*


def nftables_tables() -> tuple[str, ...]:
    """Return family and name of each table, such as ``ip nat``.

    Raises:
        KernelError: the kernel does not list them.
    """
    try:
        with NFTables(nfgen_family=0) as socket:  # of all families
            found = [(table["nfgen_family"], table.get_attr("NFTA_TABLE_NAME")) for table in socket.get_tables()]
    except NetlinkError as error:
        raise kernel_error("list", "nftables tables", error.code) from error
    except OSError as error:
        raise kernel_error("list", "nftables tables", error.errno or 0) from error
    return tuple(f"{_FAMILIES.get(family, family)} {name}" for family, name in found)
