"""The runtime's output: the values of the model, in arrays that the caller owns, with fresh noise."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights, classifier_weights, voxel_weights, windows

from eventveil.models.noise import SeededNoise
from eventveil.models.runtime import Anonymizer, Classifier


@pytest.mark.parametrize("n", [1, 3])
def test_windows_come_out_as_the_model_makes_them(n):
    weights, counts = anonymizer_weights(), windows(n)
    out = Anonymizer(weights, device="cpu", noise=SeededNoise(5))(counts)
    assert out.dtype == np.float32
    assert out.shape == (n, 4, 12, 16)
    # channel 2k + p: bins outside, polarity inside
    x = torch.tensor(np.array([[w[k, p] for k in range(2) for p in range(2)] for w in counts]).astype(np.float32))
    with torch.no_grad():
        want = weights.model.anonymize(x, SeededNoise(5))
    np.testing.assert_allclose(out, want, atol=1e-5 * want.abs().max())


def test_voxel_grids_come_out_as_the_model_makes_them():
    weights = voxel_weights()
    grids = list(np.random.default_rng(0).normal(size=(3, 2, 12, 16)).astype(np.float32))
    out = Anonymizer(weights, device="cpu")(grids)
    with torch.no_grad():
        want = weights.model.anonymize(torch.from_numpy(np.stack(grids)), SeededNoise(0))
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)


def test_live_noise_is_fresh_for_every_call_and_window():
    runtime = Anonymizer(anonymizer_weights(), device="cpu")
    [counts] = windows(1)
    (a, b), (c,) = runtime([counts, counts]), runtime([counts])
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_results_are_the_callers_own():
    runtime = Anonymizer(anonymizer_weights(), device="cpu", noise=SeededNoise(1))
    first = runtime(windows(2))
    kept = first.copy()
    runtime(windows(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_inputs_and_weights_stay_as_they_were():
    weights, counts = anonymizer_weights(), windows(2)
    state, before = copy.deepcopy(weights.model.state_dict()), [window.copy() for window in counts]
    for window in counts:
        window.flags.writeable = False
    Anonymizer(weights, device="cpu")(counts)
    np.testing.assert_array_equal(counts, before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights.model.state_dict().items())


def test_strided_windows_are_as_good_as_any():
    [window] = windows(1)
    strided = np.zeros((2, 2, 12, 32), np.uint16)[..., ::2]
    strided[...] = window
    outs = [Anonymizer(anonymizer_weights(), device="cpu", noise=SeededNoise(1))([w]) for w in (window, strided)]
    np.testing.assert_array_equal(*outs)


def test_an_empty_window_is_anonymized_too():
    out = Anonymizer(anonymizer_weights(), device="cpu")([np.zeros((2, 2, 12, 16), np.uint16)])
    assert np.isfinite(out).all()


def test_warm_up_runs_a_batch_of_empty_windows():
    shapes = []

    class Recording(SeededNoise):
        def normal(self, shape, device):
            shapes.append(tuple(shape))
            return super().normal(shape, device)

    Anonymizer(anonymizer_weights(), device="cpu", noise=Recording(0)).warm_up(3)
    assert shapes == [(3, 4, 12, 16)]
    Anonymizer(voxel_weights(), device="cpu").warm_up()
    Classifier(classifier_weights(), device="cpu").warm_up(2)


@pytest.mark.parametrize("n", [1, 4])
def test_the_classifier_gives_the_models_probabilities(n):
    weights = classifier_weights()
    x = np.random.default_rng(2).normal(size=(n, 4, 12, 16)).astype(np.float32)
    scores = Classifier(weights, device="cpu")(x)
    assert scores.shape == (n, 3)
    with torch.no_grad():
        logits = weights.model(torch.from_numpy(x)).logits.double()
    want = logits.exp() / logits.exp().sum(1, keepdim=True)
    np.testing.assert_allclose(scores, want, atol=1e-5)
    assert scores.std() > 0.01
