"""The IPVS table, over generic netlink.

The number of the generic netlink family is resolved with one message. pyroute2's generic netlink socket could do this
too, but starts an event loop for it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence

from msgspec import structs
from pyroute2.netlink import CTRL_CMD_GETFAMILY, GENL_ID_CTRL, NETLINK_GENERIC
from pyroute2.netlink.generic.ipvs import GENL_NAME

from ipvsagent.errors import KernelError, NotFound, NotSupported, kernel_error
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.netlink.codecs import ipvs as codec
from ipvsagent.kernel.netlink.sockets import Batch, Message, NetlinkSocket, attribute, attributes, failed
from ipvsagent.model.ops import (
    AddRealServers,
    AddVirtualServer,
    ChangeVirtualServer,
    IpvsOperation,
    SingleIpvsOperation,
    one_by_one,
)
from ipvsagent.model.state import IpvsTimeouts, ObservedRealServer, ObservedVirtualServer, VirtualServerKey

_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2  # include/uapi/linux/genetlink.h
_IP_VS_SO_GET_INFO = 64 + 1024 + 64 + 1  # include/uapi/linux/ip_vs.h
_NO_IPVS = "the kernel has no IPVS (module `ip_vs`, `CONFIG_IP_VS`)"
_NO_IPV6 = "IPVS of this kernel has no IPv6 (`CONFIG_IP_VS_IPV6`)"
_READ = "read virtual server"
_GET_INFO = struct.Struct("=III")  # version, connection table size, number of virtual servers


class IpvsDriver:
    """The IPVS table of the creating thread's network namespace.

    Raises:
        NotSupported: the kernel has no IPVS, or its module is not loaded.
    """

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_GENERIC)
        # Any socket of the network namespace can read the counter; a datagram socket needs no privilege.
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._family = self._resolve()
        except KernelError as error:
            self.close()
            if isinstance(error, NotFound):
                raise NotSupported("use IPVS", detail=_NO_IPVS) from error
            raise

    def close(self) -> None:
        """Close the sockets."""
        self._control.close()
        self._netlink.close()

    def list_virtual_servers(self) -> list[ObservedVirtualServer]:
        """As in `api.Ipvs`."""
        payloads = self._netlink.dump(Message(self._family, codec.LIST_SERVICES), operation="list virtual servers")
        found = []
        for payload in payloads:
            server = codec.decode_virtual_server(payload)
            if server is None:
                continue
            real_servers = tuple(self.list_real_servers(server.key))
            # A virtual server that was removed meanwhile lists no real servers, like an empty one.
            if real_servers or self._exists(server.key):
                found.append(structs.replace(server, real_servers=real_servers))
        return found

    def list_real_servers(self, key: VirtualServerKey) -> list[ObservedRealServer]:
        """As in `api.Ipvs`."""
        request = Message(self._family, codec.list_real_servers(key))
        payloads = self._netlink.dump(request, operation="list real servers of", subject=str(key))
        return [codec.decode_real_server(p, key.address.family) for p in payloads]

    def find_virtual_server(self, key: VirtualServerKey) -> ObservedVirtualServer | None:
        """As in `api.Ipvs`."""
        request = Message(self._family, codec.get_virtual_server(key))
        try:
            server = codec.decode_virtual_server(self._netlink.ask(request, operation=_READ, subject=str(key)))
        except NotFound:
            return None
        except NotSupported as error:
            raise NotSupported(_READ, str(key), error.errno, _NO_IPV6) from error
        return server and structs.replace(server, real_servers=tuple(self.list_real_servers(key)))

    def list_keys(self) -> set[VirtualServerKey]:
        """As in `api.Ipvs`."""
        payloads = self._netlink.dump(Message(self._family, codec.LIST_SERVICES), operation="list virtual servers")
        return {server.key for server in map(codec.decode_virtual_server, payloads) if server}

    def count_virtual_servers(self) -> int:
        """As in `api.Ipvs`."""
        return self.table_info()[1]

    def table_info(self) -> tuple[int, int]:
        """Return the number of buckets of the connection table, and of IPv4 virtual servers, in O(1)."""
        try:
            answer = self._control.getsockopt(socket.IPPROTO_IP, _IP_VS_SO_GET_INFO, _GET_INFO.size)
        except OSError as error:
            raise kernel_error("count virtual servers", "", error.errno or 0) from error
        _, size, servers = _GET_INFO.unpack(answer)
        return int(size), int(servers)

    def dump(self, request: bytes) -> list[bytes]:
        """Return the undecoded payloads of a listing."""
        return self._netlink.dump(Message(self._family, request), operation="list virtual or real servers")

    def apply(self, operations: Sequence[IpvsOperation]) -> Results:
        """As in `api.Ipvs`."""
        family = self._family
        batch = Batch()
        for operation in operations:
            if isinstance(operation, AddRealServers):
                for alike in codec.encode_real_servers(operation.key, operation.real_servers):
                    batch.add_alike(family, alike)
            else:
                batch.add(family, codec.encode(operation))
        failures = self._netlink.execute_batch(batch)
        results: Results = [None] * len(batch)
        if failures:
            singles = list(one_by_one(operations))
            for place, (number, _) in failures.items():
                results[place] = _error(singles[place], number)
        return results

    def timeouts(self) -> IpvsTimeouts:
        """As in `api.Ipvs`."""
        request = Message(self._family, codec.GET_TIMEOUTS)
        return codec.decode_timeouts(self._netlink.ask(request, operation="read IPVS timeouts"))

    def set_timeouts(self, timeouts: IpvsTimeouts) -> None:
        """As in `api.Ipvs`."""
        request = Message(self._family, codec.set_timeouts(timeouts))
        self._netlink.request(request, operation="set IPVS timeouts")

    def flush(self) -> None:
        """As in `api.Ipvs`."""
        self._netlink.request(Message(self._family, codec.FLUSH), operation="remove all virtual servers")

    def _exists(self, key: VirtualServerKey) -> bool:
        try:
            self._netlink.ask(Message(self._family, codec.get_virtual_server(key)), operation=_READ, subject=str(key))
        except NotFound:
            return False
        return True

    def _resolve(self) -> int:
        payload = struct.pack("=BBH", CTRL_CMD_GETFAMILY, 1, 0)
        payload += attribute(_CTRL_ATTR_FAMILY_NAME, GENL_NAME.encode() + b"\0")
        answer = self._netlink.ask(Message(GENL_ID_CTRL, payload), operation="find netlink family", subject=GENL_NAME)
        return int(struct.unpack("=H", attributes(answer, 4)[_CTRL_ATTR_FAMILY_ID])[0])


def _error(operation: SingleIpvsOperation, number: int) -> KernelError:
    """Return the error of an operation; it names the part that the kernel lacks."""
    detail = ""
    if number == errno.EAFNOSUPPORT:
        detail = _NO_IPV6
    elif number == errno.ENOENT and isinstance(operation, AddVirtualServer | ChangeVirtualServer):
        name = operation.virtual_server.scheduler
        detail = f"the kernel has no scheduler `{name}` (module `ip_vs_{name}`, `CONFIG_IP_VS_{name.upper()}`)"
    return kernel_error(str(operation), "", number, detail) if detail else failed(str(operation), "", number)
