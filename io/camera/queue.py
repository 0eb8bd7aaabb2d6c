"""What has come from a camera and waits for the line: bounded in age and in bytes, the oldest gives way, all counted.

A camera cannot be held back. Whoever falls behind therefore loses events, and the only question is which: the oldest,
for nobody waits for an old gesture, and here, before any work is spent on them.
"""

from __future__ import annotations

from collections import deque

from eventveil.io.camera.device import CameraBatch
from eventveil.io.camera.frames import BACKLOG, OVERFLOW, Totals

MAX_BYTES = 256 << 20  # of events that wait: 1.7 s of a camera at its limit of 10 million events a second


class CameraQueue:
    """Keeps batches until they can be sent.

    Args:
        max_age_ns: older batches give way; None: only those that no room is left for.
        max_bytes: of all batches that wait.

    Attributes:
        totals: what became of all events so far, those that wait here still among the read ones.
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
        """Take a batch; the oldest ones give way to it where there is no room."""
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
        """Give up what has waited too long."""
        while self._waiting and self._max_age_ns is not None:
            if now_ns - self._waiting[0].received_ns <= self._max_age_ns:
                break
            self._drop()

    def take(self) -> tuple[CameraBatch, int, Totals]:
        """Return the oldest batch, the flags since the last one, and totals that balance with it and all before it."""
        batch = self._waiting.popleft()
        self._bytes -= batch.events.nbytes
        waiting = self._bytes // batch.events.itemsize
        totals = self.totals
        return batch, self.flags(), Totals(totals.read - waiting, totals.dropped, totals.packets)

    def flags(self) -> int:
        """What happened since this was asked the last time."""
        flags, self._flags = self._flags, 0
        return flags

    def _drop(self) -> None:
        batch = self._waiting.popleft()
        self._bytes -= batch.events.nbytes
        totals = self.totals
        self.totals = Totals(totals.read, totals.dropped + len(batch.events), totals.packets)
        self._flags |= BACKLOG
