"""What turns the bytes of a format into packets, wherever they come from.

A file hands over chunks, a live camera whatever its transfer brought; neither cuts where a word ends. A decoder
keeps what it has begun, so that the cuts make no difference to the events.
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
    """Bytes in, packets out, with the state between them.

    Attributes:
        pending: bytes of a word or record that has begun and not ended.
        skipped: what was read and is no event, by reason.
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
    """Decoder of a format whose words all have one size."""

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
    """Decoder of EVT2, EVT2.1 and EVT3, whose words carry their type in four bits.

    Attributes:
        reasons: the types that are known and hold no event, and what they are counted as in `skipped`.
        types: (16,) int64, how many words of each type the last call left out.
        timeless: how many events the last call left out because no time word or row address had come: when or where
            they were is not known.
    """

    reasons: ClassVar[dict[int, str]]

    def __init__(self) -> None:
        super().__init__()
        self.types = np.zeros(16, np.int64)
        self.timeless = 0

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether a time word has come."""

    @property
    def unknown(self) -> int:
        """How many words had a type that the format does not know."""
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
    """Room for `count` events: t, x, y, p, not filled."""
    return np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.bool_)
