"""Where a source goes on that is started anew because its process died.

Windows go on in the grid and in the numbers of those made before. A recording or a dataset is read again from its
beginning, and what lies before the first window that was not made yet is left out: no event is published twice, and
nothing of the source is lost. A source that never ends, a camera, simulated people or a loop, goes on with what there
is now; the windows that it would have made meanwhile are lost, and counted as `crash`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from eventveil.events import EventPacket
from eventveil.replay.player.player import Excerpt
from eventveil.replay.player.sources import RECORDING
from eventveil.replay.playlist import Playlist
from eventveil.stream.plan import WindowPlan
from eventveil.stream.runtime.accounting import CRASH, StreamCounters
from eventveil.stream.settings import SourceSettings


def resume_at(source: SourceSettings, window: WindowPlan, entry: StreamCounters) -> int | None:
    """Start of the next window, in the stream's time; None where none was made yet. Counts what is lost meanwhile."""
    if not entry.received or window.hop_us is None:
        return None
    if not is_read_again(source) and source.speed != "max":
        passed_us = (time.monotonic_ns() - entry.closed_ns) / 1000 * source.speed
        missed = int(passed_us // window.hop_us)
        entry.received += missed
        entry.drop(CRASH, missed)
    return entry.start_us + entry.received * window.hop_us


def is_read_again(source: SourceSettings) -> bool:
    """Whether a source can be read once more, up to where it was."""
    return (source.where.kind == RECORDING or source.where.is_dataset) and not source.loop


def moved(playlist: Playlist, excerpt: Excerpt, entry: StreamCounters, at_us: int) -> tuple[Playlist, Excerpt]:
    """What is left of a source that is not read again, beginning at a time of the stream."""
    stop_us = excerpt.stop_us
    if stop_us is not None and not excerpt.loop:
        stop_us = max(stop_us - (at_us - entry.start_us), excerpt.start_us)
    return replace(playlist, begins_us=at_us - excerpt.start_us), replace(excerpt, stop_us=stop_us)


def behind(packets: Iterable[EventPacket], at_us: int) -> Iterator[EventPacket]:
    """Leave out the events before a time; the packets come all the same, so that whoever plays can look up."""
    for packet in packets:
        if len(packet) and packet.t[0] < at_us:
            left = packet[int(packet.t.searchsorted(at_us)) :]
            yield EventPacket(left.t, left.x, left.y, left.p, packet.until_us)
        else:
            yield packet
