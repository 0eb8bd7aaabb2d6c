"""The book of the stand-in: a public file of words, each of them a clip of events that everyone may see.

The private half of a pipeline chooses a word; only its number crosses the boundary. The publisher composes events and
windows from its copy of the book. They depend on the word and the time alone, so every subscriber can verify them.

A book is a safetensors file without code; docs/book-format.md describes it to the byte. This module needs no torch: the
subscriber uses it, too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from eventveil.errors import BookError
from eventveil.events import EventPacket, Sensor
from eventveil.host.files import write_atomic
from eventveil.models.book_format import (
    BookMetadata,
    Word,
    check_range,
    coordinate_type,
    parse,
    played_steps,
    serialise,
)  # fmt: skip
from eventveil.settings import first_finding

__all__ = ["Book", "Word"]

MAX_BYTES = 1 << 28  # of a file, far above any useful book, and small enough to be harmless
MAX_TIME_US = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """A book, checked; make one with `read` or `compose`.

    Attributes:
        metadata: words, steps and sensor.
        t: uint32 (events,), microseconds since the clip began, clip after clip.
        x, y: uint8 or uint16 (events,), pixels.
        p: uint8 (events,), 1 = ON.
        starts: int64 (clips * steps + 1,), where each step of each clip begins in these arrays, and their length.
        digest: SHA-256 of the file, in hexadecimal.

    >>> blink = EventPacket.of(t=[20, 150], x=[1, 2], y=[0, 3], p=[1, 0])
    >>> words = [Word(label="blink", presence=True, clip=0), Word(label="nobody", presence=False, clip=1)]
    >>> book = Book.compose([blink, EventPacket.empty()], words, sensor=Sensor(4, 4), step_us=100, steps=2)
    >>> book.words[0].label, book.bits
    ('blink', 1.0)
    >>> book.events(0, 700).t.tolist(), book.window(0, 700).sum(axis=(1, 2)).tolist()
    ([750], [1.0, 0.0])
    """

    metadata: BookMetadata
    t: npt.NDArray[np.uint32]
    x: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    p: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    digest: str

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read and check a book.

        Raises:
            BookError: the file cannot be read, is too large or damaged, or contradicts itself; the message says what
                was expected, what the file holds, and what to do.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BookError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
        if len(data) > MAX_BYTES:
            raise BookError(f"{path}: expected a book of at most {MAX_BYTES} bytes, got more; choose another file")
        return cls._parse(data, str(path))

    @classmethod
    def compose(
        cls,
        clips: Sequence[EventPacket],
        words: Sequence[Word],
        *,
        sensor: Sensor,
        steps: int,
        step_us: int = 100_000,
        bins: int = 1,
        seed: int = 0,
        note: str = "",
    ) -> Self:
        """Make a book of clips, whose times run from 0 to below `steps * step_us`.

        Raises:
            BookError: events, words or settings break the rules of the format.
        """
        name = "book"
        try:
            metadata = BookMetadata(
                sensor=(sensor.width, sensor.height), step_us=step_us, steps=steps, bins=bins, words=tuple(words),
                seed=seed, note=note,
            )  # fmt: skip
        except ValidationError as error:
            raise BookError(f"{name}: {first_finding(error)}; change it") from error
        pixel = coordinate_type(metadata.sensor)
        columns = {
            key: np.concatenate([getattr(clip, key) for clip in clips] or [np.empty(0)]) for key in ("t", "x", "y", "p")
        }
        limits = {"t": steps * step_us, "x": sensor.width, "y": sensor.height, "p": 2}
        for key, limit in limits.items():  # before a narrower type wraps them
            check_range(name, key, columns[key], limit)
        begins = np.arange(steps) * step_us
        counts = np.cumsum([0, *(len(clip) for clip in clips)])
        starts = [first + np.searchsorted(clip.t, begins) for first, clip in zip(counts, clips, strict=False)]
        tensors = {
            "t": columns["t"].astype(np.uint32),
            "x": columns["x"].astype(pixel),
            "y": columns["y"].astype(pixel),
            "p": columns["p"].astype(np.uint8),
            "starts": np.concatenate([*starts, counts[-1:]]).astype(np.int64),
        }
        return cls._parse(serialise(metadata, tensors), name)

    def write(self, path: Path | str, *, replace: bool = True) -> None:
        """Write the book atomically: a complete file or none. Only its owner can read it.

        Raises:
            BookError: the file exists and may not be replaced, or cannot be written.
        """
        tensors = {key: getattr(self, key) for key in ("t", "x", "y", "p", "starts")}
        try:
            write_atomic(Path(path), serialise(self.metadata, tensors), replace=replace)
        except OSError as error:
            raise BookError(
                f"{path}: cannot be written ({error.strerror or error}); check the folder and free space"
            ) from error

    @property
    def words(self) -> tuple[Word, ...]:
        """The words, by number."""
        return self.metadata.words

    @property
    def sensor(self) -> Sensor:
        """The sensor that the clips were recorded with."""
        return Sensor(*self.metadata.sensor)

    @property
    def step_us(self) -> int:
        """Length of a step, microseconds."""
        return self.metadata.step_us

    @property
    def bins(self) -> int:
        """Bins in a published window."""
        return self.metadata.bins

    @property
    def clips(self) -> int:
        """How many clips the words share."""
        return (len(self.starts) - 1) // self.metadata.steps

    @property
    def bits(self) -> float:
        """Upper bound on the bits that one choice of a word carries: log2 of the number of words."""
        return math.log2(len(self.words))

    def step_of(self, word: int, t_start_us: int) -> int:
        """Return which of its steps a word plays at a time: it follows the clock, and never a person.

        Raises:
            BookError: there is no such word, or the time is out of range.
        """
        played = self._word(word)
        if not -MAX_TIME_US <= t_start_us <= MAX_TIME_US:
            raise BookError(f"time {t_start_us} is out of range; expected at most {MAX_TIME_US} µs either way")
        return (int(t_start_us) // self.step_us + played.phase) % played_steps(self.metadata.steps, played)

    def events(self, word: int, t_start_us: int) -> EventPacket:
        """Return the events of a word in the step at a time: `t_start_us` <= t < `t_start_us + step_us`.

        Raises:
            BookError: there is no such word, or the time is out of range.
        """
        step, played = self.step_of(word, t_start_us), self._word(word)
        faster, slower = played.tempo
        first, last = (int(self.starts[(played.clip + n) * self.metadata.steps]) for n in (0, 1))
        # Rounded up: an event at clip time t is played at t * slower // faster.
        bounds = [-(-self.step_us * n * faster // slower) for n in (step, step + 1)]
        begin, end = (first + np.searchsorted(self.t[first:last], np.array(bounds, np.uint32))).tolist()
        t = self.t[begin:end].astype(np.int64) * slower // faster + (int(t_start_us) - step * self.step_us)
        x, y = (self.x[begin:end].astype(np.int64) + played.dx, self.y[begin:end].astype(np.int64) + played.dy)
        width, height = self.metadata.sensor
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return EventPacket.of(t[inside], x[inside], y[inside], self.p[begin:end][inside])

    def window(self, word: int, t_start_us: int) -> npt.NDArray[np.float32]:
        """Return the window of a word in the step at a time: whole counts, float32 (2 * bins, H, W), channel 2*k + p.

        Raises:
            BookError: there is no such word, or the time is out of range.
        """
        events = self.events(word, t_start_us)
        width, height = self.metadata.sensor
        bin_ = (events.t - int(t_start_us)) * self.bins // self.step_us
        at = ((2 * bin_ + events.p) * height + events.y) * width + events.x
        counts = np.bincount(at, minlength=2 * self.bins * height * width)
        return counts.astype(np.float32).reshape(2 * self.bins, height, width)

    def _word(self, number: int) -> Word:
        if not 0 <= number < len(self.words):
            raise BookError(f"this book has the words 0 to {len(self.words) - 1}, not {number}; use the right book")
        return self.words[number]

    @classmethod
    def _parse(cls, data: bytes, name: str) -> Self:
        metadata, tensors = parse(data, name)
        return cls(metadata=metadata, **tensors, digest=hashlib.sha256(data).hexdigest())
