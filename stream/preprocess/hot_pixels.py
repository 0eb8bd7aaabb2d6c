"""Finds hot pixels in the first seconds of a camera.

A hot pixel stands out in two ways: it fires all the time, while moving objects come and go; and it fires far more often
than the pixels around it, while an edge or a lamp also makes its neighbours fire. Both must be true.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor
from eventveil.stream.histogram.kernels import ByLayout, types

SLICES = 10  # the search time is divided into this many slices
SLICES_ACTIVE = 8  # a hot pixel fires in at least this many of them
MIN_EVENTS = 20  # fewer events in all prove nothing
CLUSTER = 4  # at most this many hot pixels lie together; a larger group belongs to the scene
CONTRAST = 8  # a hot pixel has this many times as many events, plus one, as the CLUSTER-th busiest of its 24 neighbours
MAX_SHARE = 0.02  # of all pixels; if more stand out, it is the scene, or the camera is broken


def _tally(t, x, y, begin_us, slice_us, counts, active):  # type: ignore[no-untyped-def]
    """Count events by pixel, and set a bit for each slice in which a pixel fires. Later events go to the last slice."""
    height, width = counts.shape
    for i in range(len(t)):
        if x[i] < width and y[i] < height:
            part = min(max((t[i] - begin_us) // slice_us, 0), SLICES - 1)
            counts[y[i], x[i]] += np.uint32(1)
            active[y[i], x[i]] |= np.uint16(1 << part)


_tally_packet = ByLayout(_tally, 3, types.void, types.int64, types.int64, types.uint32[:, ::1], types.uint16[:, ::1])


class HotPixelSearch:
    """Searches a camera's events for some seconds of its time.

    Args:
        sensor: geometry of the camera.
        seconds: duration of the search; it starts with the first event.

    Attributes:
        counts: uint32 (height, width), events by pixel so far.
        is_over: whether the time has passed.
    """

    def __init__(self, sensor: Sensor, seconds: float) -> None:
        self.counts: npt.NDArray[np.uint32] = np.zeros((sensor.height, sensor.width), np.uint32)
        self.is_over = False
        self._active = np.zeros((sensor.height, sensor.width), np.uint16)
        self._slice_us = max(1, round(seconds * 1e6 / SLICES))
        self._begin_us: int | None = None

    def add(self, packet: EventPacket) -> None:
        """Add a packet to the search."""
        t, x, y = packet.t, packet.x, packet.y
        if len(packet):
            if self._begin_us is None:
                self._begin_us = int(t[0])
            _tally_packet(t, x, y, self._begin_us, self._slice_us, self.counts, self._active)
        if self._begin_us is not None:
            times_us = [int(t[-1])] if len(packet) else []
            times_us += [] if packet.until_us is None else [packet.until_us]
            end_us = self._begin_us + SLICES * self._slice_us
            self.is_over = self.is_over or any(time_us >= end_us for time_us in times_us)

    def hot_pixels(self) -> npt.NDArray[np.bool_]:
        """Return the hot pixels found so far, bool (height, width); none if too many stand out."""
        often = (self.counts >= MIN_EVENTS) & (_bits(self._active) >= SLICES_ACTIVE)
        hot = np.zeros(often.shape, np.bool_)
        rows, columns = np.nonzero(often)
        around = np.partition(_neighbours(self.counts, rows, columns), -CLUSTER, axis=1)[:, -CLUSTER]
        hot[rows, columns] = self.counts[rows, columns] >= CONTRAST * (1 + around.astype(np.int64))
        if np.count_nonzero(hot) > MAX_SHARE * hot.size:
            hot[:] = False
        return hot


def _bits(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """Return in how many slices each pixel fired; NumPy 1 has no bit count."""
    number = np.zeros(words.shape, np.int64)
    for part in range(SLICES):
        number += (words >> part) & 1
    return number


def _neighbours(
    counts: npt.NDArray[np.uint32], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint32]:
    """Return the counts of the 24 pixels around each of n pixels: (n, 24), 0 beyond the sensor."""
    steps = [(down, right) for down in range(-2, 3) for right in range(-2, 3) if (down, right) != (0, 0)]
    padded = np.pad(counts, 2)
    return np.stack([padded[rows + 2 + down, columns + 2 + right] for down, right in steps], axis=1)
