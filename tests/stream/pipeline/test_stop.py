"""A stopped pipeline publishes what is in flight, however slow the machine, and gives up when nothing comes through."""

from __future__ import annotations

import threading
import time

import pipeline_setup
import pytest

from eventveil.stream.pipeline import pipeline as pipeline_module
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.stages.transform import AnonymizeTransform

SLOW_S = 0.25  # a window; there are enough of them in flight for more than `STOP_S`


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"), seconds=2.0)


def test_a_slow_machine_has_time_for_all_windows_in_flight(kit, monkeypatch):
    anonymize, reached = AnonymizeTransform.process, threading.Event()

    def slowly(self, windows):
        reached.set()
        time.sleep(SLOW_S * len(windows))
        return anonymize(self, windows)

    with pipeline_setup.everything() as (endpoint, published):
        line = Pipeline(kit.settings(endpoint, line__run_as="threads", anonymize__batch=1, line__queue=30))
        monkeypatch.setattr(AnonymizeTransform, "process", slowly)

        def stop():
            reached.wait()  # at full speed, the recording has been read by then, or is soon
            time.sleep(SLOW_S)
            line.stop()

        stopper = threading.Thread(target=stop)
        stopper.start()
        status = line.run()
        stopper.join()
    assert (status.failure, status.stopped) == (None, True)
    made = status.total("histogram", "windows")
    assert sum(message[0] == b"window" for message in published) == made


def test_a_pipeline_that_is_stuck_is_given_up(kit, monkeypatch):
    monkeypatch.setattr(pipeline_module, "STOP_S", 10.0)
    line = Pipeline(kit.settings("ipc:///nowhere", line__run_as="threads"))
    source, anonymizer = line.status.counters["histogram:0"]["0"], line.status.counters["anonymize"]["0"]
    source.received = source.sent = 3
    assert not line._drain_stalled(100.0)
    assert not line._drain_stalled(109.0)
    anonymizer.received = anonymizer.age = 1  # one is dropped, and two are in flight
    assert not line._drain_stalled(109.5)
    assert not line._drain_stalled(119.0)
    assert line.status.failure is None
    assert line._drain_stalled(119.6)
    assert line.status.failure == "could not publish everything: no window came through for 10 s, 2 in flight"
