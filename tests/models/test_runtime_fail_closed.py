"""The runtime returns nothing when anything is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights, classifier_weights, windows

from eventveil.errors import AnonymizerError, LineError, WeightsError
from eventveil.models.noise import SeededNoise
from eventveil.models.runtime import Anonymizer, Classifier


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [np.zeros((2, 2, 12, 15), np.uint16)],
        [np.zeros((3, 2, 12, 16), np.uint16)],
        [np.zeros((4, 12, 16), np.uint16)],
        [np.zeros((2, 2, 12, 16), np.int64)],
        [np.zeros((2, 2, 12, 16), np.float32)],
        [np.zeros((2, 2, 12, 16), ">u2")],
        [np.zeros((2, 2, 12, 16), np.uint16), np.zeros((2, 2, 16, 12), np.uint16)],
    ],
)
def test_windows_the_weights_were_not_made_for_are_refused(bad):
    with pytest.raises(AnonymizerError, match="expected"):
        Anonymizer(anonymizer_weights(), device="cpu")(bad)


def broken(change, **config):
    weights = anonymizer_weights(**config)
    change(weights.model)
    return Anonymizer(weights, device="cpu")


def silence(model):
    """Zero the last layer: f = 0, and x + f*n is x."""
    model.convs3[2].weight.data.zero_()
    model.convs3[2].bias.data.zero_()


def test_a_network_that_lets_a_window_through_is_refused():
    runtime = broken(silence)
    with pytest.raises(AnonymizerError, match="returned a window unchanged"):
        runtime(windows(1))
    with pytest.raises(AnonymizerError, match="returned a window unchanged"):
        runtime([np.zeros((2, 2, 12, 16), np.uint16), *windows(1)])
    runtime.warm_up()  # an empty window has nothing to reveal


def test_one_event_let_through_is_enough_to_refuse():
    [window] = np.zeros((1, 2, 2, 12, 16), np.uint16)
    window[1, 1, 11, 15] = 1
    with pytest.raises(AnonymizerError, match="returned a window unchanged"):
        broken(silence)([window])


def test_noise_that_rounding_takes_off_is_refused():
    def whisper(model):
        silence(model)
        model.convs3[2].bias.data.fill_(0.49)

    with pytest.raises(AnonymizerError, match="rounding"):
        broken(whisper, output="x+f")(windows(2))

    def speak(model):
        silence(model)
        model.convs3[2].bias.data.fill_(0.51)

    assert len(broken(speak, output="x+f")(windows(2))) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    def spoil(model):
        model.convs3[2].bias.data[1] = value

    with pytest.raises(AnonymizerError, match="not finite"):
        broken(spoil)(windows(2))


class Faulty:
    """A noise generator that fails as a device does."""

    def __init__(self, error):
        self.error = error

    def normal(self, shape, device):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: 7 7 7"), torch.OutOfMemoryError("7 7 7"), MemoryError(), ValueError("7 7 7")]
)
def test_a_device_error_lets_nothing_out_and_says_nothing_of_the_data(error):
    runtime = Anonymizer(anonymizer_weights(), device="cpu", noise=Faulty(error))
    with pytest.raises(AnonymizerError, match=type(error).__name__) as caught:
        runtime(windows(1))
    assert "7" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_after_an_error_the_next_batch_is_anonymized_as_ever():
    runtime = Anonymizer(anonymizer_weights(), device="cpu", noise=Faulty(RuntimeError()))
    with pytest.raises(AnonymizerError):
        runtime(windows(1))
    runtime._noise = SeededNoise(3)
    want = Anonymizer(anonymizer_weights(), device="cpu", noise=SeededNoise(3))(windows(1))
    np.testing.assert_array_equal(runtime(windows(1)), want)


@pytest.mark.parametrize("cut", [lambda y: y[..., :-1], lambda y: y[:1], lambda y: y.double(), lambda y: y.bfloat16()])
def test_a_network_that_makes_something_else_is_refused(cut):
    runtime = Anonymizer(anonymizer_weights(), device="cpu")
    make = runtime._model.anonymize
    runtime._model.anonymize = lambda x, generator: cut(make(x, generator))
    with pytest.raises(AnonymizerError, match="the anonymizer returned"):
        runtime(windows(2))


def test_the_classifier_refuses_what_it_cannot_classify():
    runtime = Classifier(classifier_weights(), device="cpu")
    for bad in (np.zeros((0, 4, 12, 16), np.float32), np.zeros((1, 4, 16, 12), np.float32), np.zeros((1, 4, 12, 16))):
        with pytest.raises(LineError, match="classifier expected"):
            runtime(bad)
    with pytest.raises(LineError, match="not finite"):
        runtime(np.full((1, 4, 12, 16), np.nan, np.float32))
    runtime._model = None
    with pytest.raises(LineError, match="classifier failed on cpu"):
        runtime(np.zeros((1, 4, 12, 16), np.float32))


def test_weights_run_only_in_their_role():
    with pytest.raises(WeightsError, match="expected weights of an anonymizer, got target"):
        Anonymizer(classifier_weights(), device="cpu")
    with pytest.raises(WeightsError, match="expected weights of a classifier, got anonymizer"):
        Classifier(anonymizer_weights(), device="cpu")
