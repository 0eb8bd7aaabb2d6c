"""A slow and obvious histogrammer: one event at a time, one dictionary entry per bin."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

MAX_COUNT = 65_535


def cell_of(x, y, *, sensor, size=None, crop=None, field=None, flip_x=False, flip_y=False):
    """Return the row and column in which a pixel is counted, or None."""
    left, top, kept_width, kept_height = crop or (0, 0, sensor.width, sensor.height)
    height, width = shape_of(sensor=sensor, size=size, crop=crop, field=field)
    used_width, used_height = used_of(kept_width, kept_height, field)
    column, row = place_of(x - left, kept_width, used_width), place_of(y - top, kept_height, used_height)
    if column is None or row is None:
        return None
    column, row = column * width // used_width, row * height // used_height
    return (height - 1 - row if flip_y else row), (width - 1 - column if flip_x else column)


def place_of(pixel, kept, used):
    """Return the index of a pixel among the `used` ones, or None: the middle pixel of each equal part is used."""
    middles = [math.floor(Fraction(kept, used) * (part + Fraction(1, 2))) for part in range(used)]
    return middles.index(pixel) if pixel in middles else None


def used_of(kept_width, kept_height, field):
    """Return how many columns and rows are used."""
    return (kept_width, kept_height) if field is None else (min(kept_width, field[0]), min(kept_height, field[1]))


def shape_of(*, sensor, size=None, crop=None, field=None, **_):
    """Return the (height, width) of the result."""
    _, _, kept_width, kept_height = crop or (0, 0, sensor.width, sensor.height)
    width, height = size or used_of(kept_width, kept_height, field)
    return height, width


class Histogrammer:
    """Takes packets and collects windows as (seq, t_start_us, t_end_us, counts, events)."""

    def __init__(self, *, bins, bin_us, hop=None, start_us=None, **geometry):
        self.bins, self.bin_us, self.hop, self.start_us = bins, bin_us, hop or bins, start_us
        self.geometry = geometry
        self.stats = SimpleNamespace(received=0, binned=0, late=0, outside=0, saturated=0)
        self.windows = []
        self.seq = 0
        self.counts = {}
        self.events = {}
        self.pending = False

    def end_us(self):
        return self.start_us + (self.seq * self.hop + self.bins) * self.bin_us

    def close(self):
        shape = (2, *shape_of(**self.geometry))
        first = self.seq * self.hop
        window = [self.counts.get(b, np.zeros(shape, int)).copy() for b in range(first, first + self.bins)]
        events = sum(self.events.get(b, 0) for b in range(first, first + self.bins))
        start = self.start_us + first * self.bin_us
        self.windows.append((self.seq, start, start + self.bins * self.bin_us, np.stack(window), events))
        self.seq += 1
        self.pending = False

    def push(self, packet):
        for t, x, y, p in zip(*(getattr(packet, name).tolist() for name in "txyp"), strict=True):
            self.add(t, x, y, int(p))
        if packet.until_us is not None and self.start_us is not None:
            while self.end_us() <= packet.until_us:
                self.close()

    def add(self, t, x, y, p):
        if self.start_us is None:
            self.start_us = t
        while t >= self.end_us():
            self.close()
        self.stats.received += 1
        number = (t - self.start_us) // self.bin_us
        if number < self.seq * self.hop:
            self.stats.late += 1
            return
        cell = cell_of(x, y, **self.geometry)
        if cell is None:
            self.stats.outside += 1
            return
        self.stats.binned += 1
        self.pending = True
        self.events[number] = self.events.get(number, 0) + 1
        counts = self.counts.setdefault(number, np.zeros((2, *shape_of(**self.geometry)), int))
        if counts[p, *cell] == MAX_COUNT:
            self.stats.saturated += 1
        else:
            counts[p, *cell] += 1

    def finish(self):
        if self.pending:
            self.close()


def voxel_grid(packet, *, nodes, t_start_us, t_end_us, **geometry):
    """Return the voxel grid of Zhu et al. 2019 in float64, event by event, for events in the window and the crop."""
    grid = np.zeros((nodes, *shape_of(**geometry)))
    for t, x, y, p in zip(*(getattr(packet, name).tolist() for name in "txyp"), strict=True):
        cell = cell_of(x, y, **geometry)
        if cell is None or not t_start_us <= t < t_end_us:
            continue
        position = (nodes - 1) * (t - t_start_us) / (t_end_us - t_start_us)
        for node in range(nodes):
            grid[node, *cell] += (1 if p else -1) * max(0.0, 1 - abs(node - position))
    return grid
