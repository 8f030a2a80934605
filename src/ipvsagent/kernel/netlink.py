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
import os
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

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, kernel_error

LOST = -1
"""In the place of an errno: no answer came, the message may or may not have been carried out."""

MESSAGES_PER_SEND = 256
BYTES_PER_SEND = 96 << 10  # well below the smallest send buffer
_BUFFER_BYTES = 8 << 20
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


class NetlinkSocket:
    """One socket of a netlink protocol such as NETLINK_ROUTE, in the creating thread's network namespace.

    Args:
        capped_answers: whether the kernel leaves the request out of its error answers (NETLINK_CAP_ACK).
    """

    def __init__(self, protocol: int, *, capped_answers: bool = True) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, capped_answers)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def execute(self, messages: Sequence[Message]) -> list[int]:
        """Send requests and learn what became of each.

        Returns:
            One item a message, in order: 0 for success, an errno, or `LOST`.
        """
        return [number for number, _ in self.execute_with_answers(messages)]

    def execute_with_answers(self, messages: Sequence[Message]) -> list[tuple[int, bytes]]:
        """As `execute`, with the payload of each error answer; empty where there is none."""
        results: list[tuple[int, bytes]] = []
        start = 0
        while start < len(messages):
            end = _end_of_send(messages, start)
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
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(_encode(message, NLM_F_REQUEST | NLM_F_DUMP, sequence))
        found: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, number, payload in self._receive():
                if number != sequence:
                    continue
                interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _check_end(payload, operation, subject)
                    if interrupted:
                        raise DumpInterrupted(operation, subject)
                    return found
                found.append(payload)

    def ask(self, message: Message, *, operation: str, subject: str = "") -> bytes:
        """Send one request that is answered by one message; return its payload.

        Raises:
            KernelError: the kernel refused.
        """
        self._sequence += 1
        self._socket.send(_encode(message, NLM_F_REQUEST, self._sequence))
        while True:
            for kind, _, number, payload in self._receive():
                if number != self._sequence:
                    continue
                if kind == NLMSG_ERROR:
                    _check_end(payload, operation, subject)
                return payload

    def _send(self, messages: Sequence[Message]) -> list[tuple[int, bytes]]:
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(messages)
        parts = [_encode(m, NLM_F_REQUEST, first + i) for i, m in enumerate(messages[:-1])]
        parts.append(_encode(messages[-1], NLM_F_REQUEST | NLM_F_ACK, last))
        try:
            self._socket.send(b"".join(parts))
        except OSError as error:
            return [(LOST if error.errno == errno.ENOBUFS else error.errno or LOST, b"")] * len(messages)
        answers: dict[int, tuple[int, bytes]] = {}
        unanswered = (0, b"")
        try:
            while last not in answers:
                for kind, _, number, payload in self._receive():
                    if kind == NLMSG_ERROR and first <= number <= last:
                        answers[number] = (-_ERRNO.unpack_from(payload)[0], payload)
        except (AcknowledgementsLost, DumpInterrupted):
            unanswered = (LOST, b"")
        return [answers.get(number, unanswered) for number in range(first, last + 1)]

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Messages of one datagram: type, flags, sequence number, payload."""
        try:
            try:
                data, _, flags, _ = self._socket.recvmsg(1 << 17, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not select.select([self._socket], [], [], _ANSWER_SECONDS)[0]:
                    raise AcknowledgementsLost("receive", detail="the kernel does not answer") from None
                data, _, flags, _ = self._socket.recvmsg(1 << 17, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise AcknowledgementsLost("receive", "", errno.ENOBUFS) from error
            raise kernel_error("receive", "", error.errno or 0) from error
        if flags & socket.MSG_TRUNC:
            raise DumpInterrupted("receive", detail="an answer was cut off")
        offset = 0
        while offset + HEADER.size <= len(data):
            length, kind, message_flags, number, _ = HEADER.unpack_from(data, offset)
            yield kind, message_flags, number, data[offset + HEADER.size : offset + length]
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


def _end_of_send(messages: Sequence[Message], start: int) -> int:
    size = 0
    limit = min(start + MESSAGES_PER_SEND, len(messages))
    for index in range(start, limit):
        size += len(messages[index].payload) + 16
        if size > BYTES_PER_SEND and index > start:
            return index
    return limit


def _check_end(payload: bytes, operation: str, subject: str) -> None:
    """Raise if an error or end-of-dump message carries an errno."""
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number == errno.EINTR:
        raise DumpInterrupted(operation, subject, number)
    if number:
        raise kernel_error(operation, subject, number, os.strerror(number) if number < 4096 else "")
