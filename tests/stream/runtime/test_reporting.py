"""The reports of a stage to its supervisor."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import zmq
from pipeline_helpers import link, received, stage_counters

from eventveil.errors import LineError
from eventveil.stream.runtime.accuracy import MAX_WAITING, NOTES, Prediction
from eventveil.stream.runtime.reporting import StageReport, StageReporter


def test_a_report_tells_the_figures_of_its_stage():
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(
            stage_counters("classify"), push, lambda: {"counts": {"sent": 3}, "dropped": {"age": 1}}
        )
        reporter.send("failed", "why")
        report, notes = pull.recv_multipart()
    assert StageReport.model_validate_json(report) == StageReport(
        stage="classify", pid=os.getpid(), kind="failed", counts={"sent": 3}, dropped={"age": 1}, reason="why"
    )
    assert notes == b"[]"


def test_notes_go_along_with_the_next_report_once():
    notes = [Prediction(stream="0", seq=3, label="wave"), Prediction(stream="0", seq=4, label="clap")]
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(stage_counters("publish"), push)
        for note in notes:
            reporter.note(note)
        reporter.send("beat")
        reporter.send("ended")
        first, second = (NOTES.validate_json(frames[1]) for frames in (pull.recv_multipart(), pull.recv_multipart()))
    assert first == notes
    assert second == []


def test_a_beat_is_said_once_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(
        "eventveil.stream.runtime.reporting.time", SimpleNamespace(monotonic=lambda: now[0], monotonic_ns=lambda: 0)
    )
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(stage_counters("publish"), push)
        reports = []
        for now[0] in (100.0, 100.9, 101.0, 101.5, 101.99, 102.0, 110.0, 110.5):
            reporter.beat()
            reports.append(len(received(pull)))
    assert reports == [0, 0, 1, 0, 0, 1, 1, 0]


def test_a_supervisor_that_does_not_listen_costs_beats_but_no_last_word():
    with zmq.Context() as context, context.socket(zmq.PUSH) as unconnected:
        reporter = StageReporter(stage_counters("publish"), unconnected)
        reporter.send("beat")
        with pytest.raises(LineError, match="publish: the supervisor no longer receives reports"):
            reporter.send("ended")


def test_notes_wait_for_a_supervisor_that_listens():
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        push.sndtimeo = pull.rcvtimeo = 5_000
        reporter = StageReporter(stage_counters("publish"), push)
        reporter.note(note := Prediction(stream="0", seq=3, label="wave"))
        reporter.send("beat")  # no supervisor is connected
        pull.bind("inproc://late")
        push.connect("inproc://late")
        reporter.send("ended")
        report, notes = pull.recv_multipart()
    assert StageReport.model_validate_json(report).kind == "ended"
    assert NOTES.validate_json(notes) == [note]


def test_the_last_notes_are_kept_where_the_supervisor_does_not_listen():
    with zmq.Context() as context, context.socket(zmq.PUSH) as unconnected, link(hwm=10) as (push, pull):
        reporter = StageReporter(stage_counters("publish"), unconnected)
        for seq in range(MAX_WAITING + 7):
            reporter.note(Prediction(stream="0", seq=seq, label="wave"))
        reporter.send("beat")
        reporter._socket = push
        reporter.send("beat")
        notes = NOTES.validate_json(pull.recv_multipart()[1])
    assert (len(notes), notes[0].seq, notes[-1].seq) == (MAX_WAITING, 7, MAX_WAITING + 6)
