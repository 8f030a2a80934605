"""The IPVS table of the fake kernel."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from ipvsagent.errors import NotSupported, kernel_error
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.model.address import Address, Family
from ipvsagent.model.ops import (
    AddRealServer,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    IpvsOperation,
    RemoveRealServer,
    RemoveVirtualServer,
    SingleIpvsOperation,
    count_results,
    one_by_one,
)
from ipvsagent.model.state import (
    IpvsTimeouts,
    ObservedRealServer,
    ObservedVirtualServer,
    RealServerKey,
    VirtualServer,
    VirtualServerKey,
)

_HIGHEST_WEIGHT = 0x7FFFFFFF


class FakeIpvs:
    """The virtual servers with their real servers; implements `api.Ipvs`.

    Every method raises `NotSupported` while module ip_vs is not loaded.

    Args:
        modules: the names of the modules that are loaded.
        schedulers: returns the schedulers that are loaded or can be loaded.

    Attributes:
        has_ipv6: whether IPVS of this kernel knows IPv6.
    """

    def __init__(
        self, journal: Journal, *, modules: Collection[str], schedulers: Callable[[], Collection[str]]
    ) -> None:
        self._journal = journal
        self._modules = modules
        self._schedulers = schedulers
        self.table: dict[VirtualServerKey, tuple[VirtualServer, dict[RealServerKey, ObservedRealServer]]] = {}
        self._timeouts = IpvsTimeouts(900, 120, 300)
        self.has_ipv6 = True

    def list_virtual_servers(self) -> list[ObservedVirtualServer]:
        """As in `api.Ipvs`."""
        self._require()
        return [
            ObservedVirtualServer(s.key, s.scheduler, s.flags, s.persistence_timeout_seconds, tuple(reals.values()))
            for s, reals in self.table.values()
        ]

    def list_real_servers(self, key: VirtualServerKey) -> list[ObservedRealServer]:
        """As in `api.Ipvs`."""
        self._require()
        return list(self.table[key][1].values()) if key in self.table else []

    def find_virtual_server(self, key: VirtualServerKey) -> ObservedVirtualServer | None:
        """As in `api.Ipvs`."""
        if key.address.family is Family.IPV6 and not self.has_ipv6:
            raise kernel_error("look at", str(key), errno.EAFNOSUPPORT)
        return next((s for s in self.list_virtual_servers() if s.key == key), None)

    def list_keys(self) -> set[VirtualServerKey]:
        """As in `api.Ipvs`."""
        self._require()
        return set(self.table)

    def count_virtual_servers(self) -> int:
        """As in `api.Ipvs`."""
        self._require()
        return sum(len(key.address) == 4 for key in self.table)

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        """As in `api.Ipvs`."""
        self._require()
        self._journal.count_batch(count_results(operations))
        results: Results = []
        for operation in one_by_one(operations):
            number = self._carry_out(operation)
            results.append(kernel_error(str(operation), "", number) if number else None)
            if not number:
                self._journal.record(operation)
        return results

    def timeouts(self) -> IpvsTimeouts:
        """As in `api.Ipvs`."""
        self._require()
        return self._timeouts

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """As in `api.Ipvs`."""
        self._require()
        old = self._timeouts
        self._timeouts = IpvsTimeouts(
            timeouts.tcp_seconds or old.tcp_seconds,
            timeouts.tcp_fin_seconds or old.tcp_fin_seconds,
            timeouts.udp_seconds or old.udp_seconds,
        )
        self._journal.record("set timeouts")

    def flush(self) -> None:
        """As in `api.Ipvs`."""
        self._require()
        self.table.clear()
        self._journal.record("flush virtual servers")

    def _require(self) -> None:
        if "ip_vs" not in self._modules:
            raise NotSupported("use IPVS", detail="module ip_vs is not loaded")

    def _carry_out(self, operation: SingleIpvsOperation) -> int:
        """Apply one operation and return its errno; 0 for success."""
        match operation:
            case AddVirtualServer(server):
                return errno.EEXIST if server.key in self.table else self._put_virtual_server(server, {})
            case ChangeVirtualServer(server):
                known = self.table.get(server.key)
                return self._put_virtual_server(server, known[1]) if known else errno.ESRCH
            case RemoveVirtualServer(key):
                return 0 if self.table.pop(key, None) else errno.ESRCH
            case AddRealServer() | ChangeRealServer():
                return self._put_real_server(operation)
            case RemoveRealServer(key, address, port):
                if key not in self.table:
                    return errno.ESRCH
                return 0 if self.table[key][1].pop(RealServerKey(address, port), None) else errno.ENOENT

    def _put_virtual_server(self, server: VirtualServer, real_servers: dict[RealServerKey, ObservedRealServer]) -> int:
        if server.scheduler not in self._schedulers():
            return errno.ENOENT
        self.table[server.key] = (server, real_servers)
        return 0

    def _put_real_server(self, operation: AddRealServer | ChangeRealServer) -> int:
        server = operation.real_server
        if operation.key not in self.table:
            return errno.ESRCH
        if server.address.family is not operation.key.address.family:
            return errno.EINVAL
        if not 0 <= server.weight <= _HIGHEST_WEIGHT:
            return errno.ERANGE
        real_servers = self.table[operation.key][1]
        real_server_key = RealServerKey(server.address, server.port)
        adding = isinstance(operation, AddRealServer)
        if adding == (real_server_key in real_servers):
            return errno.EEXIST if adding else errno.ENOENT
        if adding and not _can_be_reached(server.address):
            return errno.EINVAL
        known = real_servers.get(real_server_key, ObservedRealServer(*real_server_key))
        real_servers[real_server_key] = replace(
            known, weight=server.weight, forwarding_method=0, upper_threshold=0, lower_threshold=0
        )
        return 0


def _can_be_reached(address: Address) -> bool:
    """Return whether an address belongs to one host; the kernel checks this only for new real servers."""
    return not (address.is_multicast or address.is_unspecified or address.is_link_local_ipv6)
