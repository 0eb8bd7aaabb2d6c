"""Slow twins of preprocessing: rotated windows, filtered noise, hot pixels."""

from __future__ import annotations

from itertools import product

import numpy as np


def turned(picture, degrees, *, mirror=False):
    """Return an array (..., H, W) turned clockwise, then mirrored left and right."""
    picture = np.rot90(picture, -degrees // 90, axes=(-2, -1))
    return picture[..., ::-1] if mirror else picture


def cleaned(packets, sensor, *, hot=frozenset(), noise_us=None):
    """Return the indices of the kept events of each packet, and the numbers of masked and isolated events."""
    last, kept, masked, isolated = {}, [], 0, 0
    for packet in packets:
        here = []
        for i, (t, x, y) in enumerate(zip(packet.t.tolist(), packet.x.tolist(), packet.y.tolist(), strict=True)):
            on_sensor = x < sensor.width and y < sensor.height
            if on_sensor and (x, y) in hot:
                masked += 1
                continue
            if on_sensor and noise_us is not None:
                near = [last[x + dx, y + dy] for dx, dy in product((-1, 0, 1), repeat=2)
                        if (dx, dy) != (0, 0) and (x + dx, y + dy) in last]  # fmt: skip
                last[x, y] = t
                if not any(t - then < noise_us for then in near):
                    isolated += 1
                    continue
            here.append(i)
        kept.append(here)
    return kept, masked, isolated


def hot_pixels(events, sensor, *, seconds, slices=10, active=8, least=20, contrast=8, cluster=4, most=0.02):
    """Return the (x, y) that fire in most slices of the time, and far more often than the pixels around them."""
    if not len(events):
        return set()
    times = {}
    for t, x, y in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), strict=True):
        times.setdefault((x, y), []).append(t - int(events.t[0]))
    slice_us = round(seconds * 1e6 / slices)
    hot = set()
    for (x, y), when in times.items():
        parts = {min(t // slice_us, slices - 1) for t in when}
        around = [
            len(times.get((x + dx, y + dy), ())) for dx, dy in product(range(-2, 3), repeat=2) if (dx, dy) != (0, 0)
        ]
        if len(parts) >= active and len(when) >= least and len(when) >= contrast * (1 + sorted(around)[-cluster]):
            hot.add((x, y))
    return hot if len(hot) <= most * sensor.width * sensor.height else set()
