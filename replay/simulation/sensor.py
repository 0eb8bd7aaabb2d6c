"""Turns pictures into events, as the pixels of an event camera do.

Each pixel takes the logarithm of its light, low-passed with a bandwidth in proportion to the light, and fires when it
has changed by a threshold since the last event. After an event the pixel is blind for the refractory time, then starts
again from its current value. Thresholds differ from pixel to pixel, and between ON and OFF. A leak causes ON events
without any change; shot noise causes events of both polarities, more in the dark. Between two pictures the logarithm is
assumed to change linearly, and an event gets the microsecond at which it crosses the threshold.

Sources: Rebecq et al., ESIM: an Open Event Camera Simulator (CoRL 2018), for the crossing times; Hu et al., v2e: From
Video Frames to Realistic DVS Events (CVPRW 2021), for bandwidth, mismatch, leak and shot noise. Unlike v2e, the
refractory time also holds the pixel's memory, as the reset of the circuit does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.replay.simulation.portable_random import Floats

FULL = 65_535  # the brightest value of a picture
DARK = 0.003  # of full light: the pixel's signal in the dark
LOG_STEP = 2.0**-20  # logarithms are rounded to this, so that they are the same on every machine
BUS_EVENTS = 4  # per pixel and picture on average; events beyond that are lost, as on a full bus

Fired = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]
"""Times, flat pixel indices, and polarities of events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Properties of a sensor's pixels; by default those of a DVS128 at default biases, estimated from its recordings.

    Attributes:
        on, off: thresholds, change of the natural logarithm.
        mismatch: standard deviation of the thresholds between pixels, as a share of them.
        refractory_us: a pixel's blind time after an event.
        bandwidth_hz: of a pixel in full light; below that, in proportion to the light.
        leak_hz: ON events per pixel and second without any change.
        shot_hz: noise events per pixel and second in the dark; a quarter of it in full light.
        shot_on: the share of these that is ON.

    Raises:
        EventError: a value is out of range.
    """

    on: float = 0.17
    off: float = 0.18
    mismatch: float = 0.1
    refractory_us: int = 100
    bandwidth_hz: float = 3_000.0
    leak_hz: float = 0.03
    shot_hz: float = 0.1
    shot_on: float = 0.5

    def __post_init__(self) -> None:
        ranges = {
            "on": (0.01, 10.0),
            "off": (0.01, 10.0),
            "mismatch": (0.0, 0.3),
            "refractory_us": (1, 1_000_000),
            "bandwidth_hz": (0.1, 1e6),
            "leak_hz": (0.0, 100.0),
            "shot_hz": (0.0, 100.0),
            "shot_on": (0.0, 1.0),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise EventError(f"{name} of a simulated sensor is {low:g} to {high:g}, got {value:g}")


class EventSensor:
    """An event sensor that is shown pictures, one every `step_us`.

    Args:
        sensor: geometry.
        pixels: properties of its pixels; None for the default.
        seed: seed of the mismatch; the same seed gives the same camera.
        noise: seed of the noise; equal seeds and pictures give equal events on every machine.
        step_us: time between pictures.

    Raises:
        EventError: `step_us` is not 1 to 1,000,000.
    """

    def __init__(
        self, sensor: Sensor, *, pixels: Pixels | None = None, seed: int = 0, noise: int = 0, step_us: int = 2_000
    ) -> None:
        if not 1 <= step_us <= 1_000_000:
            raise EventError(f"pictures of a simulated sensor are 1 to 1,000,000 µs apart, got {step_us}")
        self.sensor = sensor
        self._pixels = pixels or Pixels()
        self._seed, self._noise = seed, noise
        self._step_us = step_us
        self._frame = 0
        size = sensor.width * sensor.height
        self._on = self._thresholds(self._pixels.on, 1)
        self._off = self._thresholds(self._pixels.off, 2)
        # A first-order low pass, implicit Euler: the share of the difference that it follows, by light.
        gain = 2 * math.pi * self._pixels.bandwidth_hz * step_us / 1e6 * LIGHT
        self._following = gain / (1 + gain)
        self._filtered = np.zeros(size)  # the low-passed logarithm of each pixel
        self._memory = np.zeros(size)  # its value at the last event
        self._ready_us = np.zeros(size, np.int64)  # when the pixel can fire again
        bus = BUS_EVENTS * size
        self._t, self._at, self._p = np.empty(bus, np.int64), np.empty(bus, np.int64), np.empty(bus, np.bool_)

    def watch(self, pictures: npt.NDArray[np.uint16]) -> EventPacket:
        """Return the events up to the last of these pictures, in time order.

        The first picture of all, at time 0, sets the initial state of the pixels and gives no event.

        Args:
            pictures: uint16 (n, height, width), linear intensity.

        Raises:
            EventError: pictures of another shape or dtype.
        """
        shape = (self.sensor.height, self.sensor.width)
        if pictures.dtype != np.uint16 or pictures.ndim != 3 or pictures.shape[1:] != shape:
            raise EventError(
                f"a simulated sensor of {self.sensor} takes uint16 pictures of shape (n, {shape[0]}, {shape[1]}), "
                f"got {pictures.dtype} of shape {pictures.shape}"
            )
        parts = [self._watch_one(picture.reshape(-1)) for picture in pictures]
        t, at, p = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else self._nothing()
        order = np.argsort(t, kind="stable")
        t, at, p = t[order], at[order], p[order]
        width = self.sensor.width
        until_us = max(self._frame - 1, 0) * self._step_us
        return EventPacket(t, (at % width).astype(np.uint16), (at // width).astype(np.uint16), p, until_us=until_us)

    def _watch_one(self, picture: npt.NDArray[np.uint16]) -> Fired:
        if self._frame == 0:
            self._filtered[:] = self._memory[:] = LOGARITHM[picture]
            self._frame = 1
            return self._nothing()
        from eventveil.replay.simulation.sensor_kernels import expose

        pixels, step_s = self._pixels, self._step_us / 1e6
        n = expose(
            picture, LOGARITHM, self._following, self._filtered, self._memory, self._ready_us, self._on, self._off,
            (self._frame - 1) * self._step_us, self._step_us, pixels.refractory_us,
            pixels.leak_hz * step_s, int(pixels.shot_hz * step_s * 2**31), int((1 - pixels.shot_on) * 2**32),
            _key(self._noise, self._frame), self._t, self._at, self._p,
        )  # fmt: skip
        self._frame += 1
        return self._t[:n].copy(), self._at[:n].copy(), self._p[:n].copy()

    @staticmethod
    def _nothing() -> Fired:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)

    def _thresholds(self, usual: float, kind: int) -> Floats:
        """Spread the thresholds of pixels; the sum of twelve uniform draws approximates a normal deviate."""
        from eventveil.replay.simulation.sensor_kernels import scatter_all

        size = self.sensor.width * self.sensor.height
        places = np.arange(size, dtype=np.int64)
        deviate = np.full(size, -6.0)
        for draw in range(12):
            deviate += scatter_all(places, _key(self._seed, -(12 * kind + draw))) / 2.0**32
        return usual * np.maximum(1 + self._pixels.mismatch * deviate, 0.1)


LIGHT: Floats = np.arange(FULL + 1) / FULL + DARK
"""The light of each value of a picture, (65536,)."""
LOGARITHM: Floats = np.round(np.log(LIGHT) / LOG_STEP) * LOG_STEP
"""Its natural logarithm, rounded, (65536,)."""


def _key(seed: int, frame: int) -> int:
    """Mix two numbers into 32 bits (SplitMix64, Steele et al. 2014)."""
    word = (seed * 0x9E3779B97F4A7C15 + frame * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return word >> 32
