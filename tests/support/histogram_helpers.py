"""Helpers for tests of the histogrammer: a small sensor, hand-made events, and a summary of windows."""

from __future__ import annotations

import numpy as np

from eventveil import EventPacket, Sensor
from eventveil.stream.histogram import WindowedHistogrammer

SENSOR = Sensor(4, 3)
NOTHING = EventPacket.empty()


def at(*times, x=0, y=0, p=True):
    """Return events of one pixel at these times."""
    n = len(times)
    return EventPacket.of(times, [x] * n, [y] * n, [p] * n)


def histogrammer(**keywords):
    return WindowedHistogrammer(SENSOR, **({"bins": 2, "bin_us": 10} | keywords))


def spans(windows):
    """Summarise windows as (seq, t_start_us, t_end_us, events of each bin)."""
    return [(w.seq, w.t_start_us, w.t_end_us, w.counts.sum(axis=(1, 2, 3)).tolist()) for w in windows]


def random_packet(seed, n, sensor=SENSOR, duration_us=1_000):
    rng = np.random.default_rng(seed)
    return EventPacket.of(
        np.sort(rng.integers(0, duration_us, n)),
        rng.integers(0, sensor.width, n),
        rng.integers(0, sensor.height, n),
        rng.random(n) < 0.4,
    )
