"""Where a source resumes after a restart because its process died.

Windows continue in the grid and the numbering of those made before. A recording or a dataset is read again from its
beginning, and the events before the first window that is still to be made are skipped: no event is published twice, and
none is lost. A source that never ends (a camera, simulated people, a loop) continues with the present; the windows that
it would have made meanwhile are lost, and counted as `crash`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from eventveil.events import EventPacket
from eventveil.replay.player.player import Excerpt
from eventveil.replay.player.sources import RECORDING
from eventveil.replay.playlist import Playlist
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.runtime.accounting import StreamCounters
from eventveil.stream.settings.pipeline import SourceSettings


def resume_at(source: SourceSettings, window: WindowPlan, counters: StreamCounters) -> int | None:
    """Return the start of the next window in stream time, None before the first; count what was lost meanwhile."""
    if not counters.received or window.hop_us is None:
        return None
    if not can_be_reread(source) and source.speed != "max":
        passed_us = (time.monotonic_ns() - counters.ended_ns) / 1000 * source.speed
        counters.skip(int(passed_us // window.hop_us))
    return counters.start_us + counters.received * window.hop_us


def can_be_reread(source: SourceSettings) -> bool:
    """Whether a source can be read again up to where it was."""
    return (source.where.kind == RECORDING or source.where.is_dataset) and not source.loop


def continued(playlist: Playlist, excerpt: Excerpt, counters: StreamCounters, at_us: int) -> tuple[Playlist, Excerpt]:
    """Return what is left of a source that is not read again, from a stream time on."""
    stop_us = excerpt.stop_us
    if stop_us is not None and not excerpt.loop:
        stop_us = max(stop_us - (at_us - counters.start_us), excerpt.start_us)
    return replace(playlist, begins_us=at_us - excerpt.start_us), replace(excerpt, stop_us=stop_us)


def skip_before(packets: Iterable[EventPacket], at_us: int) -> Iterator[EventPacket]:
    """Leave out the events before a time. Empty packets are yielded, too, so that the player can poll for signals."""
    for packet in packets:
        if len(packet) and packet.t[0] < at_us:
            rest = packet[int(packet.t.searchsorted(at_us)) :]
            yield EventPacket(rest.t, rest.x, rest.y, rest.p, packet.until_us)
        else:
            yield packet
