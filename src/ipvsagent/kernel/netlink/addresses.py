"""Links and addresses, over rtnetlink, and notifications about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyroute2.netlink import NETLINK_ROUTE, NLM_F_CREATE, NLM_F_EXCL
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)

from ipvsagent.errors import DumpInterrupted, NotSupported
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.netlink.codecs import addresses as codec
from ipvsagent.kernel.netlink.sockets import Batch, Message, NetlinkSocket, failed, grow_buffers
from ipvsagent.kernel.netlink.subscription import Subscription
from ipvsagent.model.address import Address
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddAddress, AddressOperation
from ipvsagent.model.state import Link, LinkAddress

AddressEvent = NodeAddressesChanged | DummyInterfaceChanged

_NO_DUMMY = "the kernel has no dummy interfaces (module `dummy`, `CONFIG_DUMMY`)"


class AddressDriver:
    """Links and addresses of the creating thread's network namespace."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def list_links(self) -> list[Link]:
        """As in `api.Addresses`."""
        payloads = self._netlink.dump(Message(RTM_GETLINK, codec.LIST_LINKS), operation="list interfaces")
        return [codec.decode_link(p) for p in payloads]

    def list_addresses(self) -> list[LinkAddress]:
        """As in `api.Addresses`."""
        names = {link.index: link.name for link in self.list_links()}
        request = Message(RTM_GETADDR, codec.LIST_ADDRESSES)
        found = [codec.decode_address(p) for p in self._netlink.dump(request, operation="list addresses")]
        return [
            LinkAddress(names[f.link_index], f.address, f.prefix_length) for f in found if f and f.link_index in names
        ]

    def add_dummy(self, name: str) -> None:
        """As in `api.Addresses`."""
        message = Message(RTM_NEWLINK, codec.encode_dummy(name), NLM_F_CREATE | NLM_F_EXCL)
        try:
            self._netlink.request(message, operation="add interface", subject=name)
        except NotSupported as error:
            raise NotSupported(error.operation, name, error.errno, _NO_DUMMY) from error

    def remove_link(self, name: str) -> None:
        """As in `api.Addresses`."""
        message = Message(RTM_DELLINK, codec.encode_link(name))
        self._netlink.request(message, operation="remove interface", subject=name)

    def apply(self, link_name: str, operations: Sequence[AddressOperation]) -> Results:
        """As in `api.Addresses`."""
        index = self._index(link_name)
        batch = Batch()
        for operation in operations:
            kind, flags = _ADDING if isinstance(operation, AddAddress) else _REMOVING
            batch.add(kind, codec.encode_address(operation.address, index), flags)
        results: Results = [None] * len(batch)
        for place, (number, _) in self._netlink.execute_batch(batch).items():
            results[place] = failed(str(operations[place]), "", number)
        return results

    def _index(self, link_name: str) -> int:
        # Looked up each time: the index changes if the interface is recreated.
        request = Message(RTM_GETLINK, codec.encode_link(link_name))
        return codec.decode_link(self._netlink.ask(request, operation="find interface", subject=link_name)).index


_ADDING, _REMOVING = (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL), (RTM_DELADDR, 0)


class RtnetlinkMonitor(Subscription[AddressEvent]):
    """Notifications about addresses, and about one dummy interface; implements `api.Monitor`.

    Args:
        dummy_name: the interface whose losses are reported as `DummyInterfaceChanged`; it may be created later.
    """

    def __init__(self, dummy_name: str) -> None:
        self._dummy_name = dummy_name
        super().__init__(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        grow_buffers(self._socket)  # the agent's own bulk changes cause thousands of notifications at once
        self._addresses = AddressDriver()
        # Listed after subscribing, so that no interface is missed in between.
        self._dummy_index = self._find_dummy()

    def close(self) -> None:
        """As in `api.Monitor`."""
        super().close()
        self._addresses.close()

    def _interpret(self, messages: Iterator[tuple[int, bytes]]) -> list[AddressEvent]:
        node_changed = gone = False
        removed: dict[Address, None] = {}
        for kind, payload in messages:
            if kind in (RTM_NEWLINK, RTM_DELLINK):
                gone |= self._link(kind, codec.decode_link(payload))
            elif kind in (RTM_NEWADDR, RTM_DELADDR) and (found := codec.decode_address(payload)):
                if found.link_index != self._dummy_index:
                    node_changed |= not found.address.is_link_local_ipv6
                elif kind == RTM_DELADDR:
                    removed[found.address] = None
        events: list[AddressEvent] = []
        if node_changed:
            events.append(NodeAddressesChanged())
        if gone or removed:
            events.append(DummyInterfaceChanged(tuple(removed), gone))
        return events

    def _start_again(self) -> list[AddressEvent]:
        self._dummy_index = self._find_dummy()
        return [NodeAddressesChanged(), DummyInterfaceChanged(gone=True)]  # harmless if nothing changed

    def _find_dummy(self) -> int | None:
        while True:
            try:
                links = self._addresses.list_links()
            except DumpInterrupted:
                continue
            return next((link.index for link in links if link.name == self._dummy_name), None)

    def _link(self, kind: int, link: Link) -> bool:
        """Track the dummy interface; return whether it was removed."""
        if kind == RTM_NEWLINK and link.name == self._dummy_name:
            self._dummy_index = link.index
            return False
        if link.index != self._dummy_index:
            return False
        self._dummy_index = None  # deleted, or renamed
        return True
