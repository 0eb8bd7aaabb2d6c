"""The base classes of all decoders, which turn the bytes of a format into packets, from a file or a camera.

A file is read in chunks, and a live camera delivers whole transfers; neither ends where a word ends. A decoder keeps
the incomplete word, so that the cuts make no difference to the events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket
from eventveil.io.formats.clock import Clock, find_words
from eventveil.io.formats.reader import OUTLYING

MAX_HELD_BYTES = 1 << 20  # of words whose time is not yet confirmed
TIME_HIGH = 8  # the type of a time word in EVT2, EVT2.1 and EVT3

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.bool_]]


class Decoder(ABC):
    """Turns bytes into packets and keeps the state between calls.

    Attributes:
        pending: bytes of the incomplete word or record at the end, and of words whose time is not yet confirmed.
        skipped: how many words or events were read and left out, by reason.
        words: how many words or records were read.
    """

    def __init__(self) -> None:
        self.pending = b""
        self.skipped: Counter[str] = Counter()
        self.words = 0

    def decode(self, data: bytes) -> EventPacket:
        """Decode the next bytes of the stream; the packet may be empty and owns its memory."""
        return self._decode_pending(data, final=False)

    def finish(self) -> EventPacket:
        """Return the events held back until later words confirm their time: nothing follows."""
        return self._decode_pending(b"", final=True)

    def _decode_pending(self, data: bytes, *, final: bool) -> EventPacket:
        data = self.pending + data
        packet, used = self._decode(data, final=final)
        self.pending = data[used:]
        return packet

    @abstractmethod
    def _decode(self, data: bytes, *, final: bool) -> tuple[EventPacket, int]:
        """Decode whole words at the start of `data`; return their events and how many bytes they took.

        Words whose time later ones must confirm may be left for the next call, but not if this one is `final`.
        """


class WordDecoder(Decoder):
    """Decoder of a format whose words all have the same size."""

    word: ClassVar[np.dtype[Any]]

    def _decode(self, data: bytes, *, final: bool) -> tuple[EventPacket, int]:
        count = len(data) // self.word.itemsize
        if count == 0:
            return EventPacket.empty(), 0
        words = np.frombuffer(data, self.word, count)
        packet, used = self._decode_words(words, final=final or len(data) > MAX_HELD_BYTES)
        self.words += used
        return packet, used * self.word.itemsize

    @abstractmethod
    def _decode_words(self, words: npt.NDArray[Any], *, final: bool) -> tuple[EventPacket, int]:
        """Decode one or more whole words; return their events and how many words they were: all, if `final`."""

    def _count_left_out(self, events: int) -> None:
        if events:
            self.skipped[OUTLYING] += events


class TypedWordDecoder(WordDecoder):
    """Decoder of EVT2, EVT2.1 and EVT3, whose words hold their type in four bits.

    Attributes:
        reasons: the known types that hold no event, and the key in `skipped` that counts them.
        types: (16,) int64, how many words of each type the last call left out.
        timeless: how many events the last call left out because no time word or row address had come before them: their
            time or place is unknown.
        outlying: how many it left out because their time word was an outlier.

    Args:
        clock: the clock of the time words.
    """

    reasons: ClassVar[dict[int, str]]
    time_shift: ClassVar[int]  # of the type in a time word
    time_mask: ClassVar[int]  # of the reading in a time word

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.types = np.zeros(16, np.int64)
        self.timeless = self.outlying = 0
        self._clock = clock

    @property
    def started(self) -> bool:
        """Whether a time word has come."""
        return self._clock.started

    @property
    def unknown(self) -> int:
        """The number of words of unknown type so far."""
        return self.skipped["unknown word"]

    def _times_of(self, words: npt.NDArray[Any], *, final: bool) -> tuple[npt.NDArray[np.int64], int]:
        """Return the time of each time word, and how many words those are whose time is known."""
        places = np.empty(len(words) + 1, np.int64)
        places = places[: find_words(words, self.time_shift, TIME_HIGH, places)]
        times, decided = self._clock.follow(words[places].astype(np.int64) & self.time_mask, final=final)
        return times, len(words) if decided == len(places) else int(places[decided])

    def _decode(self, data: bytes, *, final: bool) -> tuple[EventPacket, int]:
        self.types[:] = 0
        self.timeless = self.outlying = 0
        packet, used = super()._decode(data, final=final)
        self._count_left_out(self.outlying)
        for kind in np.flatnonzero(self.types):
            self.skipped[self.reasons.get(int(kind), "unknown word")] += int(self.types[kind])
        if self.timeless:
            self.skipped["event before the first time or row"] += self.timeless
        return packet, used


def empty_columns(count: int) -> Columns:
    """Allocate t, x, y and p for `count` events, uninitialised."""
    return np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.bool_)
