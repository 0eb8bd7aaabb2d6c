"""The frames that wait for one browser: the newest of each kind and stream, so that a slow browser costs no memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from contextlib import suppress

from eventveil.stream.clients.web.frames import Key, PageFrame


class NewestFrames:
    """Hands frames from the thread that receives them to the coroutine that sends them to a browser.

    Neither waits for the other: a frame that finds an older one of its kind and stream takes its place, and the older
    one is dropped and counted.

    Args:
        loop: event loop of the coroutine.

    Attributes:
        dropped: frames dropped so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._loop = loop
        self._lock = threading.Lock()  # over the waiting frames and the count
        self._waiting: dict[Key, PageFrame] = {}
        self._ready = asyncio.Event()

    def put(self, frame: PageFrame) -> None:
        """Let a frame wait, from any thread."""
        with self._lock:
            wake = not self._waiting
            self.dropped += self._waiting.pop(frame.key, None) is not None
            self._waiting[frame.key] = frame
        if wake:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._ready.set)

    def forget(self, kinds: Collection[str]) -> None:
        """Let the frames of these kinds wait no longer, and count them as dropped, from any thread."""
        with self._lock:
            kept = {key: frame for key, frame in self._waiting.items() if key[0] not in kinds}
            self.dropped += len(self._waiting) - len(kept)
            self._waiting = kept

    async def take(self) -> bytes:
        """Wait for a frame and return it as a message: the one that has waited longest."""
        while True:
            await self._ready.wait()
            with self._lock:
                frame = self._waiting.pop(next(iter(self._waiting))) if self._waiting else None
                if not self._waiting:
                    self._ready.clear()
                if frame is not None:  # else it was forgotten in between
                    return frame.message(self.dropped)
