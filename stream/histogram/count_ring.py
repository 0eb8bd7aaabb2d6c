"""Counts events into a ring of bins in one compiled pass.

Overlapping windows share bins. The ring holds the bins of the open window; closing that window drops the oldest `hop`
bins and reuses their memory. Each event is therefore processed once, however many windows contain it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from eventveil.events import EventPacket
from eventveil.io.records import are_records, as_words
from eventveil.stream.histogram.kernels import ByLayout, types
from eventveil.stream.histogram.pixel_map import PixelMap

MAX_COUNT = 65_535  # a uint16 count saturates here: if it wrapped, a busy pixel would look like a quiet one

# Events are counted in blocks: one loop finds their cells, a second one counts. The first then processes many events
# per instruction, which makes both together nearly twice as fast as a single loop.
BLOCK = 128

_index = np.uintp  # with signed indices, numba adds two instructions to each access to handle negative ones


@njit(nogil=True)
def _locate_columns(t, x, y, p, i, m, bin_start, bin_end, left, top, width, cells, block):  # type: ignore[no-untyped-def]
    """Write the cells of `m` events to `block`; return whether all events are in the bin and inside the crop."""
    columns, rows = np.uint32(width), np.uint32(cells // width)
    strays = False
    for k in range(m):
        event = i + _index(k)
        time = t[event]
        # A coordinate before the first kept one wraps around and is too large: one comparison covers both sides.
        column = np.uint32(np.int64(x[event]) - left)
        row = np.uint32(np.int64(y[event]) - top)
        strays |= (time < bin_start) | (bin_end <= time) | (column >= columns) | (row >= rows)
        block[_index(k)] = np.uint32(np.int64(row) * width + column + np.int64(p[event] != 0) * cells)
    return not strays


@njit(nogil=True)
def _locate_records(t, i, m, bin_start, bin_end, left, top, width, cells, block):  # type: ignore[no-untyped-def]
    """Do the same for events in records of 16 bytes."""
    columns, rows = np.uint32(width), np.uint32(cells // width)
    words = as_words(t[i : i + m])
    strays = False
    for k in range(m):
        time, rest = words[_index(k), 0], words[_index(k), 1]
        column = np.uint32((rest & 0xFFFF) - left)
        row = np.uint32((rest >> 16 & 0xFFFF) - top)
        strays |= (time < bin_start) | (bin_end <= time) | (column >= columns) | (row >= rows)
        block[_index(k)] = np.uint32(np.int64(row) * width + column + np.int64(rest & 0xFF << 32 != 0) * cells)
    return not strays


@njit(nogil=True)
def _locate(t, x, y, p, i, m, bin_start, bin_end, columns, rows, cells, block):  # type: ignore[no-untyped-def]
    """Write the cells of at most `m` events to `block`, up to the first event that is not in the bin.

    Returns:
        The number of events read, and the number written: events outside the crop are left out.
    """
    k, kept = _index(0), _index(0)
    while k < m and bin_start <= t[i + k] and t[i + k] < bin_end:
        event = i + k
        cell = _index(columns[x[event]]) + _index(rows[y[event]])
        if cell < cells:
            if p[event] != 0:
                cell += cells
            block[kept] = cell
            kept += _index(1)
        k += _index(1)
    return k, kept


@njit(nogil=True)
def _add(counts, base, block, kept):  # type: ignore[no-untyped-def]
    """Count the events of a block; return how many could not be counted because their count was at its maximum."""
    saturated = 0
    for k in range(kept):
        cell = base + _index(block[_index(k)])
        count = counts[cell]
        if count == MAX_COUNT:
            saturated += 1
        else:
            counts[cell] = count + 1
    return saturated


def _count(t, x, y, p, begin, counts, in_bin, first_bin, start_us, bin_us, pixels):  # type: ignore[no-untyped-def]
    """Count the events from `begin` to the first one at or after the window's end, in any order of time.

    t, x, y and p are the columns of the packet, with p as bytes; `counts` is the flat ring, (bins, 2, cells); `in_bin`
    (bins,) is the number of events in each bin; `first_bin`, below `bins`, is the position in the ring of the window's
    first bin, which starts at `start_us`; `pixels` are the fields of `PixelMap` that `CountRing` passes.

    Returns:
        Index of the event that it stopped at (the number of events if none is left), and the numbers of late, outside
        and saturated events.
    """
    left, top, width, unscaled, columns, rows = pixels
    bins = in_bin.size
    cells = _index(counts.size // (2 * bins))
    end_us = start_us + bins * bin_us
    in_columns, in_records = unscaled and t.flags.c_contiguous, unscaled and are_records(t, x, y, p)
    late, outside, saturated = np.int64(0), np.int64(0), np.int64(0)
    block = np.empty(BLOCK, np.uint32)
    i, n = _index(begin), _index(t.size)
    while i < n and t[i] < end_us:
        if t[i] < start_us:
            late += 1
            i += _index(1)
            continue
        # One division finds the bin; comparisons then find how many of the next events are in it, too.
        k = (t[i] - start_us) // bin_us
        bin_start = start_us + k * bin_us
        bin_end = bin_start + bin_us
        place = (first_bin + k) % bins
        base = _index(place) * _index(2) * cells
        m = _index(BLOCK)
        while m == _index(BLOCK):
            m = min(n - i, m)
            kept = m
            all_inside = False
            if in_columns:
                all_inside = _locate_columns(
                    t, x, y, p, i, m, bin_start, bin_end, left, top, width, np.int32(cells), block
                )  # fmt: skip
            elif in_records:
                all_inside = _locate_records(t, i, m, bin_start, bin_end, left, top, width, np.int32(cells), block)
            if not all_inside:
                m, kept = _locate(t, x, y, p, i, m, bin_start, bin_end, columns, rows, cells, block)
            saturated += _add(counts, base, block, kept)
            in_bin[place] += np.int64(kept)
            outside += np.int64(m - kept)
            i += m
    return np.int64(i), late, outside, saturated


_count_packet = ByLayout(
    _count, 4, types.UniTuple(types.int64, 4),
    types.int64, types.uint16[::1], types.int64[::1], types.int64, types.int64, types.int64,
    types.Tuple([types.int32, types.int32, types.int32, types.boolean, types.uint32[::1], types.uint32[::1]]),
)  # fmt: skip


class CountRing:
    """The counts of the open window.

    Args:
        pixels: the cell of each sensor pixel.
        bins: bins of a window, K.
        hop: bins from the start of a window to that of the next, 1 to K.
        bin_us: length of a bin in microseconds.

    Attributes:
        span_us: length of a window.
        hop_us: time from the start of a window to that of the next.
        pending: events counted since the last `take`, which no window has contained yet.
    """

    def __init__(self, pixels: PixelMap, bins: int, hop: int, bin_us: int) -> None:
        self.span_us = bins * bin_us
        self.hop_us = hop * bin_us
        self.pending = 0
        self._shape = (bins, 2, pixels.height, pixels.width)
        self._pixels = (
            np.int32(pixels.left), np.int32(pixels.top), np.int32(pixels.width), pixels.unscaled, pixels.columns,
            pixels.rows,
        )  # fmt: skip
        self._hop = hop
        self._bin_us = bin_us
        self._first_bin = 0
        self._in_bin = np.zeros(bins, np.int64)
        self._counts = self._zeros()

    def add(self, packet: EventPacket, begin: int, start_us: int) -> tuple[int, int, int, int]:
        """Count the packet's events from `begin` to the first one at or after the end of the window at `start_us`.

        Returns:
            Index of that event, or `len(packet)`; and the numbers of late, outside and saturated events.
        """
        t, x, y, p = packet.t, packet.x, packet.y, packet.p.view(np.uint8)
        stop, late, outside, saturated = _count_packet(
            t, x, y, p, begin, self._counts.reshape(-1), self._in_bin, self._first_bin, start_us, self._bin_us,
            self._pixels,
        )  # fmt: skip
        self.pending += stop - begin - late - outside
        return stop, late, outside, saturated

    def take(self) -> tuple[npt.NDArray[np.uint16], int]:
        """Return the window's counts (K, 2, H, W) and the number of its events, and advance by the hop."""
        events = int(self._in_bin.sum())
        bins = len(self._in_bin)
        if self._hop == bins:
            window, self._counts = self._counts, self._zeros()
            self._in_bin[:] = 0
        else:
            oldest = (self._first_bin + np.arange(bins)) % bins
            window = self._counts[oldest]
            self._counts[oldest[: self._hop]] = 0
            self._in_bin[oldest[: self._hop]] = 0
            self._first_bin = (self._first_bin + self._hop) % bins
        self.pending = 0
        return window, events

    def _zeros(self) -> npt.NDArray[np.uint16]:
        return np.zeros(self._shape, np.uint16)
