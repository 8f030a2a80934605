"""Waiting for notifications of a netlink multicast group."""

from __future__ import annotations

import os
import select
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from ipvsagent.errors import AcknowledgementsLost, kernel_error
from ipvsagent.kernel.netlink.sockets import split

_DATAGRAM_BYTES = 1 << 17

E = TypeVar("E")


class Subscription(ABC, Generic[E]):
    """A subscription to multicast groups of one netlink protocol, whose notifications become events.

    One thread reads; any thread may close.

    Args:
        groups: the multicast groups, one bit for each.
    """

    def __init__(self, protocol: int, groups: int) -> None:
        self._reading = threading.Lock()
        self._closed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
        )
        try:
            self._socket.bind((0, groups))
        except OSError as error:
            self._close_descriptors()
            raise kernel_error("subscribe to notifications", "", error.errno or 0) from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)

    def read(self) -> list[E]:
        """Wait for notifications and return their events; the list is empty only after `close`.

        Raises:
            KernelError: they cannot be read.
        """
        with self._reading:
            while not self._closed:
                self._poll.poll()
                events = [] if self._closed else self._take()
                if events:
                    return events
        return []

    def close(self) -> None:
        """End a pending `read` and wait until it has returned."""
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b"x")
        with self._reading:
            self._close_descriptors()

    def _take(self) -> list[E]:
        try:
            return self._interpret(self._messages())
        except AcknowledgementsLost:
            self._discard()
            return self._start_again()

    @abstractmethod
    def _interpret(self, messages: Iterator[tuple[int, bytes]]) -> list[E]:
        """Return the events of the queued notifications, without duplicates; a message is its type and its payload."""

    @abstractmethod
    def _start_again(self) -> list[E]:
        """Return the events after lost notifications: everything may have changed."""

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Yield the queued messages.

        Raises:
            AcknowledgementsLost: the socket's buffer overflowed.
        """
        while True:
            try:
                data = self._socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                raise kernel_error("read notifications", "", error.errno or 0) from error
            for kind, _, _, payload in split(data):
                yield kind, payload

    def _discard(self) -> None:
        """Drop the queued messages: the state that is read next is newer."""
        while True:
            try:
                for _ in self._messages():
                    pass
            except AcknowledgementsLost:
                continue
            return

    def _close_descriptors(self) -> None:
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
