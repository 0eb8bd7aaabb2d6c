"""Hot pixels: found where they were planted, nowhere else, and stored for the camera, readable by its owner alone."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest
from preprocess_helpers import PLANTED, SENSOR, filmed, packets_of
from recordings import assert_same
from reference_preprocess import hot_pixels
from strategies import records

from eventveil import EventPacket, Sensor
from eventveil.errors import ConfigError
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile, state_folder
from eventveil.stream.preprocess.hot_pixels import MAX_SHARE, HotPixelSearch
from eventveil.stream.preprocess.view import SceneFilter, View
from eventveil.stream.settings.pipeline import SceneSettings

pytestmark = pytest.mark.kernel

SECONDS = 3.0


def search_in(packets, seconds=SECONDS):
    search = HotPixelSearch(SENSOR, seconds)
    for packet in packets:
        if not search.is_over:
            search.add(packet)
    return search


def places(hot):
    rows, columns = np.nonzero(hot)
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize("in_records", [False, True])
def test_planted_pixels_are_found_and_no_others(in_records):
    packets = [records(packet) if in_records else packet for packet in packets_of(filmed())]
    search = search_in(packets)
    assert search.is_over
    assert places(search.hot_pixels()) == PLANTED


@pytest.mark.parametrize("seed", range(4))
def test_the_search_equals_the_slow_twin(seed):
    random = np.random.default_rng(seed)
    share = random.permutation(np.arange(1.0, 3001.0)) ** -1.3  # a few pixels fire most
    pixel = random.choice(3000, 9_000, p=share / share.sum())
    pixels = pixel % 60, pixel // 60
    events = EventPacket.of(np.sort(random.integers(0, 3_000_000, 9_000)), *pixels, random.integers(0, 2, 9_000))
    sensor = Sensor(60, 50)
    search = HotPixelSearch(sensor, SECONDS)
    for packet in packets_of(events, 1000):
        search.add(packet)
    expected = hot_pixels(events, sensor, seconds=SECONDS)
    assert places(search.hot_pixels()) == expected
    assert expected, "a twin that finds nothing proves nothing"
    assert search.counts.sum() == len(events)


def test_the_search_is_over_when_the_camera_says_so_though_nothing_moves():
    search = search_in([filmed(seconds=1.0), EventPacket.empty(until_us=2_900_000)])
    assert not search.is_over
    search.add(EventPacket.empty(until_us=3_100_000))
    assert search.is_over


def test_silence_before_the_first_event_begins_nothing():
    search = HotPixelSearch(SENSOR, SECONDS)
    search.add(EventPacket.empty(until_us=10**9))
    assert not search.is_over
    search.add(EventPacket.of([10**9], [1], [2], [True]))
    assert not search.is_over
    assert search.counts.sum() == 1


def test_events_off_the_sensor_are_passed_over():
    search = HotPixelSearch(SENSOR, SECONDS)
    across, down = SENSOR.width, SENSOR.height
    search.add(EventPacket.of([0, 1, 2], [across, 0, 3], [0, down, 4], [True] * 3))
    assert places(search.counts) == {(3, 4)}


def test_a_scene_that_stands_out_as_a_whole_is_left_alone():
    xs, ys = np.meshgrid(np.arange(0, 40, 5), np.arange(0, 30, 5))
    everywhere = set(zip(xs.ravel().tolist(), ys.ravel().tolist(), strict=True))
    assert len(everywhere) > MAX_SHARE * 40 * 30
    assert not search_in(packets_of(filmed(everywhere))).hot_pixels().any()


def scene(serial=None, **settings):
    settings = SceneSettings.model_validate(settings)
    return SceneFilter(SENSOR, settings, View.of(SENSOR, settings, (1, 1)), serial=serial)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "eventveil" / "hot_pixels"


def test_a_camera_is_masked_after_the_first_seconds_and_from_the_beginning_the_next_time(home):
    events = filmed(seconds=5.0)
    first = scene("DXB00010")
    filtered = [first.see(packet) for packet in packets_of(events)]
    hot = np.isin(events.x + 100 * events.y.astype(int), [x + 100 * y for x, y in PLANTED])
    counts = first.counts()
    assert counts["hot_pixels"] == len(PLANTED)
    assert sum(map(len, filtered)) + counts["hot"] == len(events)
    late = events.t > SECONDS * 1e6 + 100_000
    assert np.count_nonzero(hot & late) <= counts["hot"] < np.count_nonzero(hot)

    (file,) = home.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    again = scene("DXB00010")
    assert again.counts()["hot_pixels"] == len(PLANTED)
    assert_same(again.see(events), EventPacket(events.t[~hot], events.x[~hot], events.y[~hot], events.p[~hot]))
    assert scene("DXB00011").counts()["hot_pixels"] == 0


def test_anew_forgets_what_is_remembered_and_off_does_not_look(home):
    HotPixelFile("S", SENSOR).save(np.ones((30, 40), np.bool_))
    assert scene("S").counts()["hot_pixels"] == 1200
    assert scene("S", hot_pixels="off").counts()["hot_pixels"] == 0
    anew = scene("S", hot_pixels="anew")
    for packet in packets_of(filmed()):
        anew.see(packet)
    assert anew.counts()["hot_pixels"] == len(PLANTED)
    assert places(HotPixelFile("S", SENSOR).load()) == PLANTED


def test_a_recording_is_masked_only_where_that_is_asked_and_nothing_is_kept_of_it(home):
    for setting, number in (("auto", 0), ("mask", len(PLANTED))):
        played = scene(hot_pixels=setting)
        for packet in packets_of(filmed()):
            played.see(packet)
        assert played.counts()["hot_pixels"] == number
    assert not home.exists()


def test_a_folder_that_cannot_be_written_costs_the_memory_and_not_the_pipeline(home):
    home.parent.write_text("in the way")
    live = scene("S")
    for packet in packets_of(filmed()):
        live.see(packet)
    assert live.counts()["hot_pixels"] == len(PLANTED)
    assert live.counts()["unkept"] == 1
    with pytest.raises(ConfigError, match="hot pixels cannot be kept"):
        HotPixelFile("S", SENSOR).save(np.zeros((30, 40), np.bool_))


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"serial": "T", "sensor": "40x30", "pixels": []}',
     b'{"serial": "S", "sensor": "40x31", "pixels": []}', b'{"serial": "S", "sensor": "40x30", "pixels": [[40, 0]]}',
     b'{"serial": "S", "sensor": "40x30", "pixels": [[0, -1]]}',
     b'{"serial": "S", "sensor": "40x30", "pixels": [[1]]}'],
)  # fmt: skip
def test_a_damaged_file_is_ignored(home, damage):
    file = HotPixelFile("S", SENSOR)
    file.save(np.zeros((30, 40), np.bool_))
    assert file.load() is not None
    file.path.write_bytes(damage)
    assert file.load() is None


def test_forgetting_says_whether_there_was_something(home):
    file = HotPixelFile("S", SENSOR)
    assert not file.forget()
    file.save(np.zeros((30, 40), np.bool_))
    assert file.forget()
    assert file.load() is None


@pytest.mark.parametrize("serial", ["../../etc/passwd", "a/b", "", "x" * 500, "\0", ".."])
def test_a_serial_cannot_lead_out_of_the_folder(home, serial):
    file = HotPixelFile(serial, SENSOR)
    file.save(np.zeros((30, 40), np.bool_))
    assert file.path.parent == home
    assert file.load() is not None
    assert json.loads(file.path.read_text())["serial"] == serial
    assert [path.parent for path in home.parent.rglob("*.json")] == [home]


def test_the_state_folder_follows_the_specification(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert state_folder() == tmp_path / ".local" / "state" / "eventveil"
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path / "own"))
    assert state_folder() == tmp_path / "own" / "eventveil"
