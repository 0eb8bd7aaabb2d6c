"""The connections of the public socket, so that a single one can be ended.

libzmq cannot close one connection of many. But each message from a subscriber names the descriptor that it came from,
and a connection whose descriptor is shut down ends. Descriptors are reused, and so each handshake has a serial number,
which libzmq repeats with each message (`User-Id` of ZAP). A connection is ended only if its handshake followed the
latest accepted connection of its descriptor.

libzmq keeps the frames of a message until its last one, however many there are, and reports none of them. It also reads
subscriptions for as long as they keep coming, and does not return meanwhile. The kernel knows how much a connection has
sent, though: one that sends on and on, much more than is reported, is endless. The thread that answers handshakes ends
it, because the socket's thread may be waiting for libzmq.

Many clients that send little and leave at once are no better: libzmq keeps what they have sent, and takes it in faster
than we can read it. So only a few are admitted before everything that has arrived was read.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import zmq

from eventveil.stream.publisher.listener import Listener

MAX_UNREPORTED = 1 << 14  # bytes of which libzmq has reported no message; whole messages have 1 KiB
MAX_ALL_UNREPORTED = 1 << 20  # of all connections, which share it
MIN_UNREPORTED = 1 << 11  # of a connection whose share is smaller: room for a handshake and its subscriptions
# Bytes on the wire besides those of a message, at most: the header of a long frame (9) and the name SUBSCRIBE (9 more
# than libzmq reports of it); encrypted, CURVE's MESSAGE command as well (33).
MAX_OVERHEAD, MAX_OVERHEAD_ENCRYPTED = 18, 51
MAX_ADMITTED = 16  # clients that are admitted before all that has arrived was read
ENDLESS = "sends without end"
FRAMES_PER_S = 10  # a steady rate that no subscriber reaches for long
HEARTBEATS = 256  # bytes a second that ZeroMQ itself may send, and does not report either
_BYTES_RECEIVED = 128  # where `tcpi_bytes_received` is in `struct tcp_info` of linux/tcp.h


@dataclass(slots=True)
class FrameCount:
    """Counts frames, except those of a steady rate of `FRAMES_PER_S`."""

    _frames: float = 0.0
    _last_s: float = 0.0

    def add(self, now_s: float) -> float:
        """Count a frame that was read now; return how many there are."""
        self._frames = max(0.0, self._frames - FRAMES_PER_S * (now_s - self._last_s)) + 1
        self._last_s = now_s
        return self._frames


@dataclass(slots=True)
class Connection:
    """A connection that has sent a message.

    Attributes:
        descriptor: libzmq's.
        serial: number of its handshake.
        key: key of the subscriber, in Z85; "" without keys.
        known: the topics that it has subscribed to.
        unknown: likewise, those that do not exist.
        ended: whether it was ended, or reported to be.
        shut: whether its descriptor was shut down, or is just being: another connection may have it by now.
        frames: how many frames it has sent lately.
        offence: why it is to be ended, in words that follow "a subscriber that"; "" as long as there is no reason.
    """

    descriptor: int
    serial: int
    key: str
    known: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    ended: bool = False
    shut: bool = False
    frames: FrameCount = field(default_factory=FrameCount)
    offence: str = ""


@dataclass(slots=True)
class _Endless:
    """A connection that sends without end.

    Attributes:
        descriptor: libzmq's.
        before: number of the last handshake before it was accepted.
        last: number of the last handshake before it was found.
        connection: who it is; None as long as it has completed no message.
    """

    descriptor: int
    before: int
    last: int
    connection: Connection | None = None

    def identify(self, known: Connection | None) -> None:
        """Note who it is, if it is this one: a descriptor may belong to another one by now."""
        if known is not None and known.descriptor == self.descriptor and self.before < known.serial <= self.last:
            self.connection = known


class Connections:
    """The connections of one public socket.

    `accepted`, `closed`, `may_admit`, `admitted` and `measure` belong to the thread that answers handshakes, all else
    to that of the socket.

    Args:
        listener: where they come from.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._accepted: dict[int, int] = {}  # by descriptor: the last serial number before it was accepted
        self._admitted = 0  # since all that had arrived was read
        self._known: dict[int, Connection] = {}  # by descriptor; the latest of each
        self._new: list[Connection] = []
        # By descriptor: bytes of messages so far, of all its connections while they were open.
        self._reported: Counter[int] = Counter()
        # By descriptor: serial number, bytes received and reported so far, and how many of the received are unreported.
        self._unreported: dict[int, tuple[int, int, int, float]] = {}
        self._measured_s = -math.inf
        self._endless: deque[_Endless] = deque()
        # Reserved: a crowd may take all other descriptors, and would keep us from ending any connection.
        self._nothing, self._copy = (os.open(os.devnull, os.O_RDONLY) for _ in range(2))
        self._copying = threading.Lock()

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._known.values())

    def accepted(self, descriptor: int, serial: int) -> None:
        """Note a new connection, before its handshake is answered with a number above `serial`."""
        self._accepted[descriptor] = serial

    def closed(self, descriptor: int) -> None:
        """Note that libzmq closes a descriptor."""
        self._accepted.pop(descriptor, None)

    def may_admit(self) -> bool:
        """Return whether a client may be admitted now, or has to wait."""
        return self._admitted < MAX_ADMITTED

    def admitted(self) -> None:
        """Note that a client was admitted."""
        self._admitted += 1

    def all_read(self) -> bool:
        """Note that all that has arrived was read; return whether a client was admitted since the last time."""
        admitted, self._admitted = self._admitted, 0
        return admitted > 0

    def sender(self, frame: zmq.Frame) -> Connection | None:
        """Return the connection that a message came from; None for what libzmq says for one that is gone."""
        try:
            descriptor, user = int(frame.get(zmq.SRCFD)), str(frame.get("User-Id"))
        except zmq.ZMQError:
            return None
        number, _, key = user.partition(" ")
        serial = int(number)
        if self._accepted.get(descriptor, serial) < serial:  # an earlier connection is no longer measured
            self._reported[descriptor] += len(frame) + (MAX_OVERHEAD_ENCRYPTED if key else MAX_OVERHEAD)
        known = self._known.get(descriptor)
        if known is None or known.serial < serial:
            known = self._known[descriptor] = Connection(descriptor, serial, key)
            self._new.append(known)
            for endless in tuple(self._endless):
                endless.identify(known)
        return known if known.serial == serial else None

    def take_new(self) -> list[Connection]:
        """Return the connections that have sent their first message since the last call."""
        new, self._new = self._new, []
        return new

    def measure(self, now_s: float, last: int) -> None:
        """End endless connections. Call it often, in the thread that answers handshakes.

        Connections at an `ipc://` address are not measured, nor are any outside Linux.

        Args:
            now_s: the time by a monotonic clock.
            last: number of the latest handshake.
        """
        before, self._unreported = self._unreported, {}
        heartbeats = HEARTBEATS * (now_s - self._measured_s)
        self._measured_s = now_s
        share = MAX_ALL_UNREPORTED // max(1, len(self._accepted))
        limit = max(MIN_UNREPORTED, min(MAX_UNREPORTED, share))
        for descriptor, serial in self._accepted.items():
            total = _bytes_received(descriptor)
            if total is None:
                continue
            reported = self._reported[descriptor]
            new = serial, total, reported, 0.0
            last_serial, last_total, last_reported, unreported = before.get(descriptor, new)
            if last_serial != serial:
                _, last_total, last_reported, unreported = new
            received = total - last_total
            unreported = max(0.0, unreported + received - (reported - last_reported) - heartbeats)
            if unreported > limit:
                endless = _Endless(descriptor, serial, last)
                self._endless.append(endless)  # before it is identified: its first message may come in between
                endless.identify(self._known.get(descriptor))
                self._shut_down(descriptor, partial(_has_received, total))
                unreported = 0.0
            self._unreported[descriptor] = serial, total, reported, unreported

    def take_endless(self) -> Iterator[Connection]:
        """Yield the endless connections that were found since the last call, unless they were ended otherwise."""
        while self._endless:
            endless = self._endless.popleft()
            found = endless.connection or Connection(endless.descriptor, endless.last, "")
            found.shut = True
            if not found.ended:
                found.offence = ENDLESS
                yield found

    def is_open(self, connection: Connection) -> bool:
        """Return whether libzmq has neither closed the connection nor given its descriptor to another one."""
        return self._accepted.get(connection.descriptor, connection.serial) < connection.serial

    def end(self, connection: Connection) -> None:
        """End a connection, unless it has ended by itself."""
        connection.ended = True
        connection.unknown.clear()
        if not connection.shut:
            connection.shut = True
            self._shut_down(connection.descriptor, lambda _: self.is_open(connection))

    def _shut_down(self, descriptor: int, is_it: Callable[[int], bool]) -> None:
        # Look at a copy of the descriptor, so that what was checked is what is shut down.
        with self._copying:
            with contextlib.suppress(OSError):
                os.dup2(descriptor, self._copy, inheritable=False)
                copy = socket.socket(fileno=self._copy)
                try:
                    if is_it(self._copy) and self._listener.accepted(copy):
                        copy.shutdown(socket.SHUT_RDWR)
                finally:
                    copy.detach()
            os.dup2(self._nothing, self._copy, inheritable=False)

    def close(self) -> None:
        """Release the reserved descriptors."""
        os.close(self._nothing)
        os.close(self._copy)


def _has_received(total: int, descriptor: int) -> bool:
    """Return whether a connection has received so much: one that has just got the descriptor has not."""
    return (_bytes_received(descriptor) or 0) >= total


def _bytes_received(descriptor: int) -> int | None:
    """Return how many bytes a connection has received in all; None if the system does not say."""
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, struct.error):  # it is closed already, or no TCP
        connection = socket.socket(fileno=descriptor)
        try:
            size = _BYTES_RECEIVED + 8
            information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
            return int(struct.unpack_from("=Q", information, _BYTES_RECEIVED)[0])
        finally:
            connection.detach()
    return None
