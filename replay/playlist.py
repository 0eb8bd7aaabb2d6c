"""What a source plays: pieces, one behind the other, with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from eventveil.events import EventPacket, Sensor


@dataclass(frozen=True, slots=True)
class Clip:
    """What is played in one piece: a recording, a trial of a dataset, a simulated take.

    Attributes:
        open: opens its events, with times of its own.
        duration_us: how long it lasts, microseconds, its events within; 0 where only they will tell.
        label: what is done in it; None where that is not known.
        subject: who does it; None likewise. Private, as the label is: neither leaves the machine, and this one does
            not even show up in logs.
    """

    open: Callable[[], AbstractContextManager[Iterable[EventPacket]]] = field(repr=False)
    duration_us: int = 0
    label: str | None = None
    subject: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Playlist:
    """What a source plays in one pass, and again and again where it is looped.

    Attributes:
        sensor: geometry, of all pieces.
        clips: the pieces of a pass, by its number from 0; may be endless.
        begins_us: time at which the stream begins; None: with the time of its first event.
        public_error: the message for a clip that cannot be read, where the error's own text (it holds the trial's
            path) would name a person; None where that text may be shown.
    """

    sensor: Sensor
    clips: Callable[[int], Iterable[Clip]]
    begins_us: int | None = None
    public_error: str | None = None
