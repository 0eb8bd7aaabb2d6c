"""The source stage of a live camera: its windows are released by the clock, whatever the camera sees."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pipeline_helpers import SENSOR, link, received, signals

from eventveil.io.camera import live
from eventveil.io.camera.device import CameraInfo
from eventveil.io.camera.frames import EVENTS, TICK, Frame, Head, Totals
from eventveil.io.camera.offset import SLEW_PPM
from eventveil.io.formats.aedat4 import RECORD
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import unpack
from eventveil.stream.settings.pipeline import SourceSettings
from eventveil.stream.stages import camera as camera_stage
from eventveil.stream.stages.camera import CameraSource

WINDOW_US, WINDOWS, RELEASE_MS = 100_000, 30, 250
PLAN = WindowPlan(mode="windows", bins=1, bin_us=WINDOW_US, hop=None, size=(SENSOR.width, SENSOR.height))
START_NS = 10**13  # of the stream, on this machine's clock
FRAME_US = 5_000  # how often the driver delivers


def frames(busy, seed):
    """What a driver delivers, up to 15 ms late: an event every millisecond while busy, else one in a second."""
    random = np.random.default_rng(seed)
    for start_us in range(0, WINDOWS * WINDOW_US + FRAME_US, FRAME_US):
        window = start_us // WINDOW_US
        moving = window == 0 or window >= len(busy) or busy[window]
        t = np.arange(start_us, start_us + FRAME_US, 1_000) if moving else np.arange(0)
        if not moving and start_us % (10 * WINDOW_US) == 45_000:
            t = np.array([start_us + 1_234])
        events = np.zeros(len(t), RECORD)
        events["t"] = t
        stamp_ns = START_NS + (start_us + FRAME_US) * 1000 + (int(random.integers(15_000_000)) if len(t) else 0)
        yield Frame(Head(EVENTS if len(t) else TICK, 0, events.nbytes, stamp_ns, Totals()), events, {})


class Link:
    """A camera's process that has delivered everything already."""

    def __init__(self, frames):
        self.info = CameraInfo(driver="fake", model="fake", sensor=SENSOR)
        self._frames = frames

    def read(self, seconds):
        return next(self._frames)

    def close(self):
        pass


def release_times_ns(monkeypatch, busy, seed):
    monkeypatch.setattr(live, "CameraLink", lambda *_: Link(frames(busy, seed)))
    counters = PipelineCounters(("histogram:cam",), ("cam",))["histogram:cam"]
    with link(hwm=100) as (push, pull):
        source = SourceSettings(
            uri="dv://", stream="cam", stop_s=WINDOWS * WINDOW_US / 1e6, scene={"hot_pixels": "off"}
        )
        sender = EdgeSender(push, 100, "lossless", counters, lambda: False)
        stage = CameraSource(source, PLAN, sender, counters, release_ms=RELEASE_MS, max_age_ms=1000)
        stage.run(signals(), SimpleNamespace(beat=lambda: None))
        messages = [unpack(frames) for frames in received(pull)]
    return [message.window.origin.release_ns for message in messages if message.window is not None]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_are_released_at_the_same_times_whatever_moves(monkeypatch, seed):
    scenes = ([True] * WINDOWS, [False] * WINDOWS, [True, False] * (WINDOWS // 2))
    times_ns = [release_times_ns(monkeypatch, busy, seed) for busy in scenes]
    assert [len(one) for one in times_ns] == [WINDOWS] * len(scenes)
    for one in times_ns:
        steps_ns = np.diff(one) - WINDOW_US * 1000
        assert np.abs(steps_ns).max() <= WINDOW_US * SLEW_PPM // 1000
        assert abs(one[0] - START_NS - (WINDOW_US + RELEASE_MS * 1000) * 1000) < 25_000_000


@pytest.mark.parametrize(("bins", "hop"), [(1, 1), (10, 1), (10, 5), (10, 10)])
def test_after_a_restart_numbers_go_on_with_the_time_also_of_windows_that_overlap(monkeypatch, bins, hop):
    """What was not made meanwhile is counted: no more and no less, so that numbers and times stay together."""
    monkeypatch.setattr(live, "CameraLink", lambda *_: Link(frames([True] * WINDOWS, 1)))
    counters = PipelineCounters(("histogram:cam",), ("cam",))["histogram:cam"]
    before, hop_us = counters["cam"], hop * WINDOW_US
    before.received, before.until_us, before.ended_ns = 5, 70 * hop_us, START_NS - 350_000_000
    plan = WindowPlan(mode="windows", bins=bins, bin_us=WINDOW_US, hop=hop, size=(SENSOR.width, SENSOR.height))
    with link(hwm=100) as (push, pull):
        source = SourceSettings(uri="dv://", stream="cam", stop_s=2.5, scene={"hot_pixels": "off"})
        sender = EdgeSender(push, 100, "lossless", counters, lambda: False)
        stage = CameraSource(source, plan, sender, counters, release_ms=RELEASE_MS, max_age_ms=1000)
        stage.run(signals(), SimpleNamespace(beat=lambda: None))
        origins = [message.window.origin for message in (unpack(one) for one in received(pull)) if message.window]
    assert origins[0].t_start_us >= 70 * hop_us  # no bin is filled twice
    for origin in origins:
        assert origin.seq - 4 == (origin.t_end_us - 70 * hop_us) // hop_us
    assert before.crash == origins[0].seq - 5


def test_kernels_are_compiled_before_a_camera_delivers(monkeypatch):
    compiled = []
    monkeypatch.setattr(camera_stage, "compile_all", lambda: compiled.append("histograms"))
    monkeypatch.setattr(live, "compile_checks", lambda: compiled.append("checks"))
    counters = PipelineCounters(("histogram:cam",), ("cam",))["histogram:cam"]
    with link(hwm=1) as (push, _):
        sender = EdgeSender(push, 1, "lossless", counters, lambda: False)
        CameraSource(
            SourceSettings(uri="dv://", stream="cam"), PLAN, sender, counters, release_ms=RELEASE_MS, max_age_ms=1000
        )
    assert compiled == ["histograms", "checks"]
