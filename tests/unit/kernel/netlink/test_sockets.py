"""What became of each message, when answers come, fail, or are lost."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, NotFound
from ipvsagent.kernel.netlink import sockets as netlink
from ipvsagent.kernel.netlink.sockets import LOST, Batch, Message, NetlinkSocket

ERROR, DONE, ITEM = 2, 3, 16  # NLMSG_ERROR, NLMSG_DONE, any answer
ACK, DUMP_INTERRUPTED = 4, 0x10  # NLM_F_ACK, NLM_F_DUMP_INTR

Answer = bytes | OSError


class ScriptedSocket:
    """In the place of a netlink socket: keeps what is sent, answers what it was told to."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []
        self.flags = 0

    def send(self, data: bytes) -> int:
        self.sent.append(data)
        return len(data)

    def recvmsg(self, size: int, _ancillary: int, _flags: int) -> tuple[bytes, list[bytes], int, None]:
        if not self.answers:
            raise BlockingIOError
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer[:size], [], socket.MSG_TRUNC if len(answer) > size else 0, None

    def close(self) -> None:
        pass

    def headers(self) -> list[tuple[int, int]]:
        """Flags and sequence number of each message sent."""
        return [(flags, number) for data in self.sent for _, flags, number, _ in netlink.split(data)]


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> Iterator[NetlinkSocket]:
    """A socket that does not wait for answers that never come."""
    monkeypatch.setattr(netlink, "_ANSWER_SECONDS", 0)
    opened = NetlinkSocket(socket.NETLINK_ROUTE)
    real = opened._socket  # noqa: SLF001 - replaced by a script below
    yield opened
    real.close()


def script(opened: NetlinkSocket, *answers: Answer) -> ScriptedSocket:
    """Answer from now on as told."""
    scripted = ScriptedSocket(*answers)
    opened._socket = scripted  # type: ignore[assignment]  # noqa: SLF001 - stands in for the three methods in use
    return scripted


def message(kind: int, number: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One message as the kernel sends it."""
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, number, 0) + payload


def answer(number: int, code: int = 0) -> bytes:
    """An acknowledgement, or an errno."""
    return message(ERROR, number, struct.pack("=i", -code) + bytes(16))


def requests(count: int) -> list[Message]:
    """Small requests."""
    return [Message(ITEM, b"\1\2\3\4") for _ in range(count)]


def test_an_error_belongs_to_the_message_with_its_sequence_number(route: NetlinkSocket) -> None:
    """Messages without an answer succeeded, since the last one was acknowledged."""
    scripted = script(route, answer(2, errno.EEXIST), answer(99, errno.EPERM), answer(4))
    assert route.execute(requests(4)) == [0, errno.EEXIST, 0, 0]
    assert [bool(flags & ACK) for flags, _ in scripted.headers()] == [False, False, False, True]


def test_without_the_last_acknowledgement_only_definite_errors_are_known(route: NetlinkSocket) -> None:
    """The kernel ends a batch silently at a message it cannot read."""
    script(route, answer(2, errno.ESRCH))
    assert route.execute(requests(3)) == [LOST, errno.ESRCH, LOST]


def test_definite_errors_count_although_other_answers_were_dropped(route: NetlinkSocket) -> None:
    """ENOBUFS comes before the answers that found room."""
    script(route, OSError(errno.ENOBUFS, "full"), answer(1, errno.EEXIST), answer(3, errno.ENOENT))
    assert route.execute(requests(5)) == [errno.EEXIST, LOST, errno.ENOENT, LOST, LOST]


def test_no_operation_counts_as_done_after_a_lost_acknowledgement(route: NetlinkSocket) -> None:
    """The last acknowledgement says nothing about a dropped error before it."""
    script(route, OSError(errno.ENOBUFS, "full"), answer(3))
    assert route.execute(requests(3)) == [LOST, LOST, 0]


def test_answers_that_cannot_be_read_are_lost_and_nothing_is_raised(route: NetlinkSocket) -> None:
    """A batch answers for each of its operations, whatever happens on the way."""
    script(route, answer(1, errno.EEXIST), OSError(errno.ENOMEM, "no memory"))
    assert route.execute(requests(3)) == [errno.EEXIST, LOST, LOST]


def test_the_answers_of_a_send_do_not_spill_into_the_next(route: NetlinkSocket) -> None:
    """An answer that comes late has the sequence number of a message long forgotten."""
    script(route)
    assert route.execute(requests(2)) == [LOST, LOST]
    script(route, answer(1, errno.EEXIST), answer(2), answer(4))
    assert route.execute(requests(2)) == [0, 0]


def test_large_batches_travel_in_several_sends(route: NetlinkSocket) -> None:
    """256 messages fit the smallest receive buffer with their answers."""
    scripted = script(route, answer(256), answer(512), answer(600))
    assert route.execute(requests(600)) == [0] * 600
    assert [len(data) // 20 for data in scripted.sent] == [256, 256, 88]


def test_requests_that_are_alike_are_sent_as_if_each_stood_for_itself(route: NetlinkSocket) -> None:
    """Each has its own length, payload and number; failures are reported by position, across sends."""
    batch = Batch()
    batch.add(ITEM, b"one.", flags=0x400)
    batch.add_alike(ITEM + 1, (b"<<<<", [b"%04d" % n for n in range(300)], b">>>>"), flags=0x200)
    batch.add(ITEM, b"last")
    scripted = script(route, answer(3, errno.EEXIST), answer(256), answer(300, errno.ENOENT), answer(302))
    failures = route.execute_batch(batch)
    assert {place: number for place, (number, _) in failures.items()} == {2: errno.EEXIST, 299: errno.ENOENT}
    sent = [(kind, flags & ~ACK, payload) for data in scripted.sent for kind, flags, _, payload in netlink.split(data)]
    alike = [(ITEM + 1, 0x201, b"<<<<%04d>>>>" % n) for n in range(300)]
    assert sent == [(ITEM, 0x401, b"one."), *alike, (ITEM, 1, b"last")]
    assert [number for _, number in scripted.headers()] == list(range(1, 303))
    assert [number for flags, number in scripted.headers() if flags & ACK] == [256, 302]


def test_large_messages_travel_in_several_sends(route: NetlinkSocket) -> None:
    """A send must fit the send buffer; a single message goes whatever its size."""
    scripted = script(route, answer(1), answer(2), answer(3))
    assert route.execute([Message(ITEM, bytes(60000))] * 3) == [0, 0, 0]
    assert len(scripted.sent) == 3


def test_a_send_that_the_kernel_refuses_fails_every_message_of_it(
    route: NetlinkSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it was carried out."""
    scripted = script(route)

    def refuse(_data: bytes) -> int:
        raise OSError(errno.EMSGSIZE, "too long")

    monkeypatch.setattr(scripted, "send", refuse)
    assert route.execute(requests(2)) == [errno.EMSGSIZE, errno.EMSGSIZE]


def test_sequence_numbers_start_again_before_they_overflow(route: NetlinkSocket) -> None:
    """They are 32 bits wide, and an agent runs for months."""
    route._sequence = 2**32 - 3  # noqa: SLF001 - four thousand million requests take too long
    scripted = script(route, answer(3))
    assert route.execute(requests(3)) == [0, 0, 0]
    assert [number for _, number in scripted.headers()] == [1, 2, 3]


def test_a_listing_has_the_payloads_of_all_its_parts(route: NetlinkSocket) -> None:
    """It comes in several datagrams, and what answers another request is not part of it."""
    script(
        route,
        message(ITEM, 1, b"aaaa") + message(ITEM, 1, b"bbb") + b"\0",
        message(ITEM, 7, b"none") + message(ITEM, 1, b"cccc"),
        message(DONE, 1, bytes(4)),
    )
    assert route.dump(Message(ITEM, b""), operation="list") == [b"aaaa", b"bbb", b"cccc"]


def test_a_listing_of_a_table_that_changed_meanwhile_is_refused(route: NetlinkSocket) -> None:
    """NLM_F_DUMP_INTR may stand in any part."""
    script(route, message(ITEM, 1, b"aaaa", DUMP_INTERRUPTED), message(DONE, 1, bytes(4)))
    with pytest.raises(DumpInterrupted):
        route.dump(Message(ITEM, b""), operation="list")


@pytest.mark.parametrize("loss", [OSError(errno.ENOBUFS, "full"), bytes(1 << 18)], ids=["dropped", "cut off"])
def test_a_listing_with_a_part_missing_is_read_to_its_end_and_refused(route: NetlinkSocket, loss: Answer) -> None:
    """Left unread, it would make the next listing fail with EBUSY."""
    scripted = script(route, loss, message(ITEM, 1, b"aaaa"), message(DONE, 1, bytes(4)))
    with pytest.raises(DumpInterrupted):
        route.dump(Message(ITEM, b""), operation="list")
    assert scripted.answers == []


@pytest.mark.parametrize("kind", [ERROR, DONE])
def test_an_error_in_a_listing_is_raised_by_its_class(route: NetlinkSocket, kind: int) -> None:
    """The kernel tells it in an error message or at the end."""
    script(route, message(ITEM, 1, b"aaaa"), message(kind, 1, struct.pack("=i", -errno.ENOENT)))
    with pytest.raises(NotFound, match="list ipset KUBE-X: ENOENT"):
        route.dump(Message(ITEM, b""), operation="list ipset", subject="KUBE-X")


def test_a_listing_that_never_ends_is_given_up(route: NetlinkSocket) -> None:
    """The owner thread must not hang."""
    script(route, message(ITEM, 1, b"aaaa"))
    with pytest.raises(AcknowledgementsLost):
        route.dump(Message(ITEM, b""), operation="list")


def test_a_question_is_answered_by_one_message(route: NetlinkSocket) -> None:
    """An error in its place is raised."""
    script(route, message(ITEM, 1, b"aaaa"))
    assert route.ask(Message(ITEM, b""), operation="ask") == b"aaaa"
    script(route, answer(2, errno.ENODEV))
    with pytest.raises(NotFound):
        route.ask(Message(ITEM, b""), operation="ask")


def test_a_message_of_impossible_length_ends_its_datagram() -> None:
    """A length of 0 would otherwise be read for ever."""
    assert [m[2] for m in netlink.split(message(ITEM, 1) + bytes(32))] == [1]


def test_the_kernel_answers_a_real_socket() -> None:
    """Listing links needs no privilege; the loopback interface is always there."""
    opened = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        payloads = opened.dump(Message(18, bytes(16)), operation="list interfaces")  # RTM_GETLINK
    finally:
        opened.close()
    assert any(b"lo\0" in payload for payload in payloads)
