"""What waits between two stages, and the one place where a window may be given up.

ZeroMQ's own queues can refuse or block, but not give up their oldest message and say so. They are therefore kept as
short as they go, and what has to wait, waits here, at its sender:

- `lossless`: a full outbox blocks the stage, that one the stage before it, and so on back to the recording.
- `live`: a full outbox gives up its oldest window. The newest wins, because nobody waits for an old gesture.

Every window given up is counted under its reason, and the count travels with the next parcel of its stream: whoever
sees a number missing is told why.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Literal

import zmq

from eventveil.errors import LineError
from eventveil.stream.parcel import Parcel, pack

QUEUE, AGE, OVERLAP = "queue", "age", "overlap"
"""Reasons: gave way to a newer window; older than `max_age_ms`; shares bins with a published window."""


class Lost:
    """Counts windows given up, by stream and reason, until the next parcel of the stream takes the count along."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self._pending: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def drop(self, parcel: Parcel, reason: str, heir: Parcel | None = None) -> None:
        """Give up a window; what it had to tell goes to its heir, or to the next parcel of its stream."""
        self.total[reason] += 1
        told = self._pending[parcel.stream] if heir is None else heir.lost
        told.update(parcel.lost)
        told[reason] += 1

    def settle(self, parcel: Parcel) -> None:
        """Let a parcel take along what was lost before it."""
        parcel.lost.update(self._pending.pop(parcel.stream, {}))


class Outbox:
    """The sending end of an edge.

    Args:
        socket: where to send.
        capacity: parcels that may wait here.
        delivery: what to do when more come.
        aborted: asked while blocked; True means the line is being torn down.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        capacity: int,
        delivery: Literal["lossless", "live"],
        aborted: Callable[[], bool],
    ) -> None:
        self.lost = Lost()
        self.sent = 0
        self._socket = socket
        self._capacity = capacity
        self._live = delivery == "live"
        self._aborted = aborted
        self._waiting: deque[Parcel] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """True where the stage should take nothing in: only `lossless` holds it back."""
        return not self._live and len(self._waiting) >= self._capacity

    def put(self, parcel: Parcel) -> None:
        """Queue a parcel; may block (`lossless`) or give up the oldest one (`live`)."""
        self.lost.settle(parcel)
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

    def _send(self, parcel: Parcel) -> bool:
        if not self._socket.poll(0, zmq.POLLOUT):
            return False
        try:
            self._socket.send_multipart(pack(parcel), zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        self.sent += parcel.window is not None
        return True

    def _drop_oldest(self) -> bool:
        # The end of a stream is no window and is never given up.
        oldest = next((parcel for parcel in self._waiting if parcel.window is not None), None)
        if oldest is None:
            return False
        self._waiting.remove(oldest)
        heir = next((parcel for parcel in self._waiting if parcel.stream == oldest.stream), None)
        self.lost.drop(oldest, QUEUE, heir)
        return True
