"""Hypothesis strategies for events: times at the edges of bins, pixels on and beyond the sensor, arbitrary packets."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from eventveil import EventPacket, Sensor

SENSOR = Sensor(7, 5)
FORWARD_US = (0, 0, 1, 1, 2, 9, 10, 11, 60)
BACK_US = (-1, -10, -35)


@st.composite
def events(draw, sensor=SENSOR, *, max_events=50, ordered=True, beyond=0):
    """Draw a packet, ordered in time or not, with pixels up to `beyond` past the sensor's right and lower edge."""
    n = draw(st.integers(0, max_events))
    steps = draw(st.lists(st.sampled_from(FORWARD_US + (() if ordered else BACK_US)), min_size=n, max_size=n))
    start = draw(st.sampled_from((0, 4, -13)))
    x = st.lists(st.integers(0, sensor.width - 1 + beyond), min_size=n, max_size=n)
    y = st.lists(st.integers(0, sensor.height - 1 + beyond), min_size=n, max_size=n)
    p = st.lists(st.booleans(), min_size=n, max_size=n)
    t = start + np.cumsum(np.array(steps, np.int64))
    times = draw(st.sampled_from((1, 1, 3)))  # repeated events make packets longer than a kernel's block
    return EventPacket.of(*(np.repeat(column, times) for column in (t, draw(x), draw(y), draw(p))))


@st.composite
def cuts(draw, packet):
    """Cut a packet at arbitrary places, often into empty parts, each as columns or as records."""
    places = sorted(draw(st.lists(st.integers(0, len(packet)), max_size=5)))
    parts = [packet[a:b] for a, b in itertools.pairwise([0, *places, len(packet)])]
    return [records(part) if draw(st.booleans()) else part for part in parts]


def records(packet, *, packed=False):
    """Return the same events as read-only views of 16-byte records, or of unaligned 13-byte ones."""
    fields = [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")]
    table = np.zeros(len(packet), np.dtype(fields, align=not packed))
    for name in "txyp":
        table[name] = getattr(packet, name)
    table.flags.writeable = False
    return EventPacket(table["t"], table["x"], table["y"], table["p"], packet.until_us)


def timed(packet, until_us):
    """Return the same packet with the guarantee that no later packet has an event before `until_us`."""
    return EventPacket(packet.t, packet.x, packet.y, packet.p, until_us)


@st.composite
def settings(draw, sensor=SENSOR):
    """Draw settings of a histogrammer in windows mode, as keyword arguments."""
    bins = draw(st.integers(1, 5))
    x, y = draw(st.integers(0, sensor.width - 1)), draw(st.integers(0, sensor.height - 1))
    width, height = draw(st.integers(1, sensor.width - x)), draw(st.integers(1, sensor.height - y))
    crop = draw(st.sampled_from((None, (x, y, width, height))))
    kept_width, kept_height = (width, height) if crop else (sensor.width, sensor.height)
    field = draw(st.sampled_from((None, (draw(st.integers(1, sensor.width)), draw(st.integers(1, sensor.height))))))
    used = (kept_width, kept_height) if field is None else (min(kept_width, field[0]), min(kept_height, field[1]))
    size = (draw(st.integers(1, used[0])), draw(st.integers(1, used[1])))
    return {
        "bins": bins,
        "bin_us": draw(st.sampled_from((1, 3, 10, 20))),
        "hop": draw(st.sampled_from((None, *range(1, bins + 1)))),
        "crop": crop,
        "size": draw(st.sampled_from((None, size))),
        "field": field,
        "flip_x": draw(st.booleans()),
        "flip_y": draw(st.booleans()),
        "start_us": draw(st.sampled_from((None, -20, 5))),
    }
