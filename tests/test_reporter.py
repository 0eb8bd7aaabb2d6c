"""The voice in which a stage reports to its supervisor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import zmq
from line_parts import link, received

from eventveil.errors import LineError
from eventveil.stream.runner import Report, Reporter


def test_a_report_tells_the_figures_of_its_stage():
    with link(hwm=10) as (push, pull):
        reporter = Reporter("classify", push, lambda: {"counts": {"sent": 3}, "dropped": {"age": 1}})
        reporter.say("failed", "why")
        assert Report.model_validate_json(pull.recv()) == Report(
            stage="classify", kind="failed", counts={"sent": 3}, dropped={"age": 1}, reason="why"
        )


def test_a_beat_is_said_once_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("eventveil.stream.runner.time", SimpleNamespace(monotonic=lambda: now[0]))
    with link(hwm=10) as (push, pull):
        reporter = Reporter("publish", push)
        said = []
        for now[0] in (100.0, 100.9, 101.0, 101.5, 101.99, 102.0, 110.0, 110.5):
            reporter.beat()
            said.append(len(received(pull)))
    assert said == [0, 0, 1, 0, 0, 1, 1, 0]


def test_a_supervisor_that_does_not_listen_costs_beats_but_no_last_word():
    with zmq.Context() as context, context.socket(zmq.PUSH) as nobody:
        reporter = Reporter("publish", nobody)
        reporter.say("beat")
        with pytest.raises(LineError, match="publish: the supervisor does not listen"):
            reporter.say("ended")
