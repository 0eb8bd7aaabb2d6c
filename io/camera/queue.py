"""The queue of a camera's events for the pipeline: bounded in age and bytes; drops the oldest events and counts them.

A camera cannot be slowed down. If the pipeline falls behind, events are lost, and the only question is which: the
oldest, because an old gesture is of no use, and here, before any work is spent on them.
"""

from __future__ import annotations

from collections import deque

from eventveil.io.camera.device import CameraBatch
from eventveil.io.camera.frames import BACKLOG, OVERFLOW, Totals

MAX_BYTES = 256 << 20  # of waiting events: 1.7 s of a camera at its limit of 10 million events per second


class CameraQueue:
    """Keeps batches until they can be sent.

    Args:
        max_age_ns: older batches are dropped; None: batches are dropped only when the queue is full.
        max_bytes: of all waiting batches.

    Attributes:
        totals: counts of all events so far; waiting events count as read.
    """

    def __init__(self, max_age_ns: int | None, max_bytes: int = MAX_BYTES) -> None:
        self.totals = Totals()
        self._max_age_ns = max_age_ns
        self._max_bytes = max_bytes
        self._waiting: deque[CameraBatch] = deque()
        self._bytes = 0
        self._flags = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, batch: CameraBatch) -> None:
        """Add a batch; drop the oldest batches if the queue is full."""
        if batch.overflow:
            self._flags |= OVERFLOW
        if batch.discarded:
            self._flags |= BACKLOG
        totals = self.totals
        self.totals = Totals(totals.read + len(batch.events), totals.dropped, totals.packets + batch.discarded)
        if len(batch.events):
            self._waiting.append(batch)
            self._bytes += batch.events.nbytes
        while self._bytes > self._max_bytes:
            self._drop()

    def drop_old(self, now_ns: int) -> None:
        """Drop the batches that have waited too long."""
        while self._waiting and self._max_age_ns is not None:
            if now_ns - self._waiting[0].received_ns <= self._max_age_ns:
                break
            self._drop()

    def take(self) -> tuple[CameraBatch, int, Totals]:
        """Return the oldest batch, the flags since the last one, and totals that balance with all batches returned."""
        batch = self._waiting.popleft()
        self._bytes -= batch.events.nbytes
        waiting = self._bytes // batch.events.itemsize
        totals = self.totals
        return batch, self.flags(), Totals(totals.read - waiting, totals.dropped, totals.packets)

    def flags(self) -> int:
        """Return the flags since the last call, and clear them."""
        flags, self._flags = self._flags, 0
        return flags

    def _drop(self) -> None:
        batch = self._waiting.popleft()
        self._bytes -= batch.events.nbytes
        totals = self.totals
        self.totals = Totals(totals.read, totals.dropped + len(batch.events), totals.packets)
        self._flags |= BACKLOG
