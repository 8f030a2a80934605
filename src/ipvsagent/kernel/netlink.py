"""Netlink sockets for bulk work: many messages in one send, answers matched by sequence number.

Measured facts that this rests on: a send is synchronous, so when it returns all of its messages were carried out and
their answers wait; an error does not stop the messages behind it; without NLM_F_ACK only failures are answered; a
message with a bad length ends the batch silently. So only the last message of a send asks for an acknowledgement, and
if that one is missing nothing is known of the others.

pyroute2 owns the constants; its own sockets decode each answer through several objects, which costs a hundred times
more than the kernel's work.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, KernelError, kernel_error

LOST = -1
"""In the place of an errno: no answer came, the message may or may not have been carried out."""

MESSAGES_PER_SEND = 256
BYTES_PER_SEND = 96 << 10  # well below the smallest send buffer
_BUFFER_BYTES = 8 << 20
_SEND_OVERHEAD = 1024
_LARGEST_DATAGRAM = 128 << 10  # an answer repeats at most one request, and a listing comes in parts of 32 KiB
_LARGEST_SEQUENCE = 2**32 - 1
_ANSWER_SECONDS = 2.0

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # leaves the request out of error answers
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_NLM_F_DUMP_INTR = 0x10

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ERRNO = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Message(NamedTuple):
    """A request without its header."""

    type: int
    payload: bytes
    flags: int = 0  # besides NLM_F_REQUEST and NLM_F_ACK


PlainMessage = tuple[int, bytes, int]
"""A `Message`, or a tuple like it, which is made three times as fast: bulk work sends thousands."""


class NetlinkSocket:
    """One socket of a netlink protocol such as NETLINK_ROUTE, in the creating thread's network namespace.

    Args:
        capped_answers: whether the kernel leaves the request out of its error answers (NETLINK_CAP_ACK).
    """

    def __init__(self, protocol: int, *, capped_answers: bool = True) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        grow_buffers(self._socket)
        # The kernel answers EMSGSIZE to what exceeds the send buffer less its own book-keeping.
        self._bytes_per_send = min(
            BYTES_PER_SEND, self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _SEND_OVERHEAD
        )
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, capped_answers)
        self._socket.bind((0, 0))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def execute(self, messages: Sequence[PlainMessage]) -> list[int]:
        """Send requests and learn what became of each.

        Returns:
            One item a message, in order: 0 for success, an errno, or `LOST`.
        """
        return [number for number, _ in self.execute_with_answers(messages)]

    def execute_with_answers(self, messages: Sequence[PlainMessage]) -> list[tuple[int, bytes]]:
        """As `execute`, with the payload of each error answer; empty where there is none."""
        results: list[tuple[int, bytes]] = []
        start = 0
        while start < len(messages):
            end = _end_of_send(messages, start, self._bytes_per_send)
            results += self._send(messages[start:end])
            start = end
        return results

    def request(self, message: Message, *, operation: str, subject: str = "") -> None:
        """Send one request.

        Raises:
            KernelError: it failed.
        """
        number = self.execute([message])[0]
        if number == LOST:
            raise AcknowledgementsLost(operation, subject)
        if number:
            raise kernel_error(operation, subject, number)

    def dump(self, message: Message, *, operation: str, subject: str = "") -> list[bytes]:
        """Ask for a listing, and return the payloads of its messages.

        Raises:
            DumpInterrupted: the table changed meanwhile, or a part was lost.
            KernelError: the kernel refused.
        """
        sequence = self._reserve(1)
        self._transmit(_encode(message, NLM_F_REQUEST | NLM_F_DUMP, sequence), operation, subject)
        found: list[bytes] = []
        interrupted = False
        while True:
            parts = self._receive()
            if parts is None:
                interrupted = True  # but read on: a listing that is left unread makes the next one fail with EBUSY
                continue
            for kind, flags, number, payload in parts:
                if number != sequence:
                    continue
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _raise_errno(payload, operation, subject)
                    if interrupted:
                        raise DumpInterrupted(operation, subject)
                    return found
                found.append(payload)

    def ask(self, message: Message, *, operation: str, subject: str = "") -> bytes:
        """Send one request that is answered by one message; return its payload.

        Raises:
            KernelError: the kernel refused.
        """
        sequence = self._reserve(1)
        self._transmit(_encode(message, NLM_F_REQUEST, sequence), operation, subject)
        while True:
            parts = self._receive()
            if parts is None:
                raise AcknowledgementsLost(operation, subject)
            for kind, _, number, payload in parts:
                if number != sequence:
                    continue
                if kind == NLMSG_ERROR:
                    _raise_errno(payload, operation, subject)
                return payload

    def _send(self, messages: Sequence[PlainMessage]) -> list[tuple[int, bytes]]:
        first = self._reserve(len(messages))
        last = first + len(messages) - 1
        parts: list[bytes] = []
        pack = HEADER.pack  # the hot path of a first sync: a header and a payload, without a copy of the two together
        for number, (kind, payload, flags) in enumerate(messages, first):
            parts.append(pack(len(payload) + 16, kind, flags | NLM_F_REQUEST, number, 0))
            parts.append(payload)
        kind, payload, flags = messages[-1]
        parts[-2] = pack(len(payload) + 16, kind, flags | NLM_F_REQUEST | NLM_F_ACK, last, 0)
        try:
            self._socket.send(b"".join(parts))
        except OSError as error:
            return [(LOST if error.errno == errno.ENOBUFS else error.errno or LOST, b"")] * len(messages)
        answers, complete = self._answers(first, last)
        unanswered = (0 if complete else LOST, b"")
        if answers.keys() == {last}:  # the usual case
            return [unanswered] * (len(messages) - 1) + [answers[last]]
        return [answers.get(number, unanswered) for number in range(first, last + 1)]

    def _answers(self, first: int, last: int) -> tuple[dict[int, tuple[int, bytes]], bool]:
        """Read the answers to a send by sequence number; the second item tells whether none was lost."""
        answers: dict[int, tuple[int, bytes]] = {}
        complete = True
        while last not in answers:
            try:
                # All answers wait by now. Once one is known to be lost, the last one may be, too.
                parts = self._receive(_ANSWER_SECONDS if complete else 0)
            except KernelError:  # whatever keeps them from being read: answers that are missing are lost
                return answers, False
            if parts is None:
                complete = False
                continue
            for kind, _, number, payload in parts:
                if kind == NLMSG_ERROR and first <= number <= last:
                    answers[number] = (-_ERRNO.unpack_from(payload)[0], payload)
        return answers, complete

    def _reserve(self, count: int) -> int:
        """The first of so many sequence numbers that follow one another."""
        if self._sequence + count > _LARGEST_SEQUENCE:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def _transmit(self, data: bytes, operation: str, subject: str) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise kernel_error(operation, subject, error.errno or 0) from error

    def _receive(self, seconds: float = _ANSWER_SECONDS) -> list[tuple[int, int, int, bytes]] | None:
        """Messages of one datagram: type, flags, sequence number, payload. None if answers were lost.

        Raises:
            AcknowledgementsLost: nothing came in time.
        """
        try:
            try:
                data, _, flags, _ = self._socket.recvmsg(_LARGEST_DATAGRAM, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:  # rare: the answer mostly waits already, so that waiting first would be a waste
                if not self._poll.poll(seconds * 1000):
                    raise AcknowledgementsLost("receive", detail="the kernel does not answer") from None
                data, _, flags, _ = self._socket.recvmsg(_LARGEST_DATAGRAM, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise kernel_error("receive", "", error.errno or 0) from error
        return None if flags & socket.MSG_TRUNC else list(split(data))


def grow_buffers(netlink: socket.socket) -> None:
    """Give a socket room for thousands of messages; beyond the limit of ordinary users where the process may."""
    for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            netlink.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
        except PermissionError:
            netlink.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: type, flags, sequence number, payload."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, number, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, number, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Split a run of attributes; keys are types without their flag bits. The last of equal types counts."""
    found: dict[int, bytes] = {}
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _encode(message: Message, flags: int, sequence: int) -> bytes:
    payload = message.payload
    return HEADER.pack(len(payload) + 16, message.type, message.flags | flags, sequence, 0) + payload


def _end_of_send(messages: Sequence[PlainMessage], start: int, most_bytes: int) -> int:
    size = 0
    limit = min(start + MESSAGES_PER_SEND, len(messages))
    for index in range(start, limit):
        size += len(messages[index][1]) + 16
        if size > most_bytes and index > start:
            return index
    return limit


def _raise_errno(payload: bytes, operation: str, subject: str) -> None:
    """Raise if an error or end-of-dump message carries an errno."""
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number == errno.EINTR:
        raise DumpInterrupted(operation, subject, number)
    if number:
        raise kernel_error(operation, subject, number)
