"""The publish stage: the only one with a socket to the network, and the last look before something leaves.

What is let out: an `AnonymizedWindow` that carries the anonymizer's seal, and the gesture seen in it. What is
withheld: in live delivery, windows older than `max_age_ms`; always, windows that share a bin with one that was
published, because fresh noise on the same events can be averaged away (threat 1 in docs/architecture.md).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import zmq

from eventveil.errors import BoundaryError
from eventveil.stream.latency import CoarseDelays, Latency
from eventveil.stream.outbox import AGE, OVERLAP
from eventveil.stream.parcel import Parcel
from eventveil.stream.score import Seen
from eventveil.stream.windows import AnonymizedWindow, Seal
from eventveil.stream.wire import (
    GESTURE,
    WINDOW,
    Geometry,
    GestureHeader,
    Header,
    StateHeader,
    WindowHeader,
    encode,
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which weights are at work, for every header.

    Attributes:
        anonymizer: SHA-256 of the anonymizer's weights file.
        trained: whether it was trained.
        classifier: SHA-256 of the classifier's weights file, or None without one.
        classifier_trained: whether that was trained.
        labels: its classes.
        certificate: SHA-256 of the anonymizer's audit certificate, or None: never audited.
    """

    anonymizer: str
    trained: bool
    classifier: str | None = None
    classifier_trained: bool = False
    labels: tuple[str, ...] = ()
    certificate: str | None = None


class Publisher:
    """Publishes what may be published, and keeps the books of what was not.

    Args:
        socket: the XPUB socket.
        seal: to check that a window is the anonymizer's.
        provenance: what the headers say of the weights.
        max_age_ms: older windows are withheld; None (lossless) publishes them all.
        note: told of each gesture that was published, for the supervisor.
        clock_ns: the machine's monotonic clock.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        seal: Seal,
        provenance: Provenance,
        *,
        max_age_ms: int | None,
        note: Callable[[Seen], None] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._received = 0
        self._windows = 0
        self._gestures = 0
        self._withheld: Counter[str] = Counter()
        self._recent = Latency()
        self._all = Latency()
        self._ages = CoarseDelays()
        self._socket = socket
        self._seal = seal
        self._provenance = provenance
        self._max_age_ms = max_age_ms
        self._note = note
        self._clock_ns = clock_ns
        self._lost: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._published_until: dict[str, int] = {}

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        counts = {"received": self._received, "windows": self._windows, "gestures": self._gestures}
        return {"counts": counts, "dropped": dict(self._withheld), "age": self._ages.report()}

    def values(self) -> dict[str, float | None]:
        """Delays in milliseconds from the end of a window to its publication: since the last call, and in all."""
        p50, p99 = self._recent.take()
        all_p50, all_p99 = self._all.percentile(0.5), self._all.percentile(0.99)
        return {"latency_p50_ms": p50, "latency_p99_ms": p99, "all_p50_ms": all_p50, "all_p99_ms": all_p99}

    def take(self, parcel: Parcel) -> None:
        """Let a window out, or withhold it and count why; or announce the end of a stream, or a word about its camera.

        Raises:
            BoundaryError: it is not the anonymizer's: the line must end.
        """
        for topic in (WINDOW, GESTURE):
            self._lost[parcel.stream, topic].update(parcel.lost)
        if parcel.notice is not None:
            self._send(StateHeader(state=parcel.notice, stream=parcel.stream))
        elif parcel.window is None:
            lost = {topic: dict(self._lost[parcel.stream, topic]) for topic in (WINDOW, GESTURE)}
            self._send(StateHeader.model_validate({"state": "ended", "stream": parcel.stream, "lost": lost}))
        else:
            self._received += 1
            self._publish(self._seal.check(parcel.window))

    def announce(self, state: Literal["ended", "failed"]) -> None:
        """Announce the end of the whole line. Why it failed stays in the publisher's own log."""
        reason = "the line stopped before its streams had ended; its own log says why" if state == "failed" else ""
        self._send(StateHeader(state=state, reason=reason))

    def _publish(self, window: AnonymizedWindow) -> None:
        stream = window.origin.stream
        age_ms = (self._clock_ns() - window.origin.closed_ns) / 1e6
        if self._max_age_ms is not None and age_ms > self._max_age_ms:
            self._withhold(stream, AGE, WINDOW, GESTURE)
            return
        if window.origin.t_start_us < self._published_until.get(stream, window.origin.t_start_us):
            self._withhold(stream, OVERLAP, WINDOW)
        else:
            self._published_until[stream] = window.origin.t_end_us
            self._send(self._window_header(window, age_ms), window.values)
            self._windows += 1
        if window.scores is not None:
            gesture = self._gesture_header(window, window.scores, age_ms)
            self._send(gesture, window.scores)
            self._gestures += 1
            if self._note is not None:
                self._note(Seen(stream=stream, seq=gesture.seq, label=gesture.label))
        self._recent.add(age_ms)
        self._all.add(age_ms)
        self._ages.add(age_ms)

    def _withhold(self, stream: str, reason: str, *topics: str) -> None:
        self._withheld[reason] += 1
        for topic in topics:
            self._lost[stream, topic][reason] += 1

    def _common(self, window: AnonymizedWindow, topic: str, age_ms: float, shape: tuple[int, ...]) -> dict[str, object]:
        origin = window.origin
        return {
            "shape": shape,
            "stream": origin.stream,
            "sensor": Geometry(width=origin.sensor.width, height=origin.sensor.height),
            "seq": origin.seq,
            "t_start_us": origin.t_start_us,
            "t_end_us": origin.t_end_us,
            "age_ms": round(max(age_ms, 0.0), 3),
            "lost": dict(self._lost[origin.stream, topic]),
            "incidents": origin.incidents,
            "anonymizer": self._provenance.anonymizer,
            "trained": self._provenance.trained,
        }

    def _window_header(self, window: AnonymizedWindow, age_ms: float) -> WindowHeader:
        return WindowHeader.model_validate(self._common(window, WINDOW, age_ms, window.values.shape))

    def _gesture_header(self, window: AnonymizedWindow, scores: np.ndarray, age_ms: float) -> GestureHeader:
        labels = self._provenance.labels
        # The scores are not under the seal, so their form is: as many probabilities as there are labels.
        if scores.shape != (len(labels),) or not ((scores >= 0) & (scores <= 1)).all():
            raise BoundaryError(f"{window!r} carries scores that are not {len(labels)} probabilities: refused")
        best = int(scores.argmax())
        return GestureHeader.model_validate(
            self._common(window, GESTURE, age_ms, scores.shape)
            | {
                "labels": labels,
                "label": labels[best],
                "probability": float(scores[best]),
                "classifier": self._provenance.classifier,
                "classifier_trained": self._provenance.classifier_trained,
            }
        )

    def _send(self, header: Header, array: np.ndarray | None = None) -> None:
        self._socket.send_multipart(encode(header, array), copy=False)


class Audience:
    """Counts who listens, from the subscriptions that the public socket is told of.

    Args:
        socket: the XPUB socket.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._topics: Counter[bytes] = Counter()

    def count(self) -> int:
        """Take note of who came and went, and return how many are there: those of the most wanted topic."""
        while self._socket.poll(0):
            message = self._socket.recv()
            self._topics[message[1:65]] += {b"\x01": 1, b"\x00": -1}.get(message[:1], 0)  # others are no subscriptions
        self._topics = +self._topics
        everything = self._topics[b""]
        return everything + max((n for topic, n in self._topics.items() if topic), default=0)

    def values(self) -> dict[str, float | None]:
        """The count, for a report."""
        return {"subscribers": float(self.count())}
