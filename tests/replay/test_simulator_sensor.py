"""The simulated sensor: pictures to events, against a slow twin and the documented behaviour of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference_simulator import Pixel

from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.replay.simulation import sensor
from eventveil.replay.simulation.sensor import BUS_EVENTS, DARK, LOGARITHM, EventSensor, Pixels

SMALL = Sensor(3, 2)
STILL = {"mismatch": 0.0, "leak_hz": 0.0, "shot_hz": 0.0}  # pixels that respond to light alone
FAST = {"bandwidth_hz": 1e6}
STEP_US = 1_000

pictures_of_small = st.integers(1, 6).flatmap(
    # Values near each other and far apart: steps below a threshold, and steps across many.
    lambda n: arrays(np.uint16, (n, 2, 3), elements=st.sampled_from([0, 900, 1000, 1150, 1400, 9000, 65_535]))
)


def columns(packet):
    return [packet.t.tolist(), packet.x.tolist(), packet.y.tolist(), packet.p.tolist()]


def watch(values, *, sensor=None, step_us=STEP_US, noise=0, **pixels):
    """Return all events of a sensor whose pixels all get these values, one after another."""
    sensor = sensor or Sensor(1, 1)
    pictures = np.repeat(np.array(values, np.uint16), sensor.width * sensor.height)
    camera = EventSensor(sensor, pixels=Pixels(**pixels), noise=noise, step_us=step_us)
    return camera.watch(pictures.reshape(-1, sensor.height, sensor.width))


def reference(pictures, pixels, *, seed, noise):
    camera = EventSensor(SMALL, pixels=pixels, seed=seed, noise=noise, step_us=STEP_US)
    gain = [2 * math.pi * pixels.bandwidth_hz * STEP_US / 1e6 * (v / 65_535 + DARK) for v in range(65_536)]
    flat = pictures.reshape(len(pictures), -1).astype(int).tolist()
    twins = [
        Pixel(place, float(camera._on[place]), float(camera._off[place]), float(LOGARITHM[value]))
        for place, value in enumerate(flat[0])
    ]
    for frame, picture in enumerate(flat[1:], start=1):
        for twin, value in zip(twins, picture, strict=True):
            twin.meet(
                value,
                float(LOGARITHM[value]),
                gain[value] / (1 + gain[value]),
                start=(frame - 1) * STEP_US,
                step=STEP_US,
                refractory=pixels.refractory_us,
                leak=pixels.leak_hz * (STEP_US / 1e6),
                shot=int(pixels.shot_hz * (STEP_US / 1e6) * 2**31),
                key=sensor._key(noise, frame),
            )
    # The events of a pixel are in order; at equal times, events of the earlier pixel come first.
    return sorted((event for twin in twins for event in twin.events), key=lambda event: event[0])


@pytest.mark.kernel
@given(
    pictures_of_small,
    st.sampled_from([1, 100, 999, 1000, 1001, 2500]),
    st.sampled_from([20.0, 3000.0]),
    st.sampled_from([0.0, 90.0]),
    st.integers(0, 2**60),
)
def test_matches_the_slow_twin(pictures, refractory_us, bandwidth_hz, noise_hz, seed):
    pixels = Pixels(refractory_us=refractory_us, bandwidth_hz=bandwidth_hz, leak_hz=noise_hz, shot_hz=noise_hz)
    expected = reference(pictures, pixels, seed=seed, noise=seed + 1)
    if len(expected) > BUS_EVENTS * 6:
        return  # a full bus loses events; the twin has none
    got = EventSensor(SMALL, pixels=pixels, seed=seed, noise=seed + 1, step_us=STEP_US).watch(pictures)
    assert columns(got) == [
        [t for t, _, _ in expected],
        [place % 3 for _, place, _ in expected],
        [place // 3 for _, place, _ in expected],
        [on for _, _, on in expected],
    ]


@pytest.mark.kernel
@given(pictures_of_small, st.data())
def test_where_pictures_are_cut_does_not_matter(pictures, data):
    cut = data.draw(st.integers(0, len(pictures)))
    one, two = (EventSensor(SMALL, pixels=Pixels(shot_hz=90.0), step_us=STEP_US) for _ in range(2))
    whole = one.watch(pictures)
    parts = [two.watch(pictures[:cut]), two.watch(pictures[cut:])]
    assert columns(whole) == [a + b for a, b in zip(*map(columns, parts), strict=True)]
    assert whole.until_us == parts[1].until_us == (len(pictures) - 1) * STEP_US
    assert (np.diff(whole.t) >= 0).all()
    assert not len(whole) or 0 <= whole.t[0] <= whole.t[-1] < whole.until_us


@pytest.mark.kernel
def test_a_rise_fires_once_a_threshold_at_even_times():
    packet = watch([1_000, 20_000], **STILL, **FAST, on=0.8, refractory_us=1)
    change = LOGARITHM[20_000] - LOGARITHM[1_000]
    assert packet.p.all()
    assert len(packet) == int(change / 0.8) == 3
    expected = STEP_US * 0.8 / change * np.arange(1, len(packet) + 1)
    # Each event's blind time costs a whole microsecond.
    assert np.abs(packet.t - expected).max() <= 1 + len(packet)


@pytest.mark.kernel
def test_a_fall_fires_off_at_its_own_threshold():
    rise = watch([1_000, 20_000], **STILL, **FAST, on=0.7, off=1.2, refractory_us=1)
    fall = watch([20_000, 1_000], **STILL, **FAST, on=0.7, off=1.2, refractory_us=1)
    assert not fall.p.any()
    change = LOGARITHM[20_000] - LOGARITHM[1_000]
    assert (len(rise), len(fall)) == (int(change / 0.7), int(change / 1.2)) == (4, 2)


@pytest.mark.kernel
def test_a_pixel_is_blind_for_the_refractory_time_and_starts_again_from_what_it_sees():
    packet = watch([100, 10_000, 60_000, 60_000, 60_000], **STILL, **FAST, on=0.1, refractory_us=1_500)
    assert len(packet) >= 1
    assert (np.diff(packet.t) >= 1_500).all()
    assert packet.t[-1] < 2_000  # the rise during the blind time is lost


@pytest.mark.kernel
def test_a_pixel_that_is_ready_just_as_a_picture_begins_starts_from_it():
    on = float(LOGARITHM[20_000] - LOGARITHM[1_000]) * 0.999
    packet = watch([1_000, 20_000, 20_000], **STILL, **FAST, on=on, refractory_us=1)
    assert packet.t.tolist() == [999]


@pytest.mark.kernel
def test_a_threshold_that_is_just_reached_fires_before_the_next_picture():
    camera = EventSensor(Sensor(1, 1), pixels=Pixels(**STILL), step_us=STEP_US)
    camera._on[:] = (LOGARITHM[20_000] - LOGARITHM[1_000]) * camera._following[20_000]
    camera._on[:] = (LOGARITHM[1_000] + camera._on) - LOGARITHM[1_000]
    packet = camera.watch(np.array([1_000, 20_000], np.uint16).reshape(2, 1, 1))
    assert packet.t.tolist() == [STEP_US - 1]


@pytest.mark.kernel
def test_less_light_is_followed_more_slowly():
    slow = {**STILL, "bandwidth_hz": 100.0, "refractory_us": 1}
    bright = watch([20_000, 60_000] + [60_000] * 40, **slow)
    dark = watch([200, 800] + [800] * 40, **slow)
    assert bright.t[0] < 2_000
    assert dark.t[0] > 5_000


@pytest.mark.kernel
def test_a_leak_makes_on_events_of_no_change():
    packet = watch([30_000] * 1_001, **{**STILL, "leak_hz": 10.0})
    assert packet.p.all()
    assert 9 <= len(packet) <= 10  # in one second


@pytest.mark.kernel
def test_shot_noise_is_of_both_kinds_and_a_quarter_in_full_light():
    sensor = Sensor(40, 40)
    dark, light = (
        watch([value] * 11, sensor=sensor, noise=5, **{**STILL, "shot_hz": 50.0, "refractory_us": 1})
        for value in (0, 65_535)
    )
    mean = 1_600 * 50 * 0.01
    assert abs(len(dark) - mean) < 4 * mean**0.5
    assert abs(len(light) - mean / 4) < 4 * (mean / 4) ** 0.5
    assert 0.4 < dark.p.mean() < 0.6
    # Spread over the sensor and over time.
    assert len(set(zip(dark.x.tolist(), dark.y.tolist(), strict=True))) > 0.3 * 1_600
    assert np.histogram(dark.t, 10, (0, 10_000))[0].min() > 0.06 * mean
    assert np.histogram(dark.t % STEP_US, 10, (0, STEP_US))[0].min() > 0.06 * mean


@pytest.mark.kernel
def test_thresholds_differ_from_pixel_to_pixel_as_much_as_said():
    sensor = Sensor(60, 60)
    camera = EventSensor(sensor, pixels=Pixels(on=0.2, off=0.4, mismatch=0.1), seed=3)
    for thresholds, usual in ((camera._on, 0.2), (camera._off, 0.4)):
        assert abs(thresholds.mean() / usual - 1) < 0.01
        assert abs(thresholds.std() / usual - 0.1) < 0.01
    assert abs(np.corrcoef(camera._on, camera._off)[0, 1]) < 0.1
    again, other = (EventSensor(sensor, pixels=Pixels(on=0.2), seed=seed) for seed in (3, 4))
    assert (again._on == EventSensor(sensor, pixels=Pixels(on=0.2), seed=3)._on).all()
    assert (again._on != other._on).any()


@pytest.mark.kernel
def test_a_full_bus_loses_events_and_writes_nothing_beyond_its_end():
    sensor = Sensor(4, 4)
    pixels = Pixels(**{**STILL, **FAST, "shot_hz": 100.0, "on": 0.01, "refractory_us": 1})
    camera = EventSensor(sensor, pixels=pixels, step_us=1_000_000)
    buffer = np.full(BUS_EVENTS * 16 + 50, -1)
    camera._t = buffer[:-50]
    pictures = np.zeros((2, 4, 4), np.uint16)
    pictures[1, :3] = 65_535  # the last row stays dark, where noise is most likely
    assert len(camera.watch(pictures)) == BUS_EVENTS * 16
    assert (buffer[-50:] == -1).all()


@pytest.mark.kernel
def test_a_sensor_that_saw_one_picture_or_none_has_no_events():
    camera = EventSensor(SMALL)
    assert columns(camera.watch(np.zeros((0, 2, 3), np.uint16))) == [[], [], [], []]
    first = camera.watch(np.full((1, 2, 3), 9, np.uint16))
    assert len(first) == 0
    assert first.until_us == 0


@pytest.mark.kernel
@pytest.mark.parametrize(
    "pictures", [np.zeros((1, 3, 2), np.uint16), np.zeros((2, 3), np.uint16), np.zeros((1, 2, 3), np.float32)]
)
def test_other_pictures_are_refused(pictures):
    with pytest.raises(EventError, match=r"takes uint16 pictures of shape \(n, 2, 3\)"):
        EventSensor(SMALL).watch(pictures)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("name", "value"), [("on", 0), ("off", math.nan), ("mismatch", 1), ("refractory_us", 0), ("shot_hz", -1)]
)
def test_pixels_out_of_range_are_refused(name, value):
    with pytest.raises(EventError, match=f"{name} of a simulated sensor"):
        Pixels(**{name: value})


@pytest.mark.kernel
@pytest.mark.parametrize("step_us", [0, 1_000_001])
def test_a_step_out_of_range_is_refused(step_us):
    with pytest.raises(EventError, match="pictures of a simulated sensor"):
        EventSensor(SMALL, step_us=step_us)
