"""Bins events into windows. Packet boundaries do not matter, and every event is accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor, Window
from eventveil.stream.histogram.count_ring import CountRing
from eventveil.stream.histogram.event_box import Box, EventBox
from eventveil.stream.histogram.pixel_map import PixelMap

if TYPE_CHECKING:
    from eventveil.stream.histogram.voxel_grid import VoxelGrid

Mode = Literal["windows", "recording", "voxel"]

# No sum of times may overflow int64. Times within 2^62 us (146,000 years) and windows of at most 2^40 us (12 days) keep
# every bound far from that, whatever timestamps a damaged source contains.
MAX_TIME_US = 2**62
MAX_SPAN_US = 2**40


@dataclass(frozen=True, slots=True)
class HistogramStats:
    """Where the events went: `received == binned + late + outside`, exactly and always.

    Attributes:
        received: events processed so far. Events of a packet whose windows were not all taken yet, and in "recording"
            mode those that wait for `finish`, are added later.
        binned: events in a window.
        late: events before the first open bin; only a source that goes back in time has them.
        outside: events that are not on the sensor, not in the crop or not in the field; in "recording" mode also those
            after the last bin.
        saturated: binned events whose count was already at its maximum.
    """

    received: int = 0
    binned: int = 0
    late: int = 0
    outside: int = 0
    saturated: int = 0


class WindowedHistogrammer:
    """Bins a stream of events into consecutive windows of `bins` bins of `bin_us` each.

    Bins are half open, `[start + k * bin_us, start + (k + 1) * bin_us)`, and start with the first event or at
    `start_us`. A window closes with the first event at or after its end, or once a packet's `until_us` reaches its end;
    times without events give empty windows. Windows are numbered from 0 without gaps.

    Three modes:
        windows: event counts of fixed windows, uint16 (K, 2, H, W), index 0 = OFF, 1 = ON, saturating at 65,535.
        recording: event counts of the whole recording in K bins of `(t_last - t_first) // K`; later events are left
            out. This is tonic's `ToFrame(n_time_bins=K)` and how AnonyNoise (Bendig et al., WACV 2025) bins a trial.
            Packets are kept until `finish`, which returns the single window; a recording without events gives none, one
            that is shorter than K microseconds gives an empty one.
        voxel: voxel grid of fixed windows, float32 (B, H, W), see `eventveil.stream.histogram.voxel_grid`; `bins` is B,
            and a window spans `bins * bin_us`.

    Events may go back in time, even within a packet: those in an open bin are binned, the others are late.

    Args:
        sensor: geometry of the camera; events beyond it are counted as outside.
        size: (W, H) of the result, not larger than the crop; None keeps every pixel. Pixel i of w goes to i * W // w.
        bins: K, bins of a window.
        bin_us: length of a bin in microseconds; not in "recording" mode, where the recording determines it.
        hop: bins from the start of a window to that of the next, 1 to `bins`; None is `bins`, without overlap. Only
            "windows" can overlap.
        mode: as above.
        crop: (x, y, width, height) in sensor pixels, applied before the scaling.
        flip_x: mirror left and right.
        flip_y: mirror top and bottom.
        start_us: start of the first window; None is the first event's time. Not in "recording" mode.
        grid_us: without `start_us`, the first window starts at the last multiple of this before the first event, so
            that no window states the exact time of an event. Not in "recording" mode.
        field: (width, height): use this many evenly spaced columns and rows of the crop; None uses all.
        clock_us: in "recording" mode, the step of the clock: the first and the last time are rounded down to whole
            steps, and a bin is a whole number of them. 1,000 is the clock of tonic's DVS128 Gesture.
        frames: in "recording" mode, each packet is a frame of one step of the clock, with events or not, and a bin is a
            K-th of their number, rounded down.
        box: None, or resize the box around the events of each window to `size`, see `event_box`; voxel grids are then
            normalised. `size` is needed, and may be larger than the crop. Windows must not overlap.

    Attributes:
        stats: where the events went; an immutable value, replaced as events are processed.

    Raises:
        EventError: a setting is out of range or does not fit the mode.

    Example:
        >>> from eventveil import EventPacket, Sensor
        >>> from eventveil.stream.histogram import WindowedHistogrammer
        >>> packet = EventPacket.of(t=[0, 900, 1_000, 2_500], x=[0, 0, 1, 1], y=[0, 0, 0, 0], p=[1, 1, 0, 1])
        >>> histogrammer = WindowedHistogrammer(Sensor(2, 1), bins=2, bin_us=1_000)
        >>> windows = list(histogrammer.push(packet)) + list(histogrammer.finish())
        >>> [(window.t_start_us, window.t_end_us) for window in windows]
        [(0, 2000), (2000, 4000)]
        >>> windows[0].counts[:, :, 0].tolist()  # two bins, each OFF and ON, of both pixels
        [[[0, 0], [2, 0]], [[0, 1], [0, 0]]]
        >>> histogrammer.stats.binned
        4
    """

    def __init__(
        self,
        sensor: Sensor,
        size: tuple[int, int] | None = None,
        bins: int = 5,
        bin_us: int | None = None,
        hop: int | None = None,
        mode: Mode = "windows",
        crop: tuple[int, int, int, int] | None = None,
        flip_x: bool = False,
        flip_y: bool = False,
        start_us: int | None = None,
        field: tuple[int, int] | None = None,
        grid_us: int | None = None,
        box: Box | None = None,
        clock_us: int = 1,
        frames: bool = False,
    ) -> None:
        self.stats = HistogramStats()
        self._mode = mode
        self._bins = _in_range("bins", bins, 1, MAX_SPAN_US)
        scaled = size if box is None else None
        self._pixels = PixelMap.of(sensor, scaled, crop, field=field, flip_x=flip_x, flip_y=flip_y)
        self._grid = self._new_grid(bin_us, hop)
        self._box = self._new_box(box, size, overlapping=hop is not None and hop < bins)
        if mode == "recording" and (start_us, grid_us) != (None, None):
            raise EventError("recording mode starts with the first event: leave start_us and grid_us out")
        self._clock_us = _in_range("clock_us", clock_us, 1, MAX_SPAN_US)
        self._counts_frames = frames
        self._frames_us: tuple[int, int] | None = None  # start of the first frame, and end of the last
        if mode != "recording" and (clock_us != 1 or frames):
            raise EventError("a clock divides whole recordings alone: leave clock_us out")
        self._grid_us = 1 if grid_us is None else _in_range("grid_us", grid_us, 1, MAX_SPAN_US)
        if start_us is not None:
            _in_range("start_us", start_us, -MAX_TIME_US, MAX_TIME_US)
        self._t_start_us = start_us
        self._seq = 0
        self._recording: list[EventPacket] = []
        self._packet = EventPacket.empty()
        self._next = 0  # first event of the packet that is not processed yet
        self._due = False  # the open window is complete and waits to be taken
        self._finished = False

    def push(self, packet: EventPacket) -> Iterator[Window]:
        """Bin a packet and return an iterator over the windows that it closes.

        The packet is binned at once up to the end of its first window, and further as windows are taken: an hour of
        silence is 72,000 empty windows of 50 ms, of which only the current one is in memory. Take all windows of a
        packet before you push the next one. An interrupted iteration can be continued with the same iterator or with
        that of `finish`: they share their state, and each window is returned once.

        Raises:
            EventError: windows of the previous packet have not been taken, `finish` was called, or the first event's
                time is out of range. The packet is then rejected, and none of its events is counted.
        """
        if self._due:
            raise EventError("windows of the last packet have not been taken: take them all before the next push")
        if self._finished:
            raise EventError("finish() has been called: build a new WindowedHistogrammer for a new stream")
        if self._mode == "recording":
            if self._counts_frames and packet.until_us is not None:
                start_us = packet.until_us - self._clock_us if self._frames_us is None else self._frames_us[0]
                self._frames_us = start_us, packet.until_us
            if len(packet):
                self._recording.append(packet)
            return iter(())
        if self._t_start_us is None and len(packet):
            if abs(first_us := int(packet.t[0])) > MAX_TIME_US:
                raise EventError(f"expected times within {MAX_TIME_US} us of zero: check the time unit of the source")
            self._t_start_us = first_us - first_us % self._grid_us
        self._packet, self._next = packet, 0
        self._bin()
        return iter(self._take_due, None)

    def finish(self) -> Iterator[Window]:
        """End the stream and return an iterator over the remaining windows.

        These are the windows of the last packet that were not taken yet and then the open window, if it contains an
        event that no window has contained so far. (One is enough, overlap or not: all remaining bins are in the open
        window.)
        """
        self._finished = True
        if self._recording:
            self._bin_recording()
        elif not self._due:
            self._bin()
        return iter(self._take_due, None)

    def stop(self) -> Iterator[Window]:
        """End the stream here, and return an iterator over the open window if it holds an event that no other has held.

        Unlike `finish`, leave out what was pushed but not binned yet: the windows of a silence are not needed.
        """
        self._finished = True
        self._packet, self._next = EventPacket.empty(), 0
        if self._recording:
            self._bin_recording()
        else:
            self._due = self._grid.pending > 0
        return iter(self._take_due, None)

    def _bin(self) -> None:
        """Bin the packet until a window is due or no event is left."""
        if self._t_start_us is None:
            return  # the windows start with the first event
        if self._next < len(self._packet):
            self._add(self._packet, self._t_start_us)
        until_us = self._packet.until_us
        self._due = (
            self._next < len(self._packet)
            or (until_us is not None and self._t_start_us + self._grid.span_us <= until_us)
            or (self._finished and self._grid.pending > 0)
        )

    def _add(self, packet: EventPacket, start_us: int) -> None:
        stop, late, outside, saturated = self._grid.add(packet, self._next, start_us)
        if self._box is not None:
            self._box.see(packet, self._next, stop, start_us)
        self._count(stop - self._next, late, outside, saturated)
        self._next = stop

    def _count(self, received: int, late: int = 0, outside: int = 0, saturated: int = 0) -> None:
        # Replaced as one object, so that another thread reads consistent numbers.
        before = self.stats
        self.stats = HistogramStats(
            before.received + received,
            before.binned + received - late - outside,
            before.late + late,
            before.outside + outside,
            before.saturated + saturated,
        )

    def _take_due(self) -> Window | None:
        if not self._due or self._t_start_us is None:
            return None
        counts, events = self._grid.take()
        if self._box is not None:
            counts = self._box.take(counts)
        window = Window(self._seq, self._t_start_us, self._t_start_us + self._grid.span_us, counts, events)
        self._seq += 1
        self._t_start_us += self._grid.hop_us
        self._bin()
        return window

    def _bin_recording(self) -> None:
        """Bin the kept packets into the single window, now that the length of the recording is known."""
        first_us, last_us = int(self._recording[0].t[0]), int(self._recording[-1].t[-1])
        if abs(first_us) > MAX_TIME_US or last_us - first_us > MAX_SPAN_US:
            raise EventError(f"expected a recording of at most {MAX_SPAN_US} us within {MAX_TIME_US} us of zero")
        first_us, last_us = (time_us - time_us % self._clock_us for time_us in (first_us, last_us))
        first_us, last_us = self._frames_us or (first_us, last_us)
        bin_us = max(0, last_us - first_us) // self._clock_us // self._bins * self._clock_us
        self._grid = CountRing(self._pixels, self._bins, self._bins, bin_us)
        self._t_start_us = first_us
        for packet in self._recording:
            if self._box is not None:  # the box is that of all events, also of those after the last bin
                self._box.see(packet, 0, len(packet), first_us)
            inside = packet.t < first_us + self._grid.span_us
            after = len(packet) - int(np.count_nonzero(inside))
            self._count(after, outside=after)
            self._next = 0
            self._add(EventPacket(packet.t[inside], packet.x[inside], packet.y[inside], packet.p[inside]), first_us)
        self._recording.clear()
        self._due = True

    def _new_box(self, box: Box | None, size: tuple[int, int] | None, *, overlapping: bool) -> EventBox | None:
        if box is None:
            return None
        if size is None or overlapping:
            raise EventError("the box around events needs a size, and windows that do not overlap: set size, not hop")
        return EventBox(self._pixels, size, box)

    def _new_grid(self, bin_us: int | None, hop: int | None) -> CountRing | VoxelGrid:
        bins = self._bins
        hop = bins if hop is None else _in_range("hop", hop, 1, bins)
        if self._mode == "recording":
            if bin_us is not None or hop != bins:
                raise EventError("recording mode divides the recording into its bins: leave bin_us and hop out")
            return CountRing(self._pixels, bins, bins, 0)
        bin_us = _in_range("bin_us", bin_us, 1, MAX_SPAN_US // bins)
        if self._mode == "windows":
            return CountRing(self._pixels, bins, hop, bin_us)
        if self._mode != "voxel":
            raise EventError(f"expected the mode windows, recording or voxel, got {self._mode!r}")
        if hop != bins:
            raise EventError(f"voxel grids do not overlap: leave hop out or set it to bins ({bins}), got {hop}")
        from eventveil.stream.histogram.voxel_grid import VoxelGrid  # compiles, and is rarely used

        return VoxelGrid(self._pixels, bins, bins * bin_us)


def _in_range(name: str, value: int | None, low: int, high: int) -> int:
    if not isinstance(value, int | np.integer) or not low <= value <= high:
        raise EventError(f"expected {name} as a whole number from {low} to {high}, got {value!r}")
    return int(value)
