"""The voice in which a stage reports to its supervisor."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import zmq
from pipeline_helpers import link, page, received

from eventveil.errors import LineError
from eventveil.stream.runtime.accuracy import MOST_WAITING, NOTES, Prediction
from eventveil.stream.runtime.reporting import StageReport, StageReporter


def test_a_report_tells_the_figures_of_its_stage():
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(page("classify"), push, lambda: {"counts": {"sent": 3}, "dropped": {"age": 1}})
        reporter.say("failed", "why")
        words, notes = pull.recv_multipart()
    assert StageReport.model_validate_json(words) == StageReport(
        stage="classify", pid=os.getpid(), kind="failed", counts={"sent": 3}, dropped={"age": 1}, reason="why"
    )
    assert notes == b"[]"


def test_notes_go_along_with_the_next_report_once():
    notes = [Prediction(stream="0", seq=3, label="wave"), Prediction(stream="0", seq=4, label="clap")]
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(page("publish"), push)
        for note in notes:
            reporter.note(note)
        reporter.say("beat")
        reporter.say("ended")
        first, second = (NOTES.validate_json(frames[1]) for frames in (pull.recv_multipart(), pull.recv_multipart()))
    assert first == notes
    assert second == []


def test_a_beat_is_said_once_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(
        "eventveil.stream.runtime.reporting.time", SimpleNamespace(monotonic=lambda: now[0], monotonic_ns=lambda: 0)
    )
    with link(hwm=10) as (push, pull):
        reporter = StageReporter(page("publish"), push)
        said = []
        for now[0] in (100.0, 100.9, 101.0, 101.5, 101.99, 102.0, 110.0, 110.5):
            reporter.beat()
            said.append(len(received(pull)))
    assert said == [0, 0, 1, 0, 0, 1, 1, 0]


def test_a_supervisor_that_does_not_listen_costs_beats_but_no_last_word():
    with zmq.Context() as context, context.socket(zmq.PUSH) as nobody:
        reporter = StageReporter(page("publish"), nobody)
        reporter.say("beat")
        with pytest.raises(LineError, match="publish: the supervisor does not listen"):
            reporter.say("ended")


def test_notes_wait_for_a_supervisor_that_listens():
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        push.sndtimeo = pull.rcvtimeo = 5_000
        reporter = StageReporter(page("publish"), push)
        reporter.note(note := Prediction(stream="0", seq=3, label="wave"))
        reporter.say("beat")  # nobody is there
        pull.bind("inproc://late")
        push.connect("inproc://late")
        reporter.say("ended")
        words, notes = pull.recv_multipart()
    assert StageReport.model_validate_json(words).kind == "ended"
    assert NOTES.validate_json(notes) == [note]


def test_the_last_notes_are_kept_where_the_supervisor_does_not_listen():
    with zmq.Context() as context, context.socket(zmq.PUSH) as nobody, link(hwm=10) as (push, pull):
        reporter = StageReporter(page("publish"), nobody)
        for seq in range(MOST_WAITING + 7):
            reporter.note(Prediction(stream="0", seq=seq, label="wave"))
        reporter.say("beat")
        reporter._socket = push
        reporter.say("beat")
        notes = NOTES.validate_json(pull.recv_multipart()[1])
    assert (len(notes), notes[0].seq, notes[-1].seq) == (MOST_WAITING, 7, MOST_WAITING + 6)
