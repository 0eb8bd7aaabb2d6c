"""What a source plays: a sequence of clips, with what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from eventveil.events import EventPacket, Sensor


@dataclass(frozen=True, slots=True)
class Clip:
    """A unit of playback: a recording, a trial of a dataset, or a simulated take.

    Attributes:
        open: opens its events; their times are the clip's own.
        duration_us: length in microseconds, all its events within it; 0 if only the events determine it.
        label: the action shown; None where it is unknown.
        subject: the person shown; None where unknown. Private, as the label is: neither leaves the machine, and the
            subject does not even appear in logs.
    """

    open: Callable[[], AbstractContextManager[Iterable[EventPacket]]] = field(repr=False)
    duration_us: int = 0
    label: str | None = None
    subject: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Playlist:
    """What a source plays in one pass; a looped source plays pass after pass.

    Attributes:
        sensor: geometry, the same for all clips.
        clips: returns the clips of a pass, given its number from 0; may be endless.
        begins_us: time at which the stream begins; None: at the time of its first event.
        public_error: replaces the message of a clip that cannot be read, because the original names the trial's path
            and with it a person; None where the original may be shown.
    """

    sensor: Sensor
    clips: Callable[[int], Iterable[Clip]]
    begins_us: int | None = None
    public_error: str | None = None
