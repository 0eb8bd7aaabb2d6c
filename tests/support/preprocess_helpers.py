"""A simulated scene on a small sensor with hot pixels, for tests of preprocessing."""

from __future__ import annotations

import numpy as np

from eventveil import EventPacket, Sensor

SENSOR = Sensor(40, 30)
PLANTED = {(0, 0), (39, 29), (20, 10), (21, 10), (7, 25)}  # two of them side by side, two in corners


def filmed(hot=PLANTED, *, seconds=4.0, seed=0, rate_hz=400):
    """Return events of hot pixels, a bar that passes repeatedly, a flickering lamp, and noise."""
    random = np.random.default_rng(seed)
    n, end_us = int(seconds * rate_hz), int(seconds * 1e6)
    parts = [(random.integers(0, end_us, n), np.full(n, x), np.full(n, y)) for x, y in sorted(hot)]
    steps = np.arange(int(seconds * 400))
    parts.append((np.repeat(steps * 2500, 15), np.repeat(steps % 40, 15), np.tile(np.arange(15), len(steps))))
    lamp = np.arange(0, end_us, 5_000)
    parts += [(lamp, np.full(len(lamp), x), np.full(len(lamp), y)) for x in (30, 31, 32) for y in (20, 21, 22)]
    noise = int(seconds * 3000)
    parts.append((random.integers(0, end_us, noise), random.integers(0, 40, noise), random.integers(0, 30, noise)))
    t, x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(t, kind="stable")
    return EventPacket.of(t[order], x[order], y[order], random.integers(0, 2, len(t)))


def packets_of(events, each=500):
    return [events[at : at + each] for at in range(0, len(events), each)]
