"""The source stage of a recording: when its windows end, and when they are to be published."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pipeline_helpers import link, received, signals
from pipeline_setup import BIN_US, BINS, SENSOR, SIZE, write_recording

from eventveil import EventPacket
from eventveil.replay.player.pace import Pace
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import unpack
from eventveil.stream.settings.pipeline import SourceSettings
from eventveil.stream.stages import recording as recording_stage
from eventveil.stream.stages.recording import RecordingSource

WINDOW_US, WINDOWS, SPEED, RELEASE_MS = BINS * BIN_US, 10, 20.0, 250
PLAN = WindowPlan(mode="windows", bins=BINS, bin_us=BIN_US, hop=None, size=SIZE)


def recording(path, busy):
    """Ten windows; in each busy one an event every 100 us, in a quiet one none. The first and the last are busy."""
    t = np.arange(0, WINDOWS * WINDOW_US, 100)
    t = t[np.array([True, *busy, True])[t // WINDOW_US]]
    events = EventPacket.of(t, t // 100 % 64, t // 6400 % 64, t % 2)
    write_recording(path, iter([events]), SENSOR)
    return path


def origins(path, speed):
    counters = PipelineCounters(("histogram:0",), ("0",))["histogram:0"]
    with link(hwm=100) as (push, pull):
        sender = EdgeSender(push, 100, "lossless", counters, lambda: False)
        source = SourceSettings(uri=str(path), speed=speed)
        RecordingSource(source, PLAN, sender, counters, release_ms=RELEASE_MS).run(
            signals(), SimpleNamespace(beat=lambda: None)
        )
        messages = [unpack(frames) for frames in received(pull)]
    return [message.window.origin for message in messages if message.window is not None]


@pytest.mark.parametrize("busy", [[True] * 8, [False] * 8, [True, False] * 4])
def test_windows_are_released_at_the_same_times_whatever_moves(tmp_path, busy):
    made = origins(recording(tmp_path / "scene.aedat4", busy), SPEED)
    assert len(made) == WINDOWS
    first_ns = made[0].release_ns
    steps_ns = [origin.release_ns - first_ns for origin in made]
    assert steps_ns == pytest.approx([number * WINDOW_US * 1000 / SPEED for number in range(WINDOWS)], abs=2)
    assert {origin.release_ns - origin.ended_ns for origin in made} == {RELEASE_MS * 1_000_000}


def test_a_recording_that_is_read_at_full_speed_has_no_release_times(tmp_path):
    made = origins(recording(tmp_path / "scene.aedat4", [True] * 8), "max")
    assert {origin.release_ns for origin in made} == {None}


@pytest.mark.parametrize("first_us", [0, 1, 34_567, WINDOW_US - 1])
def test_the_times_of_windows_do_not_contain_that_of_an_event(tmp_path, first_us):
    t = np.arange(first_us, 3 * WINDOW_US, 500)
    write_recording(tmp_path / "scene.aedat4", iter([EventPacket.of(t, t % 64, t % 64, t % 2)]), SENSOR)
    made = origins(tmp_path / "scene.aedat4", "max")
    assert [(origin.t_start_us, origin.t_end_us) for origin in made] == [
        (number * WINDOW_US, (number + 1) * WINDOW_US) for number in range(3)
    ]


def test_a_stop_during_a_long_silence_sends_no_window_of_the_rest_of_it(tmp_path, monkeypatch):
    """The stop comes with the third window of an hour without events."""
    monkeypatch.setattr(recording_stage, "POLL_S", 0.0)
    t = np.concatenate([np.arange(200) * 100 + hour * 3_600_000_000 for hour in (0, 1)])
    write_recording(tmp_path / "scene.aedat4", iter([EventPacket.of(t, t % 64, t % 64, t % 2)]), SENSOR)
    counters = PipelineCounters(("histogram:0",), ("0",))["histogram:0"]
    flags, sent = signals(), []

    def put(message):
        sent.append(message)
        if len(sent) == 3:
            flags.stop.set()

    sender = SimpleNamespace(put=put, drain=lambda seconds: True, flush=lambda: None, windows=0)
    source = SourceSettings(uri=str(tmp_path / "scene.aedat4"), speed="max")
    RecordingSource(source, PLAN, sender, counters, release_ms=RELEASE_MS).run(
        flags, SimpleNamespace(beat=lambda: None)
    )
    assert [message.window is not None for message in sent] == [True] * 3 + [False]
    assert not sent[-1].failed
    assert sent[-1].made == 3


@pytest.mark.parametrize(("loop", "passes"), [(False, 1), (True, 3)])
def test_what_a_reader_leaves_out_is_reported(tmp_path, loop, passes):
    lines = [f"{100 * k},3,4,1" for k in range(2_000)]
    lines[700] = "9000000000,3,4,1"
    lines[800] = f"{100 * 800},64,4,1"
    lines[900] = "damaged"
    lines[1_000] = f"{100 * 999 - 1},3,4,1"
    path = tmp_path / "scene.csv"
    path.write_text("\n".join([f"# geometry {SENSOR}", "t,x,y,p", *lines, ""]))
    counters = PipelineCounters(("histogram:0",), ("0",))["histogram:0"]
    flags, sent = signals(), []

    def put(message):
        sent.append(message)
        if len(sent) == passes * 2_000 // (WINDOW_US // 100):
            flags.stop.set()

    sender = SimpleNamespace(put=put, drain=lambda seconds: True, flush=lambda: None, windows=0)
    source = SourceSettings(uri=str(path), speed="max", loop=loop, on_damage="skip", on_disorder="clip", gap_s=0)
    stage = RecordingSource(source, PLAN, sender, counters, release_ms=RELEASE_MS)
    assert stage.figures()["omissions"] == {}
    stage.run(flags, SimpleNamespace(beat=lambda: None))
    omissions = stage.figures()["omissions"]
    once = {
        "event with an outlying time": 1,
        "event off the sensor": 1,
        "line that is not an event": 1,
        "event out of order, with its time corrected": 1,
    }
    assert omissions.keys() == once.keys()
    if loop:  # a source looks for a stop every 10 ms, so how many passes it begins depends on the machine
        played = (len(sent) - 1) * WINDOW_US / (100 * len(lines))
        assert played >= passes
        assert max(abs(count - played) for count in omissions.values()) <= 1
    else:
        assert omissions == once


@pytest.mark.parametrize(
    ("name", "speed", "done"),
    [
        ("scene.aedat4", SPEED, ["contiguous", "all", "clock"]),  # its packets are views of records
        ("scene.csv", SPEED, ["contiguous", "clock"]),
        ("scene.aedat4", "max", []),
    ],
)
def test_the_kernels_for_the_packets_of_a_paced_recording_are_compiled_before_its_clock_runs(
    tmp_path, monkeypatch, name, speed, done
):
    """The first packet has one event, which kernels for contiguous arrays can count: the next one shows the layout."""
    t = np.arange(100)
    packets = [EventPacket.of(some, some % 64, some % 64, some % 2) for some in (t[:1], t[1:])]
    write_recording(tmp_path / "scene.aedat4", iter(packets), SENSOR)
    rows = [f"{us},{us % 64},{us % 64},{us % 2}" for us in t]
    (tmp_path / "scene.csv").write_text("\n".join([f"# geometry {SENSOR}", "t,x,y,p", *rows, ""]))
    order = []

    def compile_all(*, strided=True):
        order.append("all" if strided else "contiguous")

    monkeypatch.setattr(recording_stage, "compile_all", compile_all)
    begin = Pace.begin
    monkeypatch.setattr(Pace, "begin", lambda pace, first_us: (order.append("clock"), begin(pace, first_us)))
    origins(tmp_path / name, speed)
    assert order == done
