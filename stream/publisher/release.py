"""Holds messages until their release: when a message arrives must not show what the camera sees.

A busy window is complete with the next event, a quiet one only after the camera has been silent for a while. Anyone who
sees the packets of the public socket, encrypted or not, could tell the two apart by their times. Every window is
therefore released at a constant delay after its end.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from eventveil.stream.runtime.message import StageMessage


class ReleaseQueue:
    """Messages in the order of their release.

    A window has a release time. A notice, an end, and a window of a source without a clock have none: they are due at
    once, but no message overtakes an earlier one of its stream.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, StageMessage]] = []
        self._latest_ns: dict[str, int] = {}  # by stream
        self._numbers = itertools.count()  # of messages that are due at the same time, the first comes first

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_ns(self) -> int | None:
        """When the next message is due; None without messages."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, message: StageMessage, now_ns: int) -> None:
        """Hold a message until it is due: at its release time, or at once if that has passed."""
        release_ns = None if message.window is None else message.window.origin.release_ns
        due_ns = max(now_ns, release_ns or now_ns, self._latest_ns.get(message.stream, now_ns))
        self._latest_ns[message.stream] = due_ns
        heapq.heappush(self._waiting, (due_ns, next(self._numbers), message))

    def take(self, now_ns: int | None) -> Iterator[tuple[StageMessage, int]]:
        """Remove and return the messages that are due, each with the time when it was due; None: all messages."""
        while self._waiting and (now_ns is None or self._waiting[0][0] <= now_ns):
            due_ns, _, message = heapq.heappop(self._waiting)
            yield message, due_ns
