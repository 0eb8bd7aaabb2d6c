"""Publishes anonymized windows and gestures: the last check before data leaves the machine.

Published: each `AnonymizedWindow` that carries the anonymizer's seal, and the gesture recognised in it, at the window's
release time; for a stand-in, what the book says of each `ChosenWord` that carries the seal. Withheld: in live delivery,
windows that are too late for their release, or older than `max_age_ms`; always, windows that share a bin with a
published one, because fresh noise on the same events can be averaged away (see the threats in docs/architecture.md). Of
a withheld window nothing is published, no gesture either: it depends on the same events, with noise of its own.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from eventveil.stream.protocol.wire import CERTIFICATE_STATE, Geometry, GestureHeader, Header, StateHeader, encode
from eventveil.stream.publisher.contents import Contents, Provenance, WindowContents
from eventveil.stream.publisher.gesture_filter import GestureFilter
from eventveil.stream.publisher.padding import padded_size
from eventveil.stream.publisher.release import ReleaseQueue
from eventveil.stream.publisher.word_contents import WordContents
from eventveil.stream.runtime.accounting import AGE, OVERLAP, StageCounters
from eventveil.stream.runtime.accuracy import Prediction
from eventveil.stream.runtime.latency import CoarseDelays, Latency
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, Origin, Seal

if TYPE_CHECKING:
    from eventveil.models.book import Book

CERTIFY_EVERY_NS = 2_000_000_000
SOURCE_FAILED = "the source failed; all that it had read was published, and the pipeline's own log says why"
PIPELINE_FAILED = "the pipeline failed before its streams had ended; its own log says why"


class Outlet(Protocol):
    """Where messages leave the machine: the public socket, or a file of anonymized windows."""

    def send_multipart(self, msg_parts: Sequence[Any], *, copy: bool) -> Any:
        """Send the frames of a message."""


class Publisher:
    """Publishes windows and gestures, and counts what it withholds.

    Args:
        socket: the XPUB socket, or another outlet.
        seal: checks that a window comes from the anonymizer.
        provenance: what the headers state about the weights.
        counters: the stage's counters; after a restart, they include what was published before.
        run: name of the run in the headers.
        max_age_ms: withhold windows that are older or too late for their release; None (lossless) publishes all.
        note: called with each published prediction, for the supervisor.
        gestures: decides which gestures of a classifier are named; by default, all of them.
        book: book of a stand-in; without one, anonymized windows are published.
        events: whether to publish the events of words, too.
        clock_ns: the machine's monotonic clock.
    """

    def __init__(
        self,
        socket: Outlet,
        seal: Seal,
        provenance: Provenance,
        counters: StageCounters,
        *,
        run: str,
        max_age_ms: int | None,
        note: Callable[[Prediction], None] | None = None,
        gestures: GestureFilter | None = None,
        book: Book | None = None,
        events: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._recent = Latency()
        self._all = Latency()
        self._ages = CoarseDelays()
        self._socket = socket
        self._provenance = provenance
        self._counters = counters
        self._max_age_ns = None if max_age_ms is None else max_age_ms * 1_000_000
        self._held = ReleaseQueue()
        self._note = note
        self._clock_ns = clock_ns
        self._certified_ns: int | None = None
        self._gestures: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by stream and label
        self._contents: Contents
        if book is None:
            self._contents = WindowContents(seal, provenance, run, gestures or GestureFilter())
        else:
            self._contents = WordContents(seal, provenance, run, book, counters, events=events)
        longest = {"state": CERTIFICATE_STATE, "reason": max(SOURCE_FAILED, PIPELINE_FAILED, key=len)}
        self._sizes: dict[type[Header], int] = {
            **self._contents.sizes,
            StateHeader: padded_size(StateHeader, **longest),
        }

    def figures(self) -> dict[str, Any]:
        """Return counts, drops and delays so far."""
        names = {"received": "received", "windows": "sent", "gestures": "gestures"}
        counts = {name: self._counters.total(count) for name, count in names.items()}
        return {
            "counts": counts,
            "dropped": self._counters.dropped(),
            "gestures": {stream: dict(labels) for stream, labels in self._gestures.items()},
            "age": self._ages.report(),
        }

    def values(self) -> dict[str, float | None]:
        """Return delays in ms from the end of a window to its publication: since the last call, and since the start."""
        p50, p99 = self._recent.take()
        all_p50, all_p99 = self._all.percentile(0.5), self._all.percentile(0.99)
        return {"latency_p50_ms": p50, "latency_p99_ms": p99, "all_p50_ms": all_p50, "all_p99_ms": all_p99}

    def take(self, message: StageMessage) -> None:
        """Hold a message until its release, or withhold its window and count why.

        Raises:
            BoundaryError: the window does not come from the anonymizer: the pipeline must end.
        """
        window = None if message.window is None else self._contents.check(message.window)
        now_ns = self._clock_ns()
        self._publish_due(now_ns)  # first: what is counted as lost below comes after it
        counters = self._counters[message.stream]
        if not counters.arrived(message):
            return
        if window is not None and self._too_late(window.origin, now_ns):
            counters.drop(AGE)
            return
        self._held.put(message, now_ns)
        self._publish_due(now_ns)

    def release(self) -> None:
        """Publish what is due."""
        self._publish_due(self._clock_ns())

    def flush(self) -> None:
        """Publish all that is held, now: the pipeline is stopping."""
        self._publish_due(None)

    @property
    def holds_messages(self) -> bool:
        """Whether a message waits for its release."""
        return bool(self._held)

    @property
    def until_release_s(self) -> float | None:
        """Seconds until the next release; None if nothing is held."""
        next_ns = self._held.next_ns
        return None if next_ns is None else max(0, next_ns - self._clock_ns()) / 1e9

    def certify(self) -> None:
        """Publish the certificate, if there is one and it is due. It is repeated for subscribers that join late."""
        now_ns, text = self._clock_ns(), self._provenance.certificate_text
        if text is None or (self._certified_ns is not None and now_ns - self._certified_ns < CERTIFY_EVERY_NS):
            return
        self._certified_ns = now_ns
        # Not padded: its length is not secret, because its text is public and always the same.
        self._socket.send_multipart(encode(StateHeader(state=CERTIFICATE_STATE, certificate=text)), copy=False)

    def announce(self, state: Literal["ended", "failed"]) -> None:
        """Announce the end of the whole pipeline. The cause of a failure is only in the publisher's log."""
        self._send(StateHeader(state=state, reason=PIPELINE_FAILED if state == "failed" else ""))

    def _too_late(self, origin: Origin, now_ns: int) -> bool:
        if self._max_age_ns is None:
            return False
        return now_ns > (origin.ended_ns + self._max_age_ns if origin.release_ns is None else origin.release_ns)

    def _publish_due(self, now_ns: int | None) -> None:
        for message, due_ns in self._held.take(now_ns):
            if isinstance(message.window, AnonymizedWindow | ChosenWord):
                self._publish(message.window, message, due_ns)
            elif message.notice is not None:
                self._send(StateHeader(state=message.notice, stream=message.stream))
            else:
                state, reason = ("failed", SOURCE_FAILED) if message.failed else ("ended", "")
                end = {"state": state, "stream": message.stream, "reason": reason, "lost": self._lost(message)}
                self._send(StateHeader.model_validate(end))

    def _publish(self, window: AnonymizedWindow | ChosenWord, message: StageMessage, due_ns: int) -> None:
        counters = self._counters[window.origin.stream]
        age_ms = max(0, due_ns - window.origin.ended_ns) / 1e6
        if window.origin.t_start_us < counters.until_us:
            counters.drop(OVERLAP)
            return
        parts = self._contents.compose(window, self._facts(window.origin, message, age_ms))
        # Counted first: whatever happens next, these bins are never published again.
        counters.until_us = window.origin.t_end_us
        counters.sent += 1
        for header, array in parts:
            self._send(header, array)
            if isinstance(header, GestureHeader):
                counters.gestures += 1
                self._note_gesture(header)
        delay_ms = max(0, self._clock_ns() - window.origin.ended_ns) / 1e6
        for delays in (self._recent, self._all, self._ages):
            delays.add(delay_ms)

    def _note_gesture(self, header: GestureHeader) -> None:
        if header.label is not None:
            self._gestures[header.stream][header.label] += 1
        if self._note is not None:
            self._note(Prediction(stream=header.stream, seq=header.seq, label=header.label))

    def _lost(self, message: StageMessage) -> dict[str, int]:
        """Return why windows before a message are missing, counted since the stream began."""
        return dict(message.lost + self._counters[message.stream].dropped())

    def _facts(self, origin: Origin, message: StageMessage, age_ms: float) -> dict[str, object]:
        """Return the keys of a header that do not depend on what the window shows."""
        return {
            "stream": origin.stream,
            "life": self._counters.life,
            "sensor": Geometry(width=origin.sensor.width, height=origin.sensor.height),
            "seq": origin.seq,
            "t_start_us": origin.t_start_us,
            "t_end_us": origin.t_end_us,
            "age_ms": round(age_ms),  # a fraction would show when the window was complete
            "lost": self._lost(message),
            "incidents": origin.incidents,
        }

    def _send(self, header: Header, array: np.ndarray | None = None) -> None:
        frames = encode(header, array, size=self._sizes[type(header)], payload_size=self._contents.events_size)
        self._socket.send_multipart(frames, copy=False)
