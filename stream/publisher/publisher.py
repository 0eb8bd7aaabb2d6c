"""The publish stage: the only one with a socket to the network, and the last look before something leaves.

What is let out: an `AnonymizedWindow` that carries the anonymizer's seal, and the gesture seen in it. What is
withheld: in live delivery, windows older than `max_age_ms`; always, windows that share a bin with one that was
published, because fresh noise on the same events can be averaged away (threat 1 in docs/architecture.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import zmq

from eventveil.errors import BoundaryError
from eventveil.stream.protocol.wire import (
    GESTURE,
    WINDOW,
    Geometry,
    GestureHeader,
    Header,
    StateHeader,
    WindowHeader,
    encode,
)
from eventveil.stream.runtime.accounting import AGE, OVERLAP, StageCounters
from eventveil.stream.runtime.accuracy import Prediction
from eventveil.stream.runtime.latency import CoarseDelays, Latency
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import AnonymizedWindow, Seal

CERTIFY_EVERY_NS = 2_000_000_000


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
        certificate_text: the certificate itself, which is public.
    """

    anonymizer: str
    trained: bool
    classifier: str | None = None
    classifier_trained: bool = False
    labels: tuple[str, ...] = ()
    certificate: str | None = None
    certificate_text: str | None = None


class Publisher:
    """Publishes what may be published, and keeps the books of what was not.

    Args:
        socket: the XPUB socket.
        seal: to check that a window is the anonymizer's.
        provenance: what the headers say of the weights.
        page: the stage's books: of one that is started anew, with what was published before.
        run: what the headers call the run.
        max_age_ms: older windows are withheld; None (lossless) publishes them all.
        note: told of each gesture that was published, for the supervisor.
        clock_ns: the machine's monotonic clock.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        seal: Seal,
        provenance: Provenance,
        page: StageCounters,
        *,
        run: str,
        max_age_ms: int | None,
        note: Callable[[Prediction], None] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._recent = Latency()
        self._all = Latency()
        self._ages = CoarseDelays()
        self._socket = socket
        self._seal = seal
        self._provenance = provenance
        self._page = page
        self._run = run
        self._max_age_ms = max_age_ms
        self._note = note
        self._clock_ns = clock_ns
        self._certified_ns: int | None = None

    def figures(self) -> dict[str, Any]:
        """Counts and drops so far."""
        names = {"received": "received", "windows": "sent", "gestures": "gestures"}
        counts = {name: self._page.total(count) for name, count in names.items()}
        return {"counts": counts, "dropped": self._page.dropped(), "age": self._ages.report()}

    def values(self) -> dict[str, float | None]:
        """Delays in milliseconds from the end of a window to its publication: since the last call, and in all."""
        p50, p99 = self._recent.take()
        all_p50, all_p99 = self._all.percentile(0.5), self._all.percentile(0.99)
        return {"latency_p50_ms": p50, "latency_p99_ms": p99, "all_p50_ms": all_p50, "all_p99_ms": all_p99}

    def take(self, parcel: StageMessage) -> None:
        """Let a window out, or withhold it and count why; or announce the end of a stream, or a word about its camera.

        Raises:
            BoundaryError: it is not the anonymizer's: the line must end.
        """
        window = None if parcel.window is None else self._seal.check(parcel.window)
        if not self._page[parcel.stream].arrived(parcel):
            return
        if parcel.notice is not None:
            self._send(StateHeader(state=parcel.notice, stream=parcel.stream))
        elif window is None:
            lost = {topic: self._lost(parcel, topic) for topic in (WINDOW, GESTURE)}
            self._send(StateHeader.model_validate({"state": "ended", "stream": parcel.stream, "lost": lost}))
        else:
            self._publish(window, parcel)

    def certify(self) -> None:
        """Show the certificate, if there is one and it is time: subscribers come when they like."""
        now_ns, text = self._clock_ns(), self._provenance.certificate_text
        if text is None or (self._certified_ns is not None and now_ns - self._certified_ns < CERTIFY_EVERY_NS):
            return
        self._certified_ns = now_ns
        self._send(StateHeader(state="certificate", certificate=text))

    def announce(self, state: Literal["ended", "failed"]) -> None:
        """Announce the end of the whole line. Why it failed stays in the publisher's own log."""
        reason = "the line stopped before its streams had ended; its own log says why" if state == "failed" else ""
        self._send(StateHeader(state=state, reason=reason))

    def _publish(self, window: AnonymizedWindow, parcel: StageMessage) -> None:
        entry = self._page[window.origin.stream]
        age_ms = (self._clock_ns() - window.origin.closed_ns) / 1e6
        if self._max_age_ms is not None and age_ms > self._max_age_ms:
            entry.drop(AGE)
            return
        if window.origin.t_start_us < entry.until_us:
            entry.drop(OVERLAP)
        else:
            header = self._window_header(window, parcel, age_ms)
            # Noted first: whatever happens behind this, nobody publishes these bins again.
            entry.until_us = window.origin.t_end_us
            entry.sent += 1
            self._send(header, window.values)
        if window.scores is not None:
            gesture = self._gesture_header(window, window.scores, parcel, age_ms)
            entry.gestures += 1
            self._send(gesture, window.scores)
            if self._note is not None:
                self._note(Prediction(stream=gesture.stream, seq=gesture.seq, label=gesture.label))
        self._recent.add(age_ms)
        self._all.add(age_ms)
        self._ages.add(age_ms)

    def _lost(self, parcel: StageMessage, topic: str) -> dict[str, int]:
        """Why numbers are missing before a parcel in a topic, since its stream began."""
        lost = parcel.lost + self._page[parcel.stream].dropped()
        if topic == GESTURE:
            del lost[OVERLAP]  # of windows that are withheld because of it the gesture is published
        return dict(lost)

    def _common(self, window: AnonymizedWindow, parcel: StageMessage, topic: str, age_ms: float) -> dict[str, object]:
        origin = window.origin
        return {
            "stream": origin.stream,
            "run": self._run,
            "life": self._page.life,
            "sensor": Geometry(width=origin.sensor.width, height=origin.sensor.height),
            "seq": origin.seq,
            "t_start_us": origin.t_start_us,
            "t_end_us": origin.t_end_us,
            "age_ms": round(max(age_ms, 0.0), 3),
            "lost": self._lost(parcel, topic),
            "incidents": origin.incidents,
            "anonymizer": self._provenance.anonymizer,
            "trained": self._provenance.trained,
            "certificate": self._provenance.certificate,
        }

    def _window_header(self, window: AnonymizedWindow, parcel: StageMessage, age_ms: float) -> WindowHeader:
        return WindowHeader.model_validate(
            self._common(window, parcel, WINDOW, age_ms) | {"shape": window.values.shape}
        )

    def _gesture_header(
        self, window: AnonymizedWindow, scores: np.ndarray, parcel: StageMessage, age_ms: float
    ) -> GestureHeader:
        labels = self._provenance.labels
        # The scores are not under the seal, so their form is: as many probabilities as there are labels.
        if scores.shape != (len(labels),) or not ((scores >= 0) & (scores <= 1)).all():
            raise BoundaryError(f"{window!r} carries scores that are not {len(labels)} probabilities: refused")
        best = int(scores.argmax())
        return GestureHeader.model_validate(
            self._common(window, parcel, GESTURE, age_ms)
            | {
                "shape": scores.shape,
                "labels": labels,
                "label": labels[best],
                "probability": float(scores[best]),
                "classifier": self._provenance.classifier,
                "classifier_trained": self._provenance.classifier_trained,
            }
        )

    def _send(self, header: Header, array: np.ndarray | None = None) -> None:
        self._socket.send_multipart(encode(header, array), copy=False)
