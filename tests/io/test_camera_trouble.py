"""A driver that raises, hangs, dies or delivers garbage, and a slow reader: each is reported and counted."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading

import pytest
from camera_helpers import as_dv, fake_camera, live, read_events, wait_until
from recordings import assert_same, cut, make_events

from eventveil import EventPacket, Sensor
from eventveil.errors import CameraError
from eventveil.io.camera import link


@pytest.fixture
def dvxplorer(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "dv")
    camera = live("dv://")
    camera.connect(within_s=0)
    yield fake, camera
    camera.close()


def test_a_driver_that_raises_is_not_quoted(dvxplorer):
    fake, camera = dvxplorer
    fake.emit(as_dv(make_events(5, start_us=77_777)), crash=True)
    with pytest.raises(CameraError, match="its driver raised RuntimeError; unplug") as lost:
        wait_until(lambda: False, camera)
    assert "project" not in str(lost.value)
    assert "7777" not in str(lost.value)


def test_a_driver_that_hangs_is_ended(dvxplorer):
    fake, camera = dvxplorer
    fake.emit(as_dv(make_events(5)), hang=True)
    with pytest.raises(CameraError, match="its driver did not return within 5 s"):
        wait_until(lambda: False, camera)


def test_a_process_that_is_killed_is_missed(dvxplorer):
    _, camera = dvxplorer
    os.kill(camera._link._process.pid, signal.SIGKILL)
    with pytest.raises(CameraError, match=r"its driver's process has died \(killed by SIGKILL\)"):
        wait_until(lambda: False, camera)


def test_a_process_that_is_stopped_is_missed(dvxplorer, monkeypatch):
    _, camera = dvxplorer
    monkeypatch.setattr(link, "SILENCE_S", 1.0 - link.STUCK_S)
    os.kill(camera._link._process.pid, signal.SIGSTOP)
    with pytest.raises(CameraError, match="its driver's process has been silent for 1 s"):
        wait_until(lambda: False, camera)


def test_no_process_outlives_its_camera(dvxplorer):
    fake, camera = dvxplorer
    process = camera._link._process
    camera.close()
    assert process.poll() is not None
    assert fake.recorded("interval_ms") == 5


def test_a_program_with_a_thousand_open_files_reads_a_camera(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "dv")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("fewer files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while opened.enter_context(open(os.devnull)).fileno() < 1100:  # noqa: PTH123
            pass
        camera = live("dv://")
        opened.callback(camera.close)
        camera.connect(within_s=0)
        events = make_events(50, sensor=Sensor(640, 480))
        fake.emit(as_dv(events))
        assert_same(read_events(camera, 50), events)


def test_what_is_not_on_the_sensor_is_left_out_and_counted(dvxplorer):
    fake, camera = dvxplorer
    good = make_events(10, sensor=Sensor(640, 480), start_us=10)
    data = as_dv(good)
    data["x"][3], data["y"][5], data["polarity"][7] = -4, 480, 71
    fake.emit(data)
    kept = [n for n in range(10) if n not in (3, 5, 7)]
    assert_same(read_events(camera, 7), EventPacket(*(getattr(good, name)[kept] for name in "txyp")))
    assert (camera.counters.read, camera.counters.damaged, camera.counters.delivered) == (10, 3, 7)


def test_a_slow_reader_loses_the_oldest_events_and_they_are_counted(tmp_path, monkeypatch):
    fake = fake_camera(tmp_path, monkeypatch, "dv")
    camera = live("dv://", max_age_ms=200)
    camera.connect(within_s=0)
    events = make_events(400_000, sensor=Sensor(640, 480))
    try:
        for part in cut(events, *range(20_000, 400_000, 20_000)):
            fake.emit(as_dv(part))
        wait_until(lambda: fake.untaken == 0)  # all of them are in the camera's process, and unread
        threading.Event().wait(0.5)
        fake.emit(as_dv(make_events(7, sensor=Sensor(640, 480), start_us=int(events.t[-1]))))
        wait_until(lambda: camera.counters.read == 400_007, camera)
        counters = camera.counters
        assert counters.dropped > 0
        assert counters.read == counters.delivered + counters.dropped
        assert camera.incidents == {"backlog"}
    finally:
        camera.close()
