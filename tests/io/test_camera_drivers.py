"""Each driver's adapter, on a fake camera below it: every event arrives, and every problem is reported."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from camera_helpers import (
    MODELS,
    PATIENCE_S,
    SENSORS,
    as_columns,
    as_dv,
    evt3,
    fake_camera,
    live,
    read_events,
    wait_until,
)
from recordings import assert_same, cut, make_events

from eventveil import EventPacket, Sensor
from eventveil.errors import CameraError

EVENTS = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])  # of neuromorphic-drivers
EVENT_CD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])  # of the Metavision SDK
URIS = {"neuromorphic": "prophesee://?driver=neuromorphic-drivers", "dv": "dv://", "metavision": "prophesee://"}
DRIVERS = pytest.mark.parametrize("driver", list(URIS))


@pytest.fixture(autouse=True)
def _drivers():
    pytest.importorskip("neuromorphic_drivers")


def shown(driver, events):
    """Return these events as a driver delivers them."""
    if driver == "neuromorphic":
        return evt3(events)
    return as_dv(events) if driver == "dv" else as_columns(events, EVENT_CD)


@DRIVERS
def test_every_event_arrives_as_it_was_and_the_camera_tells_what_it_is(driver, tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, driver)
    sensor = Sensor(*SENSORS[driver])
    events = make_events(3_000, sensor=sensor, start_us=5_000)
    camera = live(URIS[driver])
    camera.connect(within_s=0)
    try:
        assert (camera.sensor, camera.info.serial) == (sensor, "FAKE0001")
        data = shown(driver, events)
        size = 1001 if driver == "neuromorphic" else 450  # USB splits bytes anywhere, even inside words
        for place in range(0, len(data), size):
            fake.emit(data[place : place + size])
        assert_same(read_events(camera, len(events)), events)
        assert camera.incidents == set()
        counters = camera.counters
        assert (counters.read, counters.delivered, counters.dropped, counters.late) == (3_000, 3_000, 0, 0)
    finally:
        camera.close()


@DRIVERS
def test_an_unplugged_camera_is_missed_and_its_time_goes_on_when_it_is_back(driver, tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, driver)
    sensor = Sensor(*SENSORS[driver])
    first, second = make_events(100, sensor=sensor, start_us=900_000), make_events(100, sensor=sensor, seed=1)
    camera = live(URIS[driver])
    camera.connect(within_s=0)
    try:
        fake.emit(shown(driver, first))
        assert_same(read_events(camera, 100), first)
        fake.unplug()
        with pytest.raises(CameraError, match="the camera is gone") as lost:
            wait_until(lambda: False, camera)
        assert lost.value.passing
        threading.Timer(0.3, fake.plug).start()
        camera.connect(within_s=PATIENCE_S)
        fake.emit(shown(driver, second))  # whose clock restarts
        got = read_events(camera, 100)
        np.testing.assert_array_equal(np.diff(got.t), np.diff(second.t))
        assert got.t[0] >= first.t[-1] + 300_000  # it was away for as long
        assert camera.incidents == {"away", "clock"}
        assert (camera.counters.read, camera.counters.delivered) == (200, 200)
    finally:
        camera.close()


@pytest.mark.parametrize(
    ("driver", "wraps_us", "incidents"),
    # The EVT3 decoder counts how often 24 bits have wrapped; where other clocks wrap is unknown.
    [("neuromorphic", 1 << 24, set()), ("dv", 1 << 31, {"clock"}), ("metavision", 1 << 32, {"clock"})],
)
def test_a_clock_that_wraps_goes_on(driver, wraps_us, incidents, tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, driver)
    events = make_events(2_000, sensor=Sensor(*SENSORS[driver]), start_us=wraps_us - 2_000)
    wrapped = EventPacket(events.t % wraps_us, events.x, events.y, events.p)
    camera = live(URIS[driver])
    camera.connect(within_s=0)
    try:
        before, behind = cut(wrapped, int(np.flatnonzero(np.diff(wrapped.t) < 0)[0]) + 1)
        for part in (before, behind):
            fake.emit(shown(driver, part))
        got = read_events(camera, len(events))
        assert_same(got[: len(before)], events[: len(before)])
        np.testing.assert_array_equal(np.diff(got.t[len(before) :]), np.diff(behind.t))
        assert got.t[len(before)] >= events.t[len(before) - 1]
        if not incidents:
            assert_same(got, events)
        assert camera.incidents == incidents
        assert (camera.counters.read, camera.counters.delivered) == (len(events), len(events))
    finally:
        camera.close()


@DRIVERS
def test_a_camera_that_is_not_there_is_waited_for(driver, tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, driver)
    fake.unplug()
    camera = live(URIS[driver])
    try:
        with pytest.raises(CameraError, match="no such camera is attached; plug it in") as absent:
            camera.connect(within_s=0)
        assert absent.value.passing
        pauses = []

        def rest(seconds):
            pauses.extend([seconds] * (seconds > 0))
            if len(pauses) == 2:
                fake.plug()

        camera.connect(None, rest)
        assert camera.info.serial == "FAKE0001"
        assert 0 < pauses[0] < pauses[1]
    finally:
        camera.close()


@DRIVERS
def test_a_camera_is_found_by_its_serial_number(driver, tmp_path, monkeypatch):
    fake_camera(tmp_path, monkeypatch, driver, serial="00050423")
    other = live(URIS[driver].replace("://", "://00099999"))
    with pytest.raises(CameraError, match="no such camera; there are 00050423"):
        other.connect(within_s=0)
    camera = live(URIS[driver].replace("://", "://00050423"))
    camera.connect(within_s=0)
    assert camera.info.serial == "00050423"
    camera.close()


@DRIVERS
def test_a_camera_in_use_says_so(driver, tmp_path, monkeypatch):
    fake_camera(tmp_path, monkeypatch, driver, open_error="Resource busy")
    with pytest.raises(CameraError, match="another program has opened it; close that program"):
        live(URIS[driver]).connect(within_s=0)


# -- neuromorphic-drivers ----------------------------------------------------------------------------------------------


def test_bytes_that_are_missing_cost_no_other_events(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "neuromorphic")
    sensor = Sensor(1280, 720)
    before, lost, behind = cut(make_events(30_000, sensor=sensor), 10_000, 20_000)
    data = [evt3(part) for part in (before, lost, behind)]
    camera = live(URIS["neuromorphic"])
    camera.connect(within_s=0)
    try:
        half = len(data[2]) // 4 * 2
        fake.emit(data[0])
        # The ring overflowed inside a packet: the bytes after the gap directly follow those before it.
        fake.emit(data[1][:501] + data[2][:half], holes=[501], dropped_packets=3)
        fake.emit(data[2][half:], dropped_packets=3)
        got = read_events(camera, 20_000)
        assert_same(got[:10_000], before)
        assert_same(got[len(got) - 10_000 :], behind)
        assert camera.incidents == {"overflow"}
    finally:
        camera.close()


def test_a_hole_is_not_decoded_over(tmp_path, monkeypatch):
    """A packet that begins in the middle: it holds no event before a time word and a row have come."""
    fake = fake_camera(tmp_path, monkeypatch, "neuromorphic")
    sensor = Sensor(1280, 720)
    events = make_events(20_000, sensor=sensor)
    data = evt3(events)
    camera = live(URIS["neuromorphic"])
    camera.connect(within_s=0)
    try:
        fake.emit(data[:1000])
        kept = len(read_events(camera, 1))
        fake.emit(data[21_000:], holes=[0])
        rest = read_events(camera, 1)
        behind = len(rest)
        wait_until(lambda: fake.untaken == 0)
        assert 0 < behind <= len(events) - kept
        assert_same(rest, events[len(events) - behind :])
    finally:
        camera.close()


def test_a_backlog_that_is_too_old_is_given_up_in_the_driver(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "neuromorphic")
    sensor = Sensor(1280, 720)
    old, young = cut(make_events(10_000, sensor=sensor), 9_000)
    data = evt3(old)
    for place in range(0, len(data), 8_000):  # before the first read: a backlog
        fake.emit(data[place : place + 8_000], delay_s=3.0)
    waiting = fake.untaken
    camera = live(URIS["neuromorphic"], max_age_ms=500)
    camera.connect(within_s=0)
    try:
        wait_until(lambda: camera.counters.packets > 0, camera)
        assert fake.recorded("cleared") == 0
        assert camera.counters.packets == waiting
        assert camera.counters.delivered == 0
        assert camera.incidents == {"backlog"}
        fake.emit(evt3(young))
        assert_same(read_events(camera, 1_000), young)
    finally:
        camera.close()


def test_it_is_a_second_way_to_cameras_of_inivation(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "neuromorphic", model="iniVation DAVIS 346", sensor=(346, 260))
    events = make_events(1_000)
    camera = live("dv://?driver=neuromorphic-drivers")
    camera.connect(within_s=0)
    try:
        assert camera.sensor == Sensor(346, 260)
        first, second = cut(events, 500)
        fake.emit(as_columns(first, EVENTS))
        fake.emit(as_columns(second, EVENTS), holes=[0])
        assert_same(read_events(camera, 1_000), events)
        assert camera.incidents == {"overflow"}
    finally:
        camera.close()


def test_without_the_right_to_open_it_the_remedy_is_named(tmp_path, monkeypatch):
    fake_camera(tmp_path, monkeypatch, "neuromorphic", error="Access denied (insufficient permissions)")
    with pytest.raises(CameraError, match="there is no udev rule for it; run: eventveil cameras --udev-rules"):
        live("prophesee://00050423?driver=neuromorphic-drivers").connect(within_s=0)


def test_the_models_here_are_the_drivers():
    import neuromorphic_drivers as nd

    assert MODELS["neuromorphic"] == nd.Name.PROPHESEE_EVK4.value
    assert hasattr(nd.Device if hasattr(nd, "Device") else nd.device.Device, "clear_backlog")
