"""The queue between two stages, and the one place where a newer window displaces an older one.

ZeroMQ's own queues can refuse or block, but they cannot drop their oldest message and report it. They are therefore
kept as short as possible, and what has to wait, waits here, at the sender:

- `lossless`: a full queue blocks the stage, which blocks the stage before it, and so on back to the recording.
- `live`: when the queue is full, the oldest window is dropped. The newest wins, because an old gesture is of no use.

Every dropped window is counted under its reason, and the count travels with the next message of its stream: a receiver
that finds a number missing knows why.

The end of a stream is resent once a second, because a receiver may have died before it forwarded the end. A receiver
that has it already ignores it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import zmq

from eventveil.errors import LineError
from eventveil.stream.runtime.accounting import QUEUE, StageCounters
from eventveil.stream.runtime.message import StageMessage, pack

RESEND_S = 1.0


class EdgeSender:
    """The sending end of an edge.

    Args:
        socket: where to send.
        capacity: messages that may wait here.
        delivery: what to do when more come.
        counters: counters of the stage.
        aborted: called while blocked; True means that the pipeline is shutting down.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        capacity: int,
        delivery: Literal["lossless", "live"],
        counters: StageCounters,
        aborted: Callable[[], bool],
    ) -> None:
        self._socket = socket
        self._capacity = capacity
        self._live = delivery == "live"
        self._counters = counters
        self._aborted = aborted
        self._waiting: deque[StageMessage] = deque()
        self._ends: dict[str, StageMessage] = {}
        self._resend_at_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def windows(self) -> int:
        """How many windows wait here."""
        return sum(message.window is not None for message in self._waiting)

    @property
    def full(self) -> bool:
        """Whether the stage should receive nothing: only `lossless` holds it back."""
        return not self._live and len(self._waiting) >= self._capacity

    def put(self, message: StageMessage) -> None:
        """Queue a message; may block (`lossless`) or drop the oldest window (`live`)."""
        message.lost.update(self._counters[message.stream].dropped())
        if message.ends:
            self._ends[message.stream] = message
            self._resend_at_s = time.monotonic() + RESEND_S
        self._waiting.append(message)
        self.flush()
        while len(self._waiting) > self._capacity:
            if not self._live:
                self._send_within(0.1)
            elif not self._drop_oldest():
                break

    def flush(self) -> None:
        """Send what can be sent without waiting."""
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()

    def resend_end_of_stream(self) -> None:
        """Send the ends of ended streams again, once a second, if that needs no waiting."""
        now_s = time.monotonic()
        if self._ends and not self._waiting and now_s >= self._resend_at_s:
            self._resend_at_s = now_s + RESEND_S
            all(self._send(message) for message in self._ends.values())

    def wait(self, milliseconds: int) -> None:
        """Wait at most this long until something can be sent."""
        self._socket.poll(milliseconds, zmq.POLLOUT)

    def drain(self, seconds: float) -> bool:
        """Send all that waits, for at most this long; return whether nothing is left."""
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            self._send_within(0.1)
        return not self._waiting

    def _send_within(self, seconds: float) -> None:
        if self._aborted():
            raise LineError("the pipeline was stopped before all windows were sent")
        self.wait(int(seconds * 1000))
        self.flush()

    def _send(self, message: StageMessage) -> bool:
        if not self._socket.poll(0, zmq.POLLOUT):
            return False
        frames = pack(message)
        # Counted first: otherwise a stage killed right after sending leaves a window that was received but never sent.
        counters, windows = self._counters[message.stream], message.window is not None
        counters.sent += windows
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            counters.sent -= windows
            return False
        return True

    def _drop_oldest(self) -> bool:
        # The end of a stream is not a window and is never dropped.
        oldest = next((message for message in self._waiting if message.window is not None), None)
        if oldest is None:
            return False
        self._waiting.remove(oldest)
        self._counters[oldest.stream].drop(QUEUE)
        for message in self._waiting:  # all messages of its stream are newer
            if message.stream == oldest.stream:
                message.lost[QUEUE] += 1
        return True
