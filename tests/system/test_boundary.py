"""The privacy boundary, tested with a canary: a number in the raw events that must not appear anywhere outside.

`tests/support/canary.py` plants it and knows how it would look in whatever leaves. The canary must be found in the raw
windows, or these tests would prove nothing.
"""

from __future__ import annotations

import json

import numpy as np
import pipeline_setup
import pytest
from canary import BINARY_SPELLINGS, CANARY, canary_events, canary_in
from pipeline_setup import BIN_US, BINS, SENSOR, Kit, run_and_listen

from eventveil.errors import BoundaryError
from eventveil.models import AnonyNoise
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.stream.pipeline import network_stages
from eventveil.stream.pipeline.status import Status
from eventveil.stream.protocol import wire
from eventveil.stream.runtime.windows import RawWindow


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = pipeline_setup.make_kit(tmp_path_factory.mktemp("canary"))
    pipeline_setup.write_recording(kit.recording, canary_events(), SENSOR)
    return kit


def sightings(messages: list[list[bytes]]) -> list[bytes]:
    return [frame for message in messages for frame in message if canary_in(frame)]


def assert_nothing_came_through(
    status: Status, published: list[list[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert {message[0] for message in published} <= {topic.encode() for topic in wire.HEADERS}
    assert not sightings(published)
    written = "".join(capfd.readouterr()) + repr(status)
    assert not canary_in(written.encode())


def test_the_canary_is_really_in_the_raw_windows(kit, monkeypatch):
    raw: list[bytes] = []
    anonymize = Anonymizer.__call__
    monkeypatch.setattr(
        Anonymizer,
        "__call__",
        lambda self, counts: (raw.extend(window.tobytes() for window in counts), anonymize(self, counts))[1],
    )
    run_and_listen(kit)
    assert sum(BINARY_SPELLINGS[0] in window for window in raw) >= 500_000 // BIN_US // BINS


def test_the_canary_does_not_leave_a_pipeline_that_works(kit, capfd):
    status, published = run_and_listen(kit)
    assert status.failure is None
    assert sum(message[0] == b"window" for message in published) == 500_000 // BIN_US // BINS
    assert_nothing_came_through(status, published, capfd)


def raise_with_data(self, x_BCHW, generator):
    raise RuntimeError(f"unexpected value {CANARY} in {x_BCHW.max()}")


def let_through(self, x_BCHW, generator):
    return x_BCHW.clone()


def let_through_nearly(self, x_BCHW, generator):
    return x_BCHW + 0.25


def overflow(self, x_BCHW, generator):
    return x_BCHW * 1e38 * 1e38


@pytest.mark.parametrize("fault", [raise_with_data, let_through, let_through_nearly, overflow])
def test_the_canary_does_not_leave_when_the_anonymizer_fails(kit, monkeypatch, capfd, fault):
    monkeypatch.setattr(Anonymizer, "warm_up", lambda self, batch=1: None)
    monkeypatch.setattr(AnonyNoise, "anonymize", fault)
    status, published = run_and_listen(kit)
    assert status.failure is not None
    assert [message[0] for message in published] == [b"state"]
    assert_nothing_came_through(status, published, capfd)


def test_the_canary_does_not_leave_when_the_classifier_fails(kit, monkeypatch, capfd):
    monkeypatch.setattr(Classifier, "warm_up", lambda self, batch=1: None)
    monkeypatch.setattr(Classifier, "__call__", lambda self, windows: 1 / 0)
    status, published = run_and_listen(kit)
    assert status.failure is not None
    assert status.failure.startswith("classify: ZeroDivisionError")
    assert_nothing_came_through(status, published, capfd)


def test_the_canary_does_not_leave_a_pipeline_that_is_wired_past_the_anonymizer(kit, monkeypatch, capfd):
    class Forgotten:
        def __init__(self, *_) -> None:
            pass

        def process(self, windows: list[RawWindow]) -> list[RawWindow]:
            return windows

    monkeypatch.setattr(network_stages, "AnonymizeTransform", Forgotten)
    status, published = run_and_listen(kit, classify__weights=None)
    assert status.failure is not None
    assert BoundaryError.__name__ not in status.failure
    assert "only an AnonymizedWindow may be published" in status.failure
    assert [json.loads(message[1])["state"] for message in published] == ["failed"]  # subscribers do not wait forever
    assert_nothing_came_through(status, published, capfd)


def test_the_canary_does_not_leave_when_raw_values_wear_another_windows_clothes(kit, monkeypatch, capfd):
    """Raw values in place of anonymized ones, with the seal and everything else unchanged."""
    process = network_stages.AnonymizeTransform.process

    def swap(self, windows):
        good = process(self, windows)
        for window, raw in zip(good, windows, strict=True):
            object.__setattr__(window, "values", raw.counts.reshape(window.values.shape).astype(np.float32))
        return good

    monkeypatch.setattr(network_stages.AnonymizeTransform, "process", swap)
    status, published = run_and_listen(kit)
    assert status.failure is not None
    assert "seal" in status.failure
    assert [json.loads(message[1])["state"] for message in published] == ["failed"]
    assert_nothing_came_through(status, published, capfd)


def test_the_canary_does_not_leave_in_an_error_of_the_source(kit, capfd, tmp_path):
    cut = tmp_path / "cut.aedat4"
    cut.write_bytes(kit.recording.read_bytes()[:-3_000])
    status, published = run_and_listen(kit, sources=[{"uri": str(cut), "speed": "max"}])
    assert status.failure is not None
    assert_nothing_came_through(status, published, capfd)
