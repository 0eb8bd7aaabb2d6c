"""What waits between two stages, and the one place where a window gives way to a newer one.

ZeroMQ's own queues can refuse or block, but not give up their oldest message and say so. They are therefore kept as
short as they go, and what has to wait, waits here, at its sender:

- `lossless`: a full outbox blocks the stage, that one the stage before it, and so on back to the recording.
- `live`: a full outbox gives up its oldest window. The newest wins, because nobody waits for an old gesture.

Every window given up is counted under its reason, and the count travels with the next parcel of its stream: whoever
sees a number missing is told why.

The end of a stream is said again and again, once a second: whoever took it in may have died before it was handed on.
Who knows it already passes it over.
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
        capacity: parcels that may wait here.
        delivery: what to do when more come.
        page: the stage's books.
        aborted: asked while blocked; True means the line is being torn down.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        capacity: int,
        delivery: Literal["lossless", "live"],
        page: StageCounters,
        aborted: Callable[[], bool],
    ) -> None:
        self._socket = socket
        self._capacity = capacity
        self._live = delivery == "live"
        self._page = page
        self._aborted = aborted
        self._waiting: deque[StageMessage] = deque()
        self._ends: dict[str, StageMessage] = {}
        self._remind_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def windows(self) -> int:
        """How many windows wait here."""
        return sum(parcel.window is not None for parcel in self._waiting)

    @property
    def full(self) -> bool:
        """True where the stage should take nothing in: only `lossless` holds it back."""
        return not self._live and len(self._waiting) >= self._capacity

    def put(self, parcel: StageMessage) -> None:
        """Queue a parcel; may block (`lossless`) or give up the oldest one (`live`)."""
        parcel.lost.update(self._page[parcel.stream].dropped())
        if parcel.ends:
            self._ends[parcel.stream] = parcel
            self._remind_s = time.monotonic() + RESEND_S
        self._waiting.append(parcel)
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
        """Say once a second which streams have ended, where that can be done without waiting."""
        now_s = time.monotonic()
        if self._ends and not self._waiting and now_s >= self._remind_s:
            self._remind_s = now_s + RESEND_S
            all(self._send(parcel) for parcel in self._ends.values())

    def wait(self, milliseconds: int) -> None:
        """Wait until something can be sent, at most so long."""
        self._socket.poll(milliseconds, zmq.POLLOUT)

    def drain(self, seconds: float) -> bool:
        """Send all that waits, for at most so long; True if nothing is left."""
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            self._send_within(0.1)
        return not self._waiting

    def _send_within(self, seconds: float) -> None:
        if self._aborted():
            raise LineError("the line was stopped before everything had been handed on")
        self.wait(int(seconds * 1000))
        self.flush()

    def _send(self, parcel: StageMessage) -> bool:
        if not self._socket.poll(0, zmq.POLLOUT):
            return False
        frames = pack(parcel)
        # Counted first: killed behind the sending, a stage would leave a window that came and never went.
        entry, windows = self._page[parcel.stream], parcel.window is not None
        entry.sent += windows
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            entry.sent -= windows
            return False
        return True

    def _drop_oldest(self) -> bool:
        # The end of a stream is no window and is never given up.
        oldest = next((parcel for parcel in self._waiting if parcel.window is not None), None)
        if oldest is None:
            return False
        self._waiting.remove(oldest)
        self._page[oldest.stream].drop(QUEUE)
        for parcel in self._waiting:  # all of its stream are newer
            if parcel.stream == oldest.stream:
                parcel.lost[QUEUE] += 1
        return True
