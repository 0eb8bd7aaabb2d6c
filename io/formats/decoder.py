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

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16], npt.NDArray[np.uint16], npt.NDArray[np.bool_]]


class Decoder(ABC):
    """Turns bytes into packets and keeps the state between calls.

    Attributes:
        pending: bytes of the incomplete word or record at the end.
        skipped: how many words or events were read and left out, by reason.
        words: how many words or records were read.
    """

    def __init__(self) -> None:
        self.pending = b""
        self.skipped: Counter[str] = Counter()
        self.words = 0

    def decode(self, data: bytes) -> EventPacket:
        """Decode the next bytes of the stream; the packet may be empty and owns its memory."""
        data = self.pending + data
        packet, used = self._decode(data)
        self.pending = data[used:]
        return packet

    @abstractmethod
    def _decode(self, data: bytes) -> tuple[EventPacket, int]:
        """Decode all whole words at the start of `data`; return their events and how many bytes they took."""


class WordDecoder(Decoder):
    """Decoder of a format whose words all have the same size."""

    word: ClassVar[np.dtype[Any]]

    def _decode(self, data: bytes) -> tuple[EventPacket, int]:
        count = len(data) // self.word.itemsize
        if count == 0:
            return EventPacket.empty(), 0
        self.words += count
        return self._decode_words(np.frombuffer(data, self.word, count)), count * self.word.itemsize

    @abstractmethod
    def _decode_words(self, words: npt.NDArray[Any]) -> EventPacket:
        """Decode at least one whole word."""


class TypedWordDecoder(WordDecoder):
    """Decoder of EVT2, EVT2.1 and EVT3, whose words hold their type in four bits.

    Attributes:
        reasons: the known types that hold no event, and the key in `skipped` that counts them.
        types: (16,) int64, how many words of each type the last call left out.
        timeless: how many events the last call left out because no time word or row address had come before them: their
            time or place is unknown.
    """

    reasons: ClassVar[dict[int, str]]

    def __init__(self) -> None:
        super().__init__()
        self.types = np.zeros(16, np.int64)
        self.timeless = 0

    @property
    @abstractmethod
    def started(self) -> bool:
        """Return whether a time word has come."""

    @property
    def unknown(self) -> int:
        """The number of words of unknown type so far."""
        return self.skipped["unknown word"]

    def _decode(self, data: bytes) -> tuple[EventPacket, int]:
        self.types[:] = 0
        self.timeless = 0
        packet, used = super()._decode(data)
        for kind in np.flatnonzero(self.types):
            self.skipped[self.reasons.get(int(kind), "unknown word")] += int(self.types[kind])
        if self.timeless:
            self.skipped["event before the first time or row"] += self.timeless
        return packet, used


def empty_columns(count: int) -> Columns:
    """Allocate t, x, y and p for `count` events, uninitialised."""
    return np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.bool_)
