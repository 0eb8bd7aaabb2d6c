"""The choice of a precision: the fastest that agrees with fp32."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights, classifier_weights, voxel_weights, windows

from eventveil.errors import ConfigError
from eventveil.models import device as devices
from eventveil.models import precision, shipped
from eventveil.models.noise import SeededNoise
from eventveil.models.precision import TOLERANCE, PrecisionTrial, choose, start
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import load_weights

NAN = float("nan")


class Toy:
    """A runtime that takes as long, and rounds as much, as a test says."""

    device = torch.device("cpu")
    pauses_s: ClassVar = {"fp32": 0.0, "bf16": 0.0}
    errors: ClassVar = {"fp32": 0.0, "bf16": 0.0}

    def __init__(self, name):
        self.name = name
        self.batches = []

    def warm_up(self, batch=1):
        self.batches.append(batch)

    def rehearsal(self, batch):
        def run():
            time.sleep(self.pauses_s[self.name])
            return np.full((8, 2), 100 * (1 + self.errors[self.name]), np.float32)

        assert batch == 8
        return run


@pytest.fixture
def two_precisions(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda device: True)  # PyTorch emulates it where it is missing


@pytest.mark.parametrize(
    ("bf16", "expected"),
    [
        ((1.0, 0.01), "bf16"),
        ((1.0, TOLERANCE), "bf16"),
        ((1.0, TOLERANCE * 1.01), "fp32"),  # faster, but something else
        ((1.0, NAN), "fp32"),
        ((3.0, 0.0), "fp32"),  # slower, as on a processor with AVX512_BF16 alone
    ],
)
def test_the_fastest_that_agrees_is_chosen(bf16, expected):
    assert choose([PrecisionTrial("fp32", 2.0, 0.0), PrecisionTrial("bf16", *bf16)]).precision == expected


@pytest.mark.parametrize(
    ("slow", "error", "expected"),
    [("fp32", 0.02, "bf16"), ("bf16", 0.02, "fp32"), ("fp32", 0.2, "fp32"), ("fp32", NAN, "fp32")],
)
def test_auto_times_and_compares_at_the_real_batch_size_and_says_what_it_took(
    two_precisions, monkeypatch, caplog, slow, error, expected
):
    # 50 ms against nothing: a busy machine would have to halt this process five times in a row to hide it.
    monkeypatch.setattr(Toy, "pauses_s", {"fp32": 0.0, "bf16": 0.0} | {slow: 0.05})
    monkeypatch.setattr(Toy, "errors", {"fp32": 0.0, "bf16": error})
    with caplog.at_level(logging.INFO, "eventveil"):
        runtime, runs_on = start(Toy, "auto", batch=8, stage="anonymize")
    assert (runtime.name, runs_on) == (expected, f"cpu, {expected}")
    assert runtime.batches[-2:] == [1, 8]
    assert f"anonymize: {expected} on cpu" in caplog.text


def test_auto_says_why_it_leaves_out_a_precision(two_precisions, caplog):
    def make(name):
        if name == "bf16":
            raise ConfigError("windows of 32x64 pixels: choose fp32")
        return Toy(name)

    with caplog.at_level(logging.INFO, "eventveil"):
        runtime, runs_on = start(make, "auto", batch=8, stage="anonymize")
    assert (runtime.name, runs_on) == ("fp32", "cpu, fp32")
    assert "anonymize: not in bf16: windows of 32x64 pixels" in caplog.text


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_requested_precision_is_taken_without_a_trial(two_precisions, monkeypatch, name):
    monkeypatch.setattr(Toy, "rehearsal", None)
    runtime, runs_on = start(Toy, name, batch=8, stage="anonymize")
    assert (runtime.name, runs_on) == (name, f"cpu, {name}")


def test_a_device_with_one_precision_costs_no_trial(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda device: False)
    monkeypatch.setattr(Toy, "rehearsal", None)
    assert start(Toy, "auto", batch=8, stage="classify")[1] == "cpu, fp32"


def test_a_batch_that_would_take_long_is_not_warmed_up(monkeypatch):
    monkeypatch.setattr(precision, "WARM_UP_S", 0.0)
    assert start(Toy, "fp32", batch=8, stage="anonymize")[0].batches[-1] == 1


@pytest.mark.parametrize(("limit_s", "threads"), [(float("inf"), 1), (0.0, 2)])
def test_a_small_network_gets_one_thread_and_a_large_one_all(monkeypatch, limit_s, threads):
    monkeypatch.setattr(precision, "SMALL_S", limit_s)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        start(Toy, "fp32", batch=8, stage="anonymize")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "make",
    [
        partial(Anonymizer, anonymizer_weights()),
        partial(Anonymizer, voxel_weights()),
        partial(Classifier, classifier_weights()),
        partial(StandInRuntime, load_weights(shipped.STAND_IN)),
        partial(Anonymizer, load_weights(shipped.NOISY_CHANNEL)),
        partial(Classifier, load_weights(shipped.NOISY_CHANNEL_GESTURES)),
    ],
)
def test_every_network_agrees_with_itself_in_bf16(two_precisions, make):
    exact, again, rounded = (make(device="cpu", precision=name).rehearsal(2)() for name in ("fp32", "fp32", "bf16"))
    np.testing.assert_array_equal(exact, again)  # so a difference is one of the precision alone
    assert exact.std() > 0
    assert 0 < np.abs(rounded - exact).max() <= TOLERANCE * np.abs(exact).max()


def test_a_rehearsal_uses_none_of_the_live_noise():
    """What is published must depend on no noise that someone else can compute."""

    class Counting(SeededNoise):
        drawn = 0

        def normal(self, shape, device):
            self.drawn += 1
            return super().normal(shape, device)

    noise = Counting(3)
    runtime = Anonymizer(anonymizer_weights(), device="cpu", noise=noise)
    run = runtime.rehearsal(2)
    rehearsed = run()
    np.testing.assert_array_equal(run(), rehearsed)
    assert noise.drawn == 0
    published = runtime(windows(2))
    assert noise.drawn == 1
    assert not np.array_equal(published, rehearsed)
