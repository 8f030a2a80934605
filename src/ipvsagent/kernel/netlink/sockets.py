"""Netlink sockets for bulk work: many messages in one send, answers matched by sequence number.

This relies on measured behaviour of the kernel. A send is synchronous: when it returns, the kernel has handled all of
its messages and the answers can be read. The messages after a failed one are still handled. Without NLM_F_ACK the
kernel answers only failures. A message with a bad length ends the batch silently. So only the last message of a send
asks for an acknowledgement; if it is missing, the results of the others are unknown.

The constants are pyroute2's. Its sockets are not used: they decode each answer through several objects, which costs a
hundred times more than the kernel's work.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from pyroute2.netlink import (
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, KernelError, kernel_error

_NO_NFNETLINK = "the kernel has no nfnetlink (module `nfnetlink`, `CONFIG_NETFILTER_NETLINK`)"

Alike = tuple[bytes, Sequence[bytes], bytes]
"""Payloads of one length: their common beginning, the part that differs (not empty), and their common end."""

Failure = tuple[int, bytes]
"""An errno or `LOST`, and the payload of the error answer; empty if there is none."""

LOST = -1
"""Stands for an errno if no answer came: the kernel may or may not have handled the message."""

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
_HEAD = struct.Struct("=IHH")  # the part before the sequence number
_NO_PORT = bytes(4)
_ERRNO = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Message(NamedTuple):
    """A request without its header."""

    type: int
    payload: bytes
    flags: int = 0  # besides NLM_F_REQUEST and NLM_F_ACK


class Batch:
    """Requests to send together, without their sequence numbers.

    They are stored as columns, which the interpreter joins without a Python loop: one step of a Python loop takes
    nearly as long as the kernel needs for a request, a few microseconds.
    """

    __slots__ = ("_after", "_before", "_heads", "_lengths", "_middle")

    def __init__(self) -> None:
        self._lengths: list[int] = []
        self._heads: list[bytes] = []  # the part before the sequence number
        self._before: list[bytes] = []  # this and the following make up the rest
        self._middle: list[bytes] = []
        self._after: list[bytes] = []

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Add one request; for the arguments see `Message`."""
        length = HEADER.size + len(payload)
        self._lengths.append(length)
        self._heads.append(_HEAD.pack(length, kind, flags | NLM_F_REQUEST))
        self._before.append(_NO_PORT)
        self._middle.append(payload)
        self._after.append(b"")

    def add_alike(self, kind: int, alike: Alike, flags: int = 0) -> None:
        """Add requests of one type that differ in a few bytes of their payloads."""
        before, middles, after = alike
        count = len(middles)
        length = HEADER.size + len(before) + len(middles[0]) + len(after)
        self._lengths += [length] * count
        self._heads += [_HEAD.pack(length, kind, flags | NLM_F_REQUEST)] * count
        self._before += [_NO_PORT + before] * count
        self._middle += middles
        self._after += [after] * count

    def end_of_send(self, start: int, most_bytes: int) -> int:
        """Return the end of a send that begins with this request: at most 256 requests, and at most so many bytes."""
        lengths = self._lengths[start : start + MESSAGES_PER_SEND]
        while len(lengths) > 1 and sum(lengths) > most_bytes:
            lengths.pop()
        return start + len(lengths)

    def encode(self, start: int, end: int, first_number: int) -> bytes:
        """Encode a part of the batch; its last request asks for an acknowledgement."""
        count = end - start
        numbers = struct.pack(f"={count}I", *range(first_number, first_number + count))
        heads = self._heads[start:end]
        length, kind, flags = _HEAD.unpack(heads[-1])
        heads[-1] = _HEAD.pack(length, kind, flags | NLM_F_ACK)
        columns = (
            heads,
            struct.unpack("4s" * count, numbers),
            self._before[start:end],
            self._middle[start:end],
            self._after[start:end],
        )
        return b"".join(chain.from_iterable(zip(*columns, strict=True)))


class NetlinkSocket:
    """One socket of a netlink protocol such as NETLINK_ROUTE, in the creating thread's network namespace.

    Args:
        capped_answers: whether the kernel leaves the request out of its error answers (NETLINK_CAP_ACK).
    """

    def __init__(self, protocol: int, *, capped_answers: bool = True) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            detail = _NO_NFNETLINK if error.errno == errno.EPROTONOSUPPORT and protocol == NETLINK_NETFILTER else ""
            raise kernel_error("open netlink socket", str(protocol), error.errno or 0, detail) from error
        grow_buffers(self._socket)
        # The kernel refuses a send with EMSGSIZE if it exceeds the send buffer minus some overhead.
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

    def execute(self, messages: Sequence[Message]) -> list[int]:
        """Send requests and return their results.

        Returns:
            One item for each message, in order: 0 for success, an errno, or `LOST`.
        """
        batch = Batch()
        for message in messages:
            batch.add(*message)
        failures = self.execute_batch(batch)
        return [failures[index][0] if index in failures else 0 for index in range(len(messages))]

    def execute_batch(self, batch: Batch) -> dict[int, Failure]:
        """Send a batch.

        Returns:
            The requests that failed or whose result is unknown, by their position in the batch.
        """
        failures: dict[int, Failure] = {}
        start = 0
        while start < len(batch):
            end = batch.end_of_send(start, self._bytes_per_send)
            failures.update(self._send(batch, start, end))
            start = end
        return failures

    def request(self, message: Message, *, operation: str, subject: str = "") -> None:
        """Send one request.

        Raises:
            KernelError: it failed.
        """
        number = self.execute([message])[0]
        if number:
            raise failed(operation, subject, number)

    def dump(self, message: Message, *, operation: str, subject: str = "") -> list[bytes]:
        """Request a listing and return the payloads of its messages.

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
                interrupted = True  # keep reading: an unread listing makes the next one fail with EBUSY
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
        """Send one request that has one answer, and return the answer's payload.

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

    def _send(self, batch: Batch, start: int, end: int) -> dict[int, Failure]:
        first = self._reserve(end - start)
        last = first + end - start - 1
        try:
            self._socket.send(batch.encode(start, end, first))
        except OSError as error:
            failure = (LOST if error.errno == errno.ENOBUFS else error.errno or LOST, b"")
            return dict.fromkeys(range(start, end), failure)
        answers, complete = self._answers(first, last)
        failures: dict[int, Failure] = {} if complete else dict.fromkeys(range(start, end), (LOST, b""))
        for number, answer in answers.items():
            if answer[0]:
                failures[number - first + start] = answer
            else:
                failures.pop(number - first + start, None)
        return failures

    def _answers(self, first: int, last: int) -> tuple[dict[int, Failure], bool]:
        """Return the answers to a send by sequence number, and whether all of them arrived."""
        answers: dict[int, Failure] = {}
        complete = True
        while last not in answers:
            try:
                # All answers are queued by now. If one was lost, the last one may be lost as well: do not wait for it.
                parts = self._receive(_ANSWER_SECONDS if complete else 0)
            except KernelError:  # for whatever reason: answers that were not read are lost
                return answers, False
            if parts is None:
                complete = False
                continue
            for kind, _, number, payload in parts:
                if kind == NLMSG_ERROR and first <= number <= last:
                    answers[number] = (-_ERRNO.unpack_from(payload)[0], payload)
        return answers, complete

    def _reserve(self, count: int) -> int:
        """Reserve consecutive sequence numbers and return the first."""
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
        """Receive a datagram; return type, flags, sequence number and payload of its messages; None if some were lost.

        Raises:
            AcknowledgementsLost: nothing came in time.
        """
        try:
            try:
                data, _, flags, _ = self._socket.recvmsg(_LARGEST_DATAGRAM, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:  # rare: the answer is nearly always queued, so receive before polling
                if not self._poll.poll(seconds * 1000):
                    raise AcknowledgementsLost("receive", detail="the kernel does not answer") from None
                data, _, flags, _ = self._socket.recvmsg(_LARGEST_DATAGRAM, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise kernel_error("receive", "", error.errno or 0) from error
        return None if flags & socket.MSG_TRUNC else list(split(data))


def failed(operation: str, subject: str, number: int) -> KernelError:
    """Return the error for a request that failed or whose result is unknown.

    Args:
        number: an errno, or `LOST`.
    """
    if number == LOST:
        return AcknowledgementsLost(operation, subject)
    return kernel_error(operation, subject, number)


def grow_buffers(netlink: socket.socket) -> None:
    """Enlarge a socket's buffers for thousands of messages; exceed the system's limit if the process may."""
    for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
        try:
            netlink.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
        except PermissionError:
            netlink.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)


def split(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split a datagram into messages: type, flags, sequence number, payload."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, number, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, number, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Split attributes by their type without flag bits; of several with the same type, the last one is returned."""
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


def _raise_errno(payload: bytes, operation: str, subject: str) -> None:
    """Raise if an error or end-of-dump message carries an errno."""
    number = -_ERRNO.unpack_from(payload)[0] if len(payload) >= _ERRNO.size else 0
    if number == errno.EINTR:
        raise DumpInterrupted(operation, subject, number)
    if number:
        raise kernel_error(operation, subject, number)
