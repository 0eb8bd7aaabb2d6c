"""Plays a programme as one long stream: piece behind piece, pass behind pass, in times that never decrease.

What is played, and at which times, follows from the programme and the settings alone; at what pace is another matter
(`eventveil.replay.player.pace`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from eventveil.errors import DatasetError, EventVeilError
from eventveil.events import EventPacket
from eventveil.replay.ground_truth import Truth
from eventveil.replay.playlist import Clip, Playlist

FOREVER_US = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Which part of each pass is played, and how passes follow each other.

    Attributes:
        start_us: what lies before is left out; counted from the beginning of the pass, microseconds.
        stop_us: what lies there or behind is left out; None: nothing is.
        gap_us: quiet time between two pieces, and between two passes.
        loop: begin anew at the end.
    """

    start_us: int = 0
    stop_us: int | None = None
    gap_us: int = 0
    loop: bool = False


class Player:
    """The packets of a programme, once.

    A piece begins with its first event, `gap_us` behind the end of the piece before. A pass begins so that what is
    played of it begins `gap_us` behind the end of the pass before; only the first pass of a recording keeps the times
    that its file has.

    Attributes:
        truth: what is true of what has been played so far.
    """

    def __init__(self, playlist: Playlist, excerpt: Excerpt) -> None:
        self.truth = Truth()
        self._playlist = playlist
        self._excerpt = excerpt
        self._begin_us = playlist.begins_us  # of the pass, whether its beginning is played or not
        self._end_us = 0  # of the piece that was played last

    def __iter__(self) -> Generator[EventPacket, None, None]:
        """Yield the packets, reading none ahead.

        Raises:
            EventVeilError: a piece cannot be read, as its source tells it, or in the programme's words instead.
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
                yield from (
                    packets
                    if self._playlist.public_error is None
                    else _in_other_words(packets, self._playlist.public_error)
                )
            at_us = self._end_us + self._excerpt.gap_us

    def _clip(self, clip: Clip, at_us: int | None) -> Iterator[EventPacket]:
        """Play a piece that begins at `at_us`; None: where its own times say."""
        self._end_us = (at_us or 0) + clip.duration_us
        begun = False
        last: EventPacket | None = None
        low_us, high_us = self._low_us, self._high_us
        with clip.open() as packets:
            for packet in _rebased(packets, at_us):
                if at_us is None:
                    at_us = self._begin_us = self._end_us = int(packet.t[0])
                    low_us, high_us = self._low_us, self._high_us
                last = packet if len(packet) else last
                if packet.until_us is not None:
                    self._end_us = max(self._end_us, packet.until_us)
                whole = low_us <= at_us and high_us == FOREVER_US  # most are, and at speed max each microsecond counts
                played = packet if whole else _within(packet, low_us, high_us)
                if not begun and clip.label is not None and (len(played) or played.until_us is not None):
                    self.truth.begin(clip.label, clip.subject or "", max(at_us, low_us))
                    begun = True
                yield played  # an empty one, too: whoever plays can look up
                if played.until_us == high_us:
                    break
        if last is not None:
            self._end_us = max(self._end_us, int(last.t[-1]))
        self._end_us = min(self._end_us, self._high_us)
        if begun:
            self.truth.end(self._end_us)

    @property
    def _low_us(self) -> int:
        return (self._begin_us or 0) + self._excerpt.start_us

    @property
    def _high_us(self) -> int:
        stop_us = self._excerpt.stop_us
        return FOREVER_US if stop_us is None else (self._begin_us or 0) + stop_us


def _in_other_words(packets: Iterator[EventPacket], public_error: str) -> Iterator[EventPacket]:
    try:
        yield from packets
    except EventVeilError:
        raise DatasetError(public_error) from None


def _within(packet: EventPacket, low_us: int, high_us: int) -> EventPacket:
    """What lies in [low_us, high_us) of a packet; its promise keeps within, too."""
    until_us = packet.until_us
    if len(packet) and not low_us <= packet.t[0] <= packet.t[-1] < high_us:
        first, behind = packet.t.searchsorted((low_us, high_us))
        if behind < len(packet):
            until_us = high_us
        packet = packet[first:behind]
    if until_us is not None:
        until_us = min(until_us, high_us) if until_us > low_us else None
    if until_us == packet.until_us:
        return packet
    return EventPacket(packet.t, packet.x, packet.y, packet.p, until_us)


def _rebased(packets: Iterable[EventPacket], at_us: int | None) -> Iterator[EventPacket]:
    """Move packets in time so that the first event lies at `at_us`; None: leave them where they are."""
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
