"""Receives what a pipeline publishes, as any subscriber does, and passes it to all browsers.

A thread of its own receives. It waits for no browser, and for a pipeline that is gone until that comes back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventveil.errors import AccessError, EventVeilError, WireError
from eventveil.stream.clients.web.background import Background
from eventveil.stream.clients.web.frames import Key, PageFrame, picture_of
from eventveil.stream.clients.web.newest import NewestFrames
from eventveil.stream.protocol.wire import (
    GESTURE,
    REPLAY_STATE,
    STATE,
    WINDOW,
    GestureHeader,
    Message,
    StateHeader,
    WindowHeader,
)
from eventveil.stream.subscriber.client import subscribe

log = logging.getLogger("eventveil.view")

MAX_STREAMS = 32  # shown; a publisher without keys could be any program
MAX_REASONS = 32  # of lost windows, by stream; a pipeline knows ten, and the others of such a program count as one
OTHER_REASONS = "other"
RATE_S = 5.0  # over which the rate of windows is averaged
RETRY_S = 1.0
QUEUE = 64  # messages, as a publisher keeps them: older ones are of no use on a page
SHOWN = {"seq", "run", "t_start_us", "t_end_us", "age_ms", "incidents", "anonymizer", "trained", "certificate", "book",
         "bits_per_second", "shape", "label", "labels", "probability", "presence", "classifier_trained"}  # fmt: skip
"""What a page shows of the headers."""
OF_A_RUN = frozenset((WINDOW, GESTURE, STATE))
"""The kinds of frames that belong to one run of a pipeline."""


@dataclass(frozen=True, slots=True)
class WatchedPipeline:
    """A pipeline to subscribe to, with the options of `eventveil.stream.subscribe`."""

    endpoint: str
    server_key: Path | None = None
    key: Path | None = None
    require_certificate: Path | None = None
    book: Path | None = None


class Feed(Background):
    """Receives from a pipeline while the context is open.

    Args:
        pipeline: where to subscribe, and what to check.
        clock: monotonic time in seconds.

    Attributes:
        failure: why nothing more is received: a certificate, a book or a key that does not fit, or settings that cannot
            work. None while it works.
    """

    def __init__(self, pipeline: WatchedPipeline, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("view")
        self.failure: EventVeilError | None = None
        self._pipeline = pipeline
        self._clock = clock
        self._lock = threading.Lock()  # over the browsers and the newest frames
        self._browsers: set[NewestFrames] = set()
        self._newest: dict[Key, PageFrame] = {}
        self._streams: dict[str, _Stream] = {}
        self._named: set[str] = set()  # streams of which states are shown
        self._replays: dict[str, str] = {}  # by stream: that it is a replay
        self._run: str | None = None
        checks = {"keys": pipeline.server_key, "book": pipeline.book, "certificate": pipeline.require_certificate}
        self._send(PageFrame.of("page", checks={name: file is not None for name, file in checks.items()}))

    @property
    def browsers(self) -> int:
        """How many browsers watch."""
        return len(self._browsers)

    @contextmanager
    def watched(self) -> Iterator[NewestFrames]:
        """Yield the frames for one browser: first what is known, then what comes. Call it in a coroutine."""
        browser = NewestFrames(asyncio.get_running_loop())
        with self._lock:
            for frame in self._newest.values():
                browser.put(frame)
            self._browsers.add(browser)
        try:
            yield browser
        finally:
            with self._lock:
                self._browsers.discard(browser)

    def _send(self, frame: PageFrame) -> None:
        with self._lock:
            self._newest[frame.key] = frame
            for browser in self._browsers:
                browser.put(frame)

    def _work(self) -> None:
        while not self._stopped.is_set():
            self._say("waiting")
            self._replays.clear()
            pipeline, reason = self._pipeline, ""
            try:
                for message in subscribe(
                    pipeline.endpoint, (WINDOW, GESTURE), server_key=pipeline.server_key, key=pipeline.key, queue=QUEUE,
                    require_certificate=pipeline.require_certificate, book=pipeline.book, stop=self._stopped.is_set,
                ):  # fmt: skip
                    self._take(message)
            except EventVeilError as error:
                if self._run is None or not isinstance(error, AccessError | WireError):
                    self._say("refused", str(error))
                    self.failure = error
                    return
                reason = str(error)  # a pipeline that has worked may come back
                log.warning("%s; trying again", reason)
            self._say("lost" if reason else "ended", reason)
            self._stopped.wait(RETRY_S)

    def _say(self, state: str, reason: str = "") -> None:
        self._send(PageFrame.of("line", state=state, reason=reason))

    def _take(self, message: Message) -> None:
        header = message.header
        if isinstance(header, StateHeader) and header.stream is not None and not self._is_shown(header.stream):
            return
        if isinstance(header, StateHeader) and header.state == REPLAY_STATE and header.stream is not None:
            if header.stream in self._replays or len(self._replays) < MAX_STREAMS:
                self._replays[header.stream] = header.reason
            return
        if isinstance(header, StateHeader):
            self._send(PageFrame.of("state", header.stream or "", state=header.state, reason=header.reason))
            return
        if header.run != self._run:
            self._begin(header.run)
        stream = self._streams.get(header.stream)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                return
            stream = self._streams[header.stream] = _Stream(self._clock)
        shown = header.model_dump(include=SHOWN)
        if isinstance(header, GestureHeader):
            self._send(PageFrame.of(GESTURE, header.stream, **shown))
        elif isinstance(header, WindowHeader):
            keys, payload = picture_of(message.array)
            shown["replay"] = self._replays.get(header.stream, "")
            self._send(PageFrame.of(WINDOW, header.stream, payload=payload, **shown, **keys, **stream.count(message)))

    def _is_shown(self, stream: str) -> bool:
        """Return whether the states of a stream are shown: of no more streams than windows are."""
        if len(self._named) < MAX_STREAMS:
            self._named.add(stream)
        return stream in self._named

    def _begin(self, run: str) -> None:
        """Forget what an earlier pipeline has published."""
        self._run = run
        self._streams.clear()
        self._named.clear()
        with self._lock:
            self._newest = {key: frame for key, frame in self._newest.items() if key[0] not in OF_A_RUN}
            for browser in self._browsers:
                browser.forget(OF_A_RUN)
        self._say("receiving")


class _Stream:
    """Counts the windows of one stream."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._arrivals: deque[float] = deque(maxlen=10_000)
        self._lost: Counter[str] = Counter()

    def count(self, message: Message) -> dict[str, Any]:
        """Count a window; return the windows a second, and those lost since the page has been watching, by reason."""
        now = self._clock()
        self._arrivals.append(now)
        while self._arrivals[0] < now - RATE_S:
            self._arrivals.popleft()
        for reason, windows in message.missing.items():
            known = reason in self._lost or len(self._lost) < MAX_REASONS
            self._lost[reason if known else OTHER_REASONS] += windows
        seconds = now - self._arrivals[0]
        rate = (len(self._arrivals) - 1) / seconds if seconds > 0 else None
        return {"windows_per_s": rate, "lost": dict(self._lost)}
