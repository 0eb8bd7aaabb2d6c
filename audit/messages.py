"""The messages that a pipeline would send of published windows, and when: what a subscriber gets besides the pictures.

The publisher itself makes them, with its real headers, padding and releases. Only its clock is computed instead of
waited for: a window is complete soon after its end if much moved in it, and late if nothing did, as in the pipeline.
Whatever the publisher lets through of that, an attacker can see.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.events import Sensor
from eventveil.models.book import Book
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, Origin, Seal

RUN, STREAM = "0" * 16, "camera"  # the same in all sessions: one pipeline watches them all
RELEASE_NS = 250_000_000  # after the end of a window, as `line.release_ms`
QUIET_NS = 200_000_000  # until a window in which nothing moved is complete: twice what a camera waits by default

Raw = npt.NDArray[np.float32]  # of one window, (C, H, W)


@dataclass(frozen=True)
class Sent:
    """A message that has left the pipeline.

    Attributes:
        at_ns: when, on the clock of the pipeline.
        topic, header: its first two frames.
        payload: length of the third one, bytes.
    """

    at_ns: int
    topic: str
    header: bytes
    payload: int


@dataclass(frozen=True)
class Published:
    """A published window, or the word in its place.

    Attributes:
        raw: the counts that it was made of.
        values: float32 (C, H, W); None for a word.
        scores: scores of the classifier; None without one.
        word: its number; None for a window.
    """

    raw: Raw
    values: npt.NDArray[np.float32] | None = None
    scores: npt.NDArray[np.float32] | None = None
    word: int | None = None


class SimulatedPipeline:
    """A pipeline as eventveil builds it. Planted leaks override its methods."""

    def incidents(self, raw: Raw) -> dict[str, int]:  # noqa: ARG002 - it must not depend on it
        """Return what the camera reports in the headers of a window."""
        return {}

    def header(self, header: bytes, raw: Raw) -> bytes:  # noqa: ARG002
        """Return a header as it leaves."""
        return header

    def delay_ns(self, raw: Raw) -> int:  # noqa: ARG002
        """Return how much later than released a message leaves."""
        return 0


def send(
    pipeline: SimulatedPipeline,
    windows: Sequence[Published],
    provenance: Provenance,
    *,
    window_us: int,
    book: Book | None = None,
) -> list[list[Sent]]:
    """Publish the windows of one session, and return the messages of each.

    Args:
        pipeline: what passes between camera, publisher and network.
        windows: in the order of time, without gaps.
        provenance: what the headers state about the weights.
        window_us: from the start of one window to that of the next.
        book: book of a stand-in.
    """
    clock, seal = _Clock(), Seal(Seal.new_key())
    counters = PipelineCounters(("publish",), (STREAM,))["publish"]
    counters.life = 1
    outlet = _Outlet(clock, pipeline, windows)
    publisher = Publisher(
        outlet, seal, provenance, counters, run=RUN, max_age_ms=None, book=book, clock_ns=lambda: clock.now_ns
    )
    for number, window in enumerate(windows):
        message = _sealed(pipeline, window, number, window_us, seal)
        assert message.window is not None
        clock.run_until(publisher, message.window.origin.ended_ns + _complete_ns(window.raw))
        publisher.take(message)
    clock.run_until(publisher, None)
    return outlet.sent


class _Clock:
    """A clock that jumps from one release to the next."""

    now_ns = 0

    def run_until(self, publisher: Publisher, until_ns: int | None) -> None:
        """Let the publisher release what is due before a time; None: everything."""
        while (wait_s := publisher.until_release_s) is not None:
            due_ns = self.now_ns + math.ceil(wait_s * 1e9)
            if until_ns is not None and due_ns > until_ns:
                break
            self.now_ns = due_ns
            publisher.release()
        if until_ns is not None:
            self.now_ns = max(self.now_ns, until_ns)


class _Outlet:
    """Keeps what the publisher sends of each window."""

    def __init__(self, clock: _Clock, pipeline: SimulatedPipeline, windows: Sequence[Published]) -> None:
        self._clock, self._pipeline, self._windows = clock, pipeline, windows
        self._count: Counter[bytes] = Counter()  # by topic; windows leave in their order, and none is withheld
        self.sent: list[list[Sent]] = [[] for _ in windows]

    def send_multipart(self, msg_parts: Sequence[Any], *, copy: bool) -> None:  # noqa: ARG002 - as the socket's
        topic, header, payload = (bytes(part) for part in msg_parts)
        number = self._count[topic]
        self._count[topic] += 1
        raw = self._windows[number].raw
        at_ns = self._clock.now_ns + self._pipeline.delay_ns(raw)
        self.sent[number].append(Sent(at_ns, topic.decode(), self._pipeline.header(header, raw), len(payload)))


def _sealed(pipeline: SimulatedPipeline, window: Published, number: int, window_us: int, seal: Seal) -> StageMessage:
    start_us, ended_ns = number * window_us, (number + 1) * window_us * 1000
    height, width = window.raw.shape[-2:]
    origin = Origin(
        STREAM, Sensor(width, height), number, start_us, start_us + window_us,
        ended_ns=ended_ns, release_ns=ended_ns + RELEASE_NS, incidents=pipeline.incidents(window.raw),
    )  # fmt: skip
    sealed: AnonymizedWindow | ChosenWord
    if window.word is not None:
        sealed = seal.set_word(origin, window.word)
    else:
        assert window.values is not None
        sealed = seal.set(origin, window.values)
        sealed = sealed if window.scores is None else sealed.with_scores(window.scores)
    return StageMessage(STREAM, sealed)


def _complete_ns(raw: Raw) -> int:
    """Return how long after the end of a window it reaches the publisher: busy ones come first."""
    return round(QUIET_NS / (1 + float(raw.sum())))
