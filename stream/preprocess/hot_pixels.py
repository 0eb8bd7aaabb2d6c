"""Hot pixels: found in the first seconds of a camera, and remembered for the next time.

A hot pixel stands out in two ways. It fires all the time, while what moves comes and goes; and it fires far more than
the pixels around it, while an edge or a lamp takes its neighbours along. Both must be true.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor
from eventveil.stream.histogram.kernels import ByLayout, types

SLICES = 10  # the time of looking is parted into so many
SLICES_ACTIVE = 8  # and in so many of them a hot pixel fires
MIN_EVENTS = 20  # fewer in all are no ground for anything
CLUSTER = 4  # hot pixels may lie so close together, not more: what is larger than that is in the scene
CONTRAST = 8  # a hot pixel has so many times as many events, and one, as its 24 neighbours but the busiest few
MOST_SHARE = 0.02  # of the sensor; where more stands out, it is the scene, or the camera is broken


def _tally(t, x, y, begin_us, slice_us, counts, active):  # type: ignore[no-untyped-def]
    """Count events by pixel, and set a bit for each slice of time in which a pixel fires. Behind the last: the last."""
    height, width = counts.shape
    for i in range(len(t)):
        if x[i] < width and y[i] < height:
            part = min(max((t[i] - begin_us) // slice_us, 0), SLICES - 1)
            counts[y[i], x[i]] += np.uint32(1)
            active[y[i], x[i]] |= np.uint16(1 << part)


_tally_packet = ByLayout(_tally, 3, types.void, types.int64, types.int64, types.uint32[:, ::1], types.uint16[:, ::1])


class HotPixelSearch:
    """Looks at a camera for some seconds of its own time.

    Args:
        sensor: geometry of the camera.
        seconds: how long; they begin with the first event.

    Attributes:
        counts: uint32 (height, width), events by pixel so far.
        over: whether the time has passed.
    """

    def __init__(self, sensor: Sensor, seconds: float) -> None:
        self.counts: npt.NDArray[np.uint32] = np.zeros((sensor.height, sensor.width), np.uint32)
        self.over = False
        self._active = np.zeros((sensor.height, sensor.width), np.uint16)
        self._slice_us = max(1, round(seconds * 1e6 / SLICES))
        self._begin_us: int | None = None

    def add(self, packet: EventPacket) -> None:
        """Take a packet into account."""
        t, x, y = packet.t, packet.x, packet.y
        if len(packet):
            if self._begin_us is None:
                self._begin_us = int(t[0])
            _tally_packet(t, x, y, self._begin_us, self._slice_us, self.counts, self._active)
        if self._begin_us is not None:
            reached = [int(t[-1])] if len(packet) else []
            reached += [] if packet.until_us is None else [packet.until_us]
            end_us = self._begin_us + SLICES * self._slice_us
            self.over = self.over or any(time >= end_us for time in reached)

    def found(self) -> npt.NDArray[np.bool_]:
        """The pixels that are hot as far as is known now: bool (height, width); none where too many stand out."""
        often = (self.counts >= MIN_EVENTS) & (_bits(self._active) >= SLICES_ACTIVE)
        hot = np.zeros(often.shape, np.bool_)
        rows, columns = np.nonzero(often)
        around = np.partition(_neighbours(self.counts, rows, columns), -CLUSTER, axis=1)[:, -CLUSTER]
        hot[rows, columns] = self.counts[rows, columns] >= CONTRAST * (1 + around.astype(np.int64))
        if np.count_nonzero(hot) > MOST_SHARE * hot.size:
            hot[:] = False
        return hot


def _bits(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    """How many slices each pixel fired in; NumPy 1 has no count of bits."""
    number = np.zeros(words.shape, np.int64)
    for part in range(SLICES):
        number += (words >> part) & 1
    return number


def _neighbours(
    counts: npt.NDArray[np.uint32], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint32]:
    """The counts of the 24 pixels around each of n pixels: (n, 24), 0 beyond the sensor."""
    steps = [(down, right) for down in range(-2, 3) for right in range(-2, 3) if (down, right) != (0, 0)]
    padded = np.pad(counts, 2)
    return np.stack([padded[rows + 2 + down, columns + 2 + right] for down, right in steps], axis=1)
