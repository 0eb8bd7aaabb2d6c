"""Removes sensor noise before windows are cut: events of hot pixels, and isolated events.

A hot pixel fires whatever it sees. Background activity is the rest of a sensor's noise: isolated events, while moving
objects make neighbouring pixels fire soon after each other.

Source of the filter: T. Delbruck, "Frame-free dynamic digital vision", 2008: an event is kept if one of its eight
neighbours had an event shortly before.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventveil.events import EventPacket, Sensor
from eventveil.stream.histogram.kernels import ByLayout, types

NEVER_US = -(2**62)  # before every event, and far enough from the ends of int64 to be subtracted


def _clean(t, x, y, p, width, height, hot, last, noise_us, kept_t, kept_x, kept_y, kept_p):  # type: ignore[no-untyped-def]
    """Copy the events to keep to the front of `kept_*`.

    `hot` is (height * width,) bytes, empty if there is no mask. `last` is ((height + 2) * (width + 2),), the time of
    each pixel's last event, with a margin of one pixel, so that every pixel has eight neighbours; with `noise_us` 0 it
    is not used. Events beyond the sensor are kept: the histogrammer counts them.

    Returns:
        The numbers of events that are kept, removed as hot, and removed as isolated.
    """
    kept, masked, isolated = 0, 0, 0
    stride = width + 2
    for i in range(len(t)):
        column, row = np.int64(x[i]), np.int64(y[i])
        if column < width and row < height:
            if len(hot) > 0 and hot[row * width + column] != 0:
                masked += 1
                continue
            if noise_us > 0:
                here = (row + 1) * stride + column + 1
                newest = max(last[here - 1], last[here + 1])
                for around in range(-1, 2):
                    newest = max(newest, last[here - stride + around], last[here + stride + around])
                last[here] = t[i]
                if t[i] - newest >= noise_us:
                    isolated += 1
                    continue
        kept_t[kept], kept_x[kept], kept_y[kept], kept_p[kept] = t[i], x[i], y[i], p[i]
        kept += 1
    return kept, masked, isolated


_clean_packet = ByLayout(
    _clean, 4, types.UniTuple(types.int64, 3),
    types.int64, types.int64, types.uint8[::1], types.int64[::1], types.int64,
    types.int64[::1], types.uint16[::1], types.uint16[::1], types.uint8[::1],
)  # fmt: skip


class NoiseFilter:
    """Removes the events of hot pixels and, optionally, background activity.

    Args:
        sensor: geometry of the camera.
        noise_us: keep an event only if a neighbour had one less than this many microseconds before; None keeps all.

    Attributes:
        hot: bool (height, width), pixels whose events are removed; None removes none.
        masked: number of events removed because their pixel is hot.
        isolated: number of events removed because no neighbour fired shortly before.
    """

    def __init__(self, sensor: Sensor, noise_us: int | None = None) -> None:
        self.hot: npt.NDArray[np.bool_] | None = None
        self.masked = 0
        self.isolated = 0
        self._sensor = sensor
        self._noise_us = noise_us or 0
        margin = (sensor.width + 2) * (sensor.height + 2) if self._noise_us else 0
        self._last = np.full(margin, NEVER_US, np.int64)

    def __call__(self, packet: EventPacket) -> EventPacket:
        """Return the events of a packet that are kept; the packet itself if there is nothing to filter."""
        if not len(packet) or (self.hot is None and not self._noise_us):
            return packet
        t, x, y, p = packet.t, packet.x, packet.y, packet.p.view(np.uint8)
        n = len(packet)
        out = np.empty(n, np.int64), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8)
        hot = np.empty(0, np.uint8) if self.hot is None else self.hot.view(np.uint8).reshape(-1)
        kept, masked, isolated = _clean_packet(
            t, x, y, p, self._sensor.width, self._sensor.height, hot, self._last, self._noise_us, *out
        )
        self.masked += masked
        self.isolated += isolated
        return EventPacket(out[0][:kept], out[1][:kept], out[2][:kept], out[3][:kept].view(np.bool_), packet.until_us)
