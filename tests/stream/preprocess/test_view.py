"""Preprocessing between camera and windows: mounting, crop, resolution, polarity and noise."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import assert_same, make_events
from reference_preprocess import cleaned, turned
from strategies import events, records

from eventveil import EventPacket, Sensor
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.preprocess.noise_filter import NoiseFilter
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.settings.pipeline import SceneSettings

pytestmark = pytest.mark.kernel

WIDE = Sensor(12, 8)
EVERYTHING = {"crop": "all", "pixels": "all"}


def window(events, sensor, scene, *, size=None, trained=None):
    """Return all events in one window, as the pipeline would cut it."""
    settings = SceneSettings.model_validate(scene)
    view = View.of(sensor, settings, size or (1, 1), trained)
    histogrammer = WindowedHistogrammer(
        view.sensor,
        size,
        bins=1,
        bin_us=2**30,
        crop=view.crop,
        field=view.field,
        flip_x=view.flip_x,
        flip_y=view.flip_y,
    )
    list(histogrammer.push(SceneFilter(sensor, settings, view).see(events)))
    return next(histogrammer.finish()).counts[0]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_mounting_turns_and_mirrors_the_picture(degrees, mirror):
    events = make_events(500, sensor=WIDE)
    plain = window(events, WIDE, EVERYTHING)
    got = window(events, WIDE, EVERYTHING | {"rotate": degrees, "mirror": mirror})
    np.testing.assert_array_equal(got, turned(plain, degrees, mirror=mirror))
    assert got.sum() == 500


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_crop_is_in_pixels_of_the_sensor_however_it_is_mounted(degrees):
    events = make_events(500, sensor=WIDE)
    whole = window(events, WIDE, EVERYTHING)
    got = window(events, WIDE, {"crop": [1, 2, 7, 5], "pixels": "all", "rotate": degrees})
    np.testing.assert_array_equal(got, turned(whole[:, 2:7, 1:8], degrees))


@pytest.mark.parametrize("degrees", [0, 90])
def test_the_middle_is_looked_at_with_as_many_pixels_as_in_training(degrees):
    events = make_events(5000, sensor=WIDE)
    middle = window(events, WIDE, EVERYTHING)[:, :, 2:10]
    thin = middle[:, 1::2, 1::2]  # of 8 x 8 pixels, the middle one of every two
    got = window(events, WIDE, {"rotate": degrees}, size=(2, 2), trained=(4, 4))
    np.testing.assert_array_equal(got, turned(thin.reshape(2, 2, 2, 2, 2).sum(axis=(2, 4)), degrees))


def test_all_pixels_of_the_middle_count_where_that_is_asked_or_training_is_not_known():
    events = make_events(5000, sensor=WIDE)
    whole = window(events, WIDE, EVERYTHING)[:, :, 2:10]
    want = whole.reshape(2, 2, 4, 2, 4).sum(axis=(2, 4))
    np.testing.assert_array_equal(window(events, WIDE, {"pixels": "all"}, size=(2, 2), trained=(4, 4)), want)
    np.testing.assert_array_equal(window(events, WIDE, {}, size=(2, 2)), want)


def test_a_camera_like_those_of_the_training_is_taken_as_it_is():
    view = View.of(Sensor(128, 128), SceneSettings(), (32, 32), (128, 128))
    assert view == View(Sensor(128, 128), (0, 0, 128, 128), (128, 128))


def test_polarity_is_swapped_and_nothing_else():
    events = make_events(50, sensor=WIDE)
    scene = SceneSettings(swap_polarity=True)
    seen = SceneFilter(WIDE, scene, View.of(WIDE, scene, (1, 1))).see(events)
    assert_same(seen, EventPacket(events.t, events.x, events.y, ~events.p))


def test_a_scene_without_settings_passes_packets_on_unchanged():
    events = make_events(50, sensor=WIDE)
    scene = SceneFilter(WIDE, SceneSettings(), View.of(WIDE, SceneSettings(), (1, 1)))
    assert scene.see(events) is events
    assert scene.counts() == {"hot_pixels": 0, "hot": 0, "noise": 0}


@given(
    st.lists(events(ordered=False), min_size=1, max_size=4),
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=6),
    st.sampled_from((None, 1, 5, 40)),
    st.booleans(),
)
def test_cleaning_equals_the_slow_twin(stream, hot, noise_us, in_records):
    sensor = Sensor(6, 4)  # smaller than the range of the events: those beyond are not filtered
    noise_filter = NoiseFilter(sensor, noise_us)
    if hot:
        noise_filter.hot = np.zeros((sensor.height, sensor.width), np.bool_)
        for x, y in hot:
            noise_filter.hot[y, x] = True
    got = [noise_filter(records(packet) if in_records else packet) for packet in stream]
    kept, masked, lonely = cleaned(stream, sensor, hot=hot, noise_us=noise_us)
    for packet, indices, filtered in zip(stream, kept, got, strict=True):
        assert_same(filtered, EventPacket(packet.t[indices], packet.x[indices], packet.y[indices], packet.p[indices]))
        assert filtered.until_us == packet.until_us
    assert (noise_filter.masked, noise_filter.isolated) == (masked, lonely)


@pytest.mark.parametrize("noise_us", [2_000, 5_000, 10_000])
def test_the_very_events_are_kept_that_dv_processing_keeps(noise_us):
    dv = pytest.importorskip("dv_processing")
    sensor, n, random = Sensor(40, 30), 3_000, np.random.default_rng(0)
    t = 1_000_000 + np.cumsum(random.integers(0, 60, n))  # late: to dv-processing, all pixels fired at 0
    noise = EventPacket.of(t, random.integers(0, 40, n), random.integers(0, 30, n), random.integers(0, 2, n))
    store = dv.EventStore()
    for event in zip(noise.t.tolist(), noise.x.tolist(), noise.y.tolist(), noise.p.tolist(), strict=True):
        store.push_back(*event)
    theirs = dv.noise.BackgroundActivityNoiseFilter((40, 30), timedelta(microseconds=noise_us))
    theirs.accept(store)
    kept = theirs.generateEvents().numpy()
    assert 0 < len(kept) < n
    assert_same(
        NoiseFilter(sensor, noise_us)(noise),
        EventPacket.of(kept["timestamp"], kept["x"], kept["y"], kept["polarity"]),
    )


def test_noise_goes_and_an_edge_stays():
    random = np.random.default_rng(1)
    sensor = Sensor(100, 100)
    t = np.sort(random.integers(0, 1_000_000, 2_000))
    noise = EventPacket.of(
        t, random.integers(0, 100, 2_000), random.integers(0, 100, 2_000), random.integers(0, 2, 2_000)
    )
    steps = np.repeat(np.arange(100), 100)  # a line of 100 pixels that moves by one every 10 ms
    edge = EventPacket.of(steps * 10_000 + np.tile(np.arange(100), 100), steps, np.tile(np.arange(100), 100), steps % 2)
    assert len(NoiseFilter(sensor, 5_000)(noise)) < 0.02 * len(noise)
    assert len(NoiseFilter(sensor, 5_000)(edge)) > 0.98 * len(edge)
