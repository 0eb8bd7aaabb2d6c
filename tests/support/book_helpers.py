"""Small books of random clips."""

from __future__ import annotations

import numpy as np

from eventveil import EventPacket, Sensor
from eventveil.models.book import Book, Word

SENSOR = Sensor(7, 5)
WORDS = (
    Word(label="wave", presence=True, clip=0),
    Word(label="wave", presence=True, clip=0, dx=2, dy=-1, tempo=(2, 3), phase=4, size=0.5),
    Word(label="nobody", presence=False, clip=1),
)


def clip(seed=0, *, events=60, length_us=4 * 120, sensor=SENSOR):
    """Return a clip of random events; with many of them, several have the same time."""
    random = np.random.default_rng(seed)
    return EventPacket.of(
        t=np.sort(random.integers(0, length_us, events)),
        x=random.integers(0, sensor.width, events),
        y=random.integers(0, sensor.height, events),
        p=random.integers(0, 2, events),
    )


def small_book(clips=None, words=WORDS, **settings):
    """Return a book of two random clips of 4 steps of 120 µs, or of these."""
    settings = {"sensor": SENSOR, "steps": 4, "step_us": 120, "bins": 2} | settings
    return Book.compose((clip(0), clip(1)) if clips is None else clips, words, **settings)
