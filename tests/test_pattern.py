"""The project's own recording: events as a camera would give them, of a disc that circles."""

from __future__ import annotations

import numpy as np
import pytest

from eventveil import Sensor
from eventveil.replay.pattern import EDGE_EVENTS, NOISE_EVENTS, STEP_US, TURN_US, moving_disc

SENSOR = Sensor(64, 48)


def all_of(packets):
    packets = list(packets)
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


@pytest.mark.parametrize("sensor", [SENSOR, Sensor(1, 1), Sensor(1280, 720), Sensor(3, 200)])
def test_events_are_in_order_on_the_sensor_and_in_their_time(sensor):
    packets = list(moving_disc(sensor, 0.3))
    assert len(packets) == 150
    t, x, y, _ = all_of(packets)
    assert (np.diff(t) >= 0).all()
    assert t[0] >= 0
    assert t[-1] < 300_000
    assert x.max() < sensor.width
    assert y.max() < sensor.height
    for number, packet in enumerate(packets):
        assert len(packet) == EDGE_EVENTS + NOISE_EVENTS
        assert packet.t[0] // STEP_US == packet.t[-1] // STEP_US == number


def test_the_same_seed_gives_the_same_events_and_another_others():
    for one, other in zip(all_of(moving_disc(SENSOR, 0.05)), all_of(moving_disc(SENSOR, 0.05)), strict=True):
        np.testing.assert_array_equal(one, other)
    t, _, _, _ = all_of(moving_disc(SENSOR, 0.05, seed=1))
    assert not np.array_equal(t, all_of(moving_disc(SENSOR, 0.05))[0])


def test_no_time_gives_no_events():
    assert list(moving_disc(SENSOR, 0)) == []


@pytest.mark.parametrize("quarter", range(4))
def test_the_disc_goes_around_and_is_brighter_ahead(quarter):
    t, x, y, on = all_of(moving_disc(SENSOR, TURN_US / 1e6))
    angle = quarter * np.pi / 2
    near = np.abs(t - quarter * TURN_US // 4) < TURN_US / 100
    assert near.sum() > 500
    centre = SENSOR.width * (0.5 + 0.28 * np.cos(angle)), SENSOR.height * (0.5 + 0.28 * np.sin(angle))
    assert (np.median(x[near]), np.median(y[near])) == pytest.approx(centre, abs=2)
    # It moves at right angles to the radius: in that direction ON lies ahead of OFF.
    ahead = -np.sin(angle) * x + np.cos(angle) * y
    assert ahead[near & on].mean() > ahead[near & ~on].mean() + 3


def test_some_of_the_events_are_noise_anywhere():
    _, x, y, _ = all_of(moving_disc(SENSOR, 1.0))
    corner = (x < 8) & (y < 8)
    share = corner.sum() / len(x)
    expected = NOISE_EVENTS / (EDGE_EVENTS + NOISE_EVENTS) * 64 / (SENSOR.width * SENSOR.height)
    assert share == pytest.approx(expected, rel=0.5)
