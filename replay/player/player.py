"""Plays a playlist as one long stream: clip after clip, pass after pass, in times that never decrease.

What is played, and at which times, follows from the playlist and the settings alone. The pace is set elsewhere
(`eventveil.replay.player.pace`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from eventveil.errors import DatasetError, EventVeilError
from eventveil.events import EventPacket
from eventveil.io.source import EventSource
from eventveil.replay.ground_truth import Truth
from eventveil.replay.playlist import Clip, Playlist

FOREVER_US = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Which part of each pass is played, and how passes follow each other.

    Attributes:
        start_us: events before this time are left out; microseconds from the beginning of the pass.
        stop_us: events from this time on are left out; None: none are.
        gap_us: quiet time between two clips, and between two passes.
        loop: start the next pass at the end of one.
    """

    start_us: int = 0
    stop_us: int | None = None
    gap_us: int = 0
    loop: bool = False


class Player:
    """The packets of a playlist, for one iteration.

    A clip begins with its first event, `gap_us` after the end of the previous clip. The played part of a pass begins
    `gap_us` after the end of the previous pass. Only the first pass of a recording keeps the times of its file.

    Attributes:
        truth: the ground truth of what has been played so far.
    """

    def __init__(self, playlist: Playlist, excerpt: Excerpt) -> None:
        self.truth = Truth()
        self._omitted = Counter[str]()  # of the clips before
        self._source: object = None  # that of the present clip
        self._playlist = playlist
        self._excerpt = excerpt
        self._begin_us = playlist.begins_us  # of the pass, whether its beginning is played or not
        self._end_us = 0  # of the latest clip

    @property
    def omissions(self) -> Counter[str]:
        """How much of the files played so far was left out or corrected, by reason."""
        return self._omitted + (self._source.omissions if isinstance(self._source, EventSource) else Counter())

    def __iter__(self) -> Generator[EventPacket, None, None]:
        """Yield the packets, reading none ahead.

        Raises:
            EventVeilError: a clip cannot be read; with the message of its source, or the playlist's `public_error`.
        """
        for number in count() if self._excerpt.loop else range(1):
            played = False
            for packet in self._pass(number):
                played = played or len(packet) > 0
                yield packet
            if not played:
                return  # a loop over nothing would never end
            # A microsecond at least, or a loop over a single event would stand still.
            self._begin_us = self._end_us + max(1, self._excerpt.gap_us) - self._excerpt.start_us

    def _pass(self, number: int) -> Iterator[EventPacket]:
        at_us = self._begin_us
        for clip in self._playlist.clips(number):
            if at_us is not None and at_us >= self._high_us:
                return
            # Its last event may lie at its very end, so a clip that ends where the excerpt starts is still opened.
            if at_us is not None and 0 < clip.duration_us < self._low_us - at_us:
                self._end_us = at_us + clip.duration_us  # left out without opening it
            else:
                packets = self._clip(clip, at_us)
                public_error = self._playlist.public_error
                yield from packets if public_error is None else _hiding_errors(packets, public_error)
            at_us = self._end_us + self._excerpt.gap_us

    def _clip(self, clip: Clip, at_us: int | None) -> Iterator[EventPacket]:
        """Play a clip that begins at `at_us`; None: at the times of its file."""
        self._end_us = (at_us or 0) + clip.duration_us
        begun = False
        with clip.open() as packets:
            self._source = packets
            try:
                for packet in self._cropped(packets, at_us):
                    if not begun and clip.label is not None and (len(packet) or packet.until_us is not None):
                        # A clip at the times of its file begins the pass, and no excerpt starts before that.
                        start_us = self._low_us if at_us is None else max(at_us, self._low_us)
                        self.truth.begin(clip.label, clip.subject or "", start_us)
                        begun = True
                    yield packet  # an empty one, too, so that the consumer regains control
            finally:
                self._omitted, self._source = self.omissions, None
        if begun:
            self.truth.end(self._end_us)

    def _cropped(self, packets: Iterable[EventPacket], at_us: int | None) -> Iterator[EventPacket]:
        """Move the packets of a clip to `at_us`, crop them to the excerpt, and keep track of where the clip ends."""
        last: EventPacket | None = None
        low_us, high_us = self._low_us, self._high_us
        for packet in _rebased(packets, at_us):
            if at_us is None:
                at_us = self._begin_us = self._end_us = int(packet.t[0])
                low_us, high_us = self._low_us, self._high_us
            last = packet if len(packet) else last
            if packet.until_us is not None:
                self._end_us = max(self._end_us, packet.until_us)
            whole = low_us <= at_us and high_us == FOREVER_US  # most are, and at speed max each microsecond counts
            cropped = packet if whole else _within(packet, low_us, high_us)
            yield cropped
            if cropped.until_us == high_us:
                break
        if last is not None:
            self._end_us = max(self._end_us, int(last.t[-1]))
        self._end_us = min(self._end_us, self._high_us)

    @property
    def _low_us(self) -> int:
        return (self._begin_us or 0) + self._excerpt.start_us

    @property
    def _high_us(self) -> int:
        stop_us = self._excerpt.stop_us
        return FOREVER_US if stop_us is None else (self._begin_us or 0) + stop_us


def _hiding_errors(packets: Iterator[EventPacket], public_error: str) -> Iterator[EventPacket]:
    try:
        yield from packets
    except EventVeilError:
        raise DatasetError(public_error) from None


def _within(packet: EventPacket, low_us: int, high_us: int) -> EventPacket:
    """Crop a packet, and what it guarantees in `until_us`, to [low_us, high_us)."""
    until_us = packet.until_us
    if len(packet) and not low_us <= packet.t[0] <= packet.t[-1] < high_us:
        first, stop = packet.t.searchsorted((low_us, high_us))
        if stop < len(packet):
            until_us = high_us
        packet = packet[first:stop]
    if until_us is not None:
        until_us = min(until_us, high_us) if until_us > low_us else None
    if until_us == packet.until_us:
        return packet
    return EventPacket(packet.t, packet.x, packet.y, packet.p, until_us)


def _rebased(packets: Iterable[EventPacket], at_us: int | None) -> Iterator[EventPacket]:
    """Shift packets in time so that the first event lies at `at_us`; None: leave their times."""
    shift_us: int | None = None
    packets = iter(packets)
    for packet in packets:
        if shift_us is None:
            if not len(packet):
                continue
            shift_us = 0 if at_us is None else at_us - int(packet.t[0])
        if shift_us == 0:
            yield packet
            yield from packets
            return
        until_us = None if packet.until_us is None else packet.until_us + shift_us
        yield EventPacket(packet.t + shift_us, packet.x, packet.y, packet.p, until_us)
