"""Measure the exclusive time of each stage, and record what is sent to the kernel.

Functions of the product are wrapped from outside, so the product itself measures nothing. A stage's time does not
count while another one, called from within it, runs.
"""

from __future__ import annotations

import functools
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ipvsagent.kernel.netlink.sockets import HEADER, NetlinkSocket

_NLM_F_ACK = 4


class Stages:
    """Exclusive time by stage, in seconds.

    Attributes:
        seconds: by stage, since `clear`.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0
        self._undo: list[Callable[[], None]] = []

    def clear(self) -> None:
        """Reset all stages."""
        self.seconds.clear()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Count calls of a function for a stage until `unwrap`."""
        original = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._enter(stage)
            try:
                return original(*args, **kwargs)
            finally:
                self._leave()

        setattr(owner, name, timed)
        self._undo.append(lambda: setattr(owner, name, original))

    def unwrap(self) -> None:
        """Restore all wrapped functions."""
        while self._undo:
            self._undo.pop()()

    def _enter(self, stage: str) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._running.append(stage)
        self._since = now

    def _leave(self) -> None:
        now = time.perf_counter()
        self.seconds[self._running.pop()] += now - self._since
        self._since = now


class Send:
    """A datagram that requests changes.

    Args:
        protocol: the netlink protocol that it went to.
        data: the messages, as sent.
    """

    __slots__ = ("at", "data", "protocol")

    def __init__(self, protocol: int, data: bytes) -> None:
        self.protocol = protocol
        self.data = data
        self.at = time.perf_counter()  # a send is synchronous: the kernel has done it by now

    def messages(self) -> list[int]:
        """Return the flags of its messages."""
        flags, offset = [], 0
        while offset < len(self.data):
            length, _, message_flags, _, _ = HEADER.unpack_from(self.data, offset)
            flags.append(message_flags)
            offset += (length + 3) & ~3
        return flags


class _Recorder(socket.socket):
    """A netlink socket that records sent datagrams if recording is on."""

    kept: list[Send] | None = None

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, and record."""
        sent = super().send(data, flags)
        if self.kept is not None:
            self.kept.append(Send(self.proto, data))
        return sent


class Recording:
    """Records all requests for changes of the given drivers while it is on."""

    def __init__(self, *netlink: NetlinkSocket) -> None:
        self._sockets = []
        for owner in netlink:
            plain = owner._socket
            recorder = _Recorder(plain.family, plain.type, plain.proto, fileno=plain.detach())
            owner._socket = recorder
            self._sockets.append(recorder)

    def begin(self) -> None:
        """Clear the record and start recording."""
        kept: list[Send] = []
        for recorder in self._sockets:
            recorder.kept = kept

    def end(self) -> list[Send]:
        """Stop recording; return datagrams that request changes (only the last message wants an acknowledgement)."""
        kept = self._sockets[0].kept or []
        for recorder in self._sockets:
            recorder.kept = None
        return [send for send in kept if send.messages()[-1] & _NLM_F_ACK]
