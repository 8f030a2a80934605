"""Links and addresses, over rtnetlink, and notifications about them."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
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

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, KernelError, kernel_error
from ipvsagent.kernel import addresses_codec as codec
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.netlink import LOST, Batch, Message, NetlinkSocket, grow_buffers, split
from ipvsagent.model.address import Address
from ipvsagent.model.events import DummyInterfaceChanged, NodeAddressesChanged
from ipvsagent.model.ops import AddAddress, AddressOperation
from ipvsagent.model.state import Link, LinkAddress


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
        self._netlink.request(message, operation="add interface", subject=name)

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
            results[place] = _error(operations[place], number)
        return results

    def _index(self, link_name: str) -> int:
        # Asked for each time: the index changes when the interface is made anew.
        request = Message(RTM_GETLINK, codec.encode_link(link_name))
        return codec.decode_link(self._netlink.ask(request, operation="find interface", subject=link_name)).index


_ADDING, _REMOVING = (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL), (RTM_DELADDR, 0)


def _error(operation: AddressOperation, answer: int) -> KernelError:
    if answer == LOST:
        return AcknowledgementsLost(str(operation))
    return kernel_error(str(operation), "", answer)


class RtnetlinkMonitor:
    """Notifications about addresses, and about one dummy interface.

    One thread reads; any thread may close.

    Args:
        dummy_name: the interface whose losses are told as `DummyInterfaceChanged`; it may appear later.
    """

    def __init__(self, dummy_name: str) -> None:
        self._dummy_name = dummy_name
        self._reading = threading.Lock()
        self._closed = False
        self._addresses = AddressDriver()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        grow_buffers(self._socket)  # own bulk changes come back as notifications: thousands at once
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        # Asked for after the subscription, so that no interface is missed in between.
        self._dummy_index = self._find_dummy()

    def read(self) -> list[NodeAddressesChanged | DummyInterfaceChanged]:
        """As in `api.AddressMonitor`; empty only after `close`."""
        with self._reading:
            while not self._closed:
                self._poll.poll()
                events = [] if self._closed else self._take()
                if events:
                    return events
        return []

    def close(self) -> None:
        """As in `api.AddressMonitor`. Returns when the pending `read` has ended."""
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b"x")
        with self._reading:
            self._socket.close()
            self._addresses.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _take(self) -> list[NodeAddressesChanged | DummyInterfaceChanged]:
        """What the notifications that wait mean, each thing said once."""
        node_changed = gone = False
        removed: dict[Address, None] = {}
        try:
            for kind, payload in self._messages():
                if kind in (RTM_NEWLINK, RTM_DELLINK):
                    gone |= self._link(kind, codec.decode_link(payload))
                    continue
                found = codec.decode_address(payload)
                if found is None:
                    continue
                if found.link_index != self._dummy_index:
                    node_changed |= not found.address.is_link_local_ipv6
                elif kind == RTM_DELADDR:
                    removed[found.address] = None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise kernel_error("read notifications", "", error.errno or 0) from error
            return self._start_again()
        events: list[NodeAddressesChanged | DummyInterfaceChanged] = []
        if node_changed:
            events.append(NodeAddressesChanged())
        if gone or removed:
            events.append(DummyInterfaceChanged(tuple(removed), gone))
        return events

    def _start_again(self) -> list[NodeAddressesChanged | DummyInterfaceChanged]:
        """Some notifications were lost: everything may have changed, and saying so is harmless."""
        while True:
            try:
                for _ in self._messages():
                    pass  # older than what is read now
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise kernel_error("read notifications", "", error.errno or 0) from error
                continue
            break
        self._dummy_index = self._find_dummy()
        return [NodeAddressesChanged(), DummyInterfaceChanged(gone=True)]

    def _find_dummy(self) -> int | None:
        while True:
            try:
                links = self._addresses.list_links()
            except DumpInterrupted:
                continue
            return next((link.index for link in links if link.name == self._dummy_name), None)

    def _link(self, kind: int, link: Link) -> bool:
        """Keep track of the dummy interface; answer whether it went."""
        if kind == RTM_NEWLINK and link.name == self._dummy_name:
            self._dummy_index = link.index
            return False
        if link.index != self._dummy_index:
            return False
        self._dummy_index = None  # deleted, or renamed
        return True

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Everything that waits."""
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            for kind, _, _, payload in split(data):
                if kind in _KINDS:
                    yield kind, payload


_KINDS = frozenset((RTM_NEWADDR, RTM_DELADDR, RTM_NEWLINK, RTM_DELLINK))
