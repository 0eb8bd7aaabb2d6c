"""A recording for tests: a disc that circles in front of a noisy sensor.

It is geometry, not physics: the leading edge of the disc gives ON events, the trailing edge OFF events, and single
pixels fire at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eventveil.events import EventPacket, Sensor

STEP_US = 2_000  # the pattern moves in steps of this length, one per packet
TURN_US = 2_000_000  # once around
EDGE_EVENTS = 120  # per step, shared by the two edges
NOISE_EVENTS = 6  # per step


def moving_disc(sensor: Sensor, seconds: float, *, seed: int = 0) -> Iterator[EventPacket]:
    """Yield a packet for each 2 ms of a circling disc; the same seed gives the same events."""
    random = np.random.default_rng(seed)
    radius = min(sensor.width, sensor.height) / 8
    for start in range(0, int(seconds * 1e6), STEP_US):
        t = np.sort(start + random.integers(0, STEP_US, EDGE_EVENTS + NOISE_EVENTS))
        edge = random.permutation(len(t)) < EDGE_EVENTS
        turn = 2 * np.pi * t / TURN_US
        around = random.uniform(0, 2 * np.pi, len(t))
        x = sensor.width * (0.5 + 0.28 * np.cos(turn)) + radius * np.cos(around)
        y = sensor.height * (0.5 + 0.28 * np.sin(turn)) + radius * np.sin(around)
        # Pixels ahead of the centre, as it moves, grow brighter; those behind it grow darker.
        ahead = -np.sin(turn) * np.cos(around) + np.cos(turn) * np.sin(around) > 0
        x = np.where(edge, x, random.uniform(0, sensor.width, len(t)))
        y = np.where(edge, y, random.uniform(0, sensor.height, len(t)))
        on = np.where(edge, ahead, random.random(len(t)) < 0.5)
        yield EventPacket.of(t, x, y, on)
