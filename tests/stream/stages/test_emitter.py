"""The output side of a source: numbers, origins, counts, and an end of the stream whatever happens."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pipeline_helpers import SENSOR, link, received, signals

from eventveil import Window
from eventveil.errors import LineError
from eventveil.stream.histogram import HistogramStats
from eventveil.stream.runtime.accounting import COMPLETE, CRASH, FAILED, PipelineCounters
from eventveil.stream.runtime.edge_queue import EdgeSender
from eventveil.stream.runtime.message import unpack
from eventveil.stream.stages.emitter import Stopped, WindowEmitter

REPORT = SimpleNamespace(beat=lambda: None)


def window(start_us):
    counts = np.zeros((1, 2, 3, 4), np.uint16)
    return Window(seq=0, t_start_us=start_us, t_end_us=start_us + 10, counts=counts, events=6)


@pytest.fixture
def counters():
    return PipelineCounters(("histogram:cam",), ("cam",))["histogram:cam"]


@pytest.fixture
def edge(counters):
    with link(hwm=100) as (push, pull):
        sender = EdgeSender(push, 4, "lossless", counters, lambda: False)
        yield sender, lambda: [unpack(frames) for frames in received(pull)]


def test_windows_get_the_next_number_and_their_origin(edge, counters):
    sender, messages = edge
    emitter = WindowEmitter("cam", sender, counters, pixels=12, release_ms=250)
    emitter.emit(window(100), SENSOR, 5_000)
    emitter.counters.skip(2)  # lost while the process was dead
    emitter.emit(window(130), SENSOR, None, {"away": 1})
    origins = [message.window.origin for message in messages()]
    assert [(origin.stream, origin.sensor, origin.seq) for origin in origins] == [
        ("cam", SENSOR, 0),
        ("cam", SENSOR, 3),
    ]
    assert [(origin.t_start_us, origin.t_end_us) for origin in origins] == [(100, 110), (130, 140)]
    assert (origins[0].ended_ns, origins[0].release_ns) == (5_000, 250_005_000)
    assert origins[1].release_ns is None  # a source without a clock
    assert [origin.incidents for origin in origins] == [{}, {"away": 1}]
    stream = emitter.counters
    assert (stream.received, stream.sent, stream.start_us, stream.until_us) == (4, 2, 100, 140)
    assert (stream.ended_ns, stream.dropped()) == (origins[1].ended_ns, {CRASH: 2})
    assert emitter.figures(None)["counts"] == {
        "received": 0, "binned": 0, "late": 0, "outside": 0, "saturated": 0, "windows": 4, "sent": 2, "waiting": 0,
    }  # fmt: skip


def test_events_of_several_histogrammers_and_processes_add_up(edge, counters):
    emitter = WindowEmitter("cam", edge[0], counters, pixels=12, release_ms=250)
    emitter.count_events(HistogramStats(5, 4, 1, 0, 0))
    emitter.count_events(HistogramStats(9, 7, 1, 1, 0))  # totals of the same histogrammer
    emitter.start_histogrammer()
    emitter.count_events(HistogramStats(10, 8, 1, 1, 3))
    WindowEmitter("cam", edge[0], counters, pixels=12, release_ms=250).count_events(HistogramStats(1, 1, 0, 0, 0))
    totals = (counters.events, counters.binned, counters.late, counters.outside, counters.saturated)
    assert totals == (20, 16, 2, 2, 3)


def test_the_end_is_sent_after_a_fault_which_is_then_raised(edge, counters):
    sender, messages = edge
    emitter = WindowEmitter("cam", sender, counters, pixels=12, release_ms=250)

    def read():
        emitter.emit(window(0), SENSOR, None)
        raise LineError("damaged")

    with pytest.raises(LineError, match="damaged"):
        emitter.emit_stream(read, signals(), REPORT)
    assert [(message.seq, message.ends, message.failed) for message in messages()] == [
        (0, False, False), (1, True, True),
    ]  # fmt: skip
    assert emitter.counters.ended == FAILED


def test_a_stream_that_has_ended_is_not_read_again(edge, counters):
    sender, messages = edge
    emitter = WindowEmitter("cam", sender, counters, pixels=12, release_ms=250)
    emitter.counters.received, emitter.counters.ended = 7, COMPLETE
    emitter.emit_stream(lambda: pytest.fail("was read"), signals(), REPORT)
    assert [(message.seq, message.ends, message.failed) for message in messages()] == [(7, True, False)]


def test_a_restarted_source_that_had_failed_fails_again(edge, counters):
    sender, messages = edge
    emitter = WindowEmitter("cam", sender, counters, pixels=12, release_ms=250)
    emitter.counters.received, emitter.counters.ended = 7, FAILED
    with pytest.raises(LineError, match="died before it could report the reason"):
        emitter.emit_stream(lambda: pytest.fail("was read"), signals(), REPORT)
    assert [(message.seq, message.ends, message.failed) for message in messages()] == [(7, True, True)]


def test_an_aborted_stream_has_no_end(edge, counters):
    sender, messages = edge
    emitter, stage_signals = WindowEmitter("cam", sender, counters, pixels=12, release_ms=250), signals()
    emitter.emit_stream(stage_signals.abort.set, stage_signals, REPORT)
    assert messages() == []
    assert emitter.counters.ended == 0


@pytest.mark.parametrize("flag", ["stop", "abort"])
def test_a_pause_ends_when_the_pipeline_is_to_stop(edge, counters, flag):
    emitter, stage_signals = WindowEmitter("cam", edge[0], counters, pixels=12, release_ms=250), signals()
    emitter.pause(0, stage_signals, REPORT)
    getattr(stage_signals, flag).set()
    with pytest.raises(Stopped):
        emitter.pause(0, stage_signals, REPORT)
