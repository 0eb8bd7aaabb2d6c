"""A stopped pipeline publishes what is in flight, however slow the machine, and gives up when nothing comes through."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pipeline_setup
import pytest

from eventveil.stream.pipeline import pipeline as pipeline_module
from eventveil.stream.pipeline.pipeline import STOP_S, Pipeline
from eventveil.stream.stages.transform import AnonymizeTransform


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return pipeline_setup.make_kit(tmp_path_factory.mktemp("kit"), seconds=2.0)


def test_a_slow_machine_has_time_for_all_windows_in_flight(kit, monkeypatch):
    """For the supervisor, every window takes three quarters of the time after which it would give up."""
    anonymize, stopped = AnonymizeTransform.process, threading.Event()
    monkeypatch.setattr(
        AnonymizeTransform, "process", lambda self, windows: (stopped.wait(), anonymize(self, windows))[1]
    )
    with pipeline_setup.everything() as (endpoint, published):
        pipeline = Pipeline(kit.settings(endpoint, line__run_as="threads", anonymize__batch=1, line__queue=30))
        source, publisher = pipeline.status.counters["histogram:0"], pipeline.status.counters["publish"]
        clock = SimpleNamespace(monotonic=lambda: 0.75 * STOP_S * publisher.total("sent"))
        monkeypatch.setattr(pipeline_module, "time", clock)

        def stop():
            while source.total("received") < 10:
                time.sleep(0.01)
            pipeline.stop()
            stopped.set()

        stopper = threading.Thread(target=stop)
        stopper.start()
        status = pipeline.run()
        stopper.join()
    assert (status.failure, status.stopped) == (None, True)
    assert sum(message[0] == b"window" for message in published) == status.total("histogram", "windows") >= 10


def test_a_pipeline_that_is_stuck_is_given_up(kit, monkeypatch):
    monkeypatch.setattr(pipeline_module, "STOP_S", 10.0)
    pipeline = Pipeline(kit.settings("ipc:///nowhere", line__run_as="threads"))
    source, anonymizer = pipeline.status.counters["histogram:0"]["0"], pipeline.status.counters["anonymize"]["0"]
    source.received = source.sent = 3
    assert not pipeline._drain_stalled(100.0)
    assert not pipeline._drain_stalled(109.0)
    anonymizer.received = anonymizer.age = 1  # one is dropped, and two are in flight
    assert not pipeline._drain_stalled(109.5)
    source.received, source.sent, anonymizer.received, anonymizer.age = 5, 5, 2, 2  # another, and two more came
    assert not pipeline._drain_stalled(119.6)
    assert not pipeline._drain_stalled(129.0)
    assert pipeline.status.failure is None
    assert pipeline._drain_stalled(129.7)
    assert pipeline.status.failure == "could not publish everything: no window came through for 10 s, 3 in flight"
