"""The runtime: right values, and nothing at all when anything is wrong."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch

from eventveil.errors import AnonymizerError, ConfigError, LineError, WeightsError
from eventveil.models import device as devices
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.noise import SeededNoise
from eventveil.models.runtime import AnonymizerRuntime, ClassifierRuntime
from eventveil.models.transfer import Transfer, counts_of
from eventveil.models.weights import Weights

CPU = torch.device("cpu")
WINDOW = {"bins": 2, "bin_us": 1000, "hop": 2, "size": (16, 12), "trained": False}


def anonymizer_weights(**config):
    model = initialise("anonynoise", {"channels": 4, "noise_std": 32.0, **config}, seed=1)
    return Weights(model, Metadata.of(model, role="anonymizer", **WINDOW), "")


def classifier_weights():
    config = {"depth": 18, "width": 4, "channels": 4, "classes": 3, "embedding": 8}
    model = initialise("resnet_classifier", config, seed=1)
    model.classifier[0].weight.data *= 100  # away from even odds
    return Weights(model, Metadata.of(model, role="target", labels=("a", "b", "c"), **WINDOW), "")


def voxel_weights():
    model = initialise("event_autoencoder", {"channels": 2}, seed=1)
    return Weights(model, Metadata.of(model, role="anonymizer", representation="voxel", **WINDOW), "")


def windows(n, seed=0):
    return list(np.random.default_rng(seed).poisson(0.3, (n, 2, 2, 12, 16)).astype(np.uint16))


# --- values


@pytest.mark.parametrize("n", [1, 3])
def test_windows_come_out_as_the_model_makes_them(n):
    weights, counts = anonymizer_weights(), windows(n)
    out = AnonymizerRuntime(weights, device="cpu", noise=SeededNoise(5))(counts)
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
    out = AnonymizerRuntime(weights, device="cpu")(grids)
    with torch.no_grad():
        want = weights.model.anonymize(torch.from_numpy(np.stack(grids)), SeededNoise(0))
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)


def test_live_noise_is_fresh_for_every_call_and_window():
    runtime = AnonymizerRuntime(anonymizer_weights(), device="cpu")
    [counts] = windows(1)
    (a, b), (c,) = runtime([counts, counts]), runtime([counts])
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_results_are_the_callers_own():
    runtime = AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=SeededNoise(1))
    first = runtime(windows(2))
    kept = first.copy()
    runtime(windows(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_inputs_and_weights_stay_as_they_were():
    weights, counts = anonymizer_weights(), windows(2)
    state, before = copy.deepcopy(weights.model.state_dict()), [window.copy() for window in counts]
    for window in counts:
        window.flags.writeable = False
    AnonymizerRuntime(weights, device="cpu")(counts)
    np.testing.assert_array_equal(counts, before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in weights.model.state_dict().items())


def test_strided_windows_are_as_good_as_any():
    [window] = windows(1)
    strided = np.zeros((2, 2, 12, 32), np.uint16)[..., ::2]
    strided[...] = window
    outs = [AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=SeededNoise(1))([w]) for w in (window, strided)]
    np.testing.assert_array_equal(*outs)


def test_an_empty_window_is_anonymized_too():
    out = AnonymizerRuntime(anonymizer_weights(), device="cpu")([np.zeros((2, 2, 12, 16), np.uint16)])
    assert np.isfinite(out).all()


def test_warm_up_runs_a_batch_of_empty_windows():
    seen = []

    class Seeing(SeededNoise):
        def normal(self, shape, device):
            seen.append(tuple(shape))
            return super().normal(shape, device)

    AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=Seeing(0)).warm_up(3)
    assert seen == [(3, 4, 12, 16)]
    AnonymizerRuntime(voxel_weights(), device="cpu").warm_up()
    ClassifierRuntime(classifier_weights(), device="cpu").warm_up(2)


@pytest.mark.parametrize("n", [1, 4])
def test_the_classifier_gives_the_models_probabilities(n):
    weights = classifier_weights()
    x = np.random.default_rng(2).normal(size=(n, 4, 12, 16)).astype(np.float32)
    scores = ClassifierRuntime(weights, device="cpu")(x)
    assert scores.shape == (n, 3)
    with torch.no_grad():
        logits = weights.model(torch.from_numpy(x)).logits.double()
    want = logits.exp() / logits.exp().sum(1, keepdim=True)
    np.testing.assert_allclose(scores, want, atol=1e-5)
    assert scores.std() > 0.01


# --- fail closed


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
        AnonymizerRuntime(anonymizer_weights(), device="cpu")(bad)


def broken(change, **config):
    weights = anonymizer_weights(**config)
    change(weights.model)
    return AnonymizerRuntime(weights, device="cpu")


def silence(model):
    """The last layer says nothing: f = 0, and x + f*n is x."""
    model.convs3[2].weight.data.zero_()
    model.convs3[2].bias.data.zero_()


def test_a_network_that_lets_a_window_through_is_refused():
    runtime = broken(silence)
    with pytest.raises(AnonymizerError, match="through as it was"):
        runtime(windows(1))
    with pytest.raises(AnonymizerError, match="through as it was"):
        runtime([np.zeros((2, 2, 12, 16), np.uint16), *windows(1)])
    runtime.warm_up()  # an empty window has nothing to give away


def test_one_event_let_through_is_enough_to_refuse():
    [window] = np.zeros((1, 2, 2, 12, 16), np.uint16)
    window[1, 1, 11, 15] = 1
    with pytest.raises(AnonymizerError, match="through as it was"):
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
    """A source of noise that fails as a device does."""

    def __init__(self, error):
        self.error = error

    def normal(self, shape, device):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: 7 7 7"), torch.OutOfMemoryError("7 7 7"), MemoryError(), ValueError("7 7 7")]
)
def test_a_device_error_lets_nothing_out_and_says_nothing_of_the_data(error):
    runtime = AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=Faulty(error))
    with pytest.raises(AnonymizerError, match=type(error).__name__) as caught:
        runtime(windows(1))
    assert "7" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_after_an_error_the_next_batch_is_anonymized_as_ever():
    runtime = AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=Faulty(RuntimeError()))
    with pytest.raises(AnonymizerError):
        runtime(windows(1))
    runtime._noise = SeededNoise(3)
    want = AnonymizerRuntime(anonymizer_weights(), device="cpu", noise=SeededNoise(3))(windows(1))
    np.testing.assert_array_equal(runtime(windows(1)), want)


@pytest.mark.parametrize("cut", [lambda y: y[..., :-1], lambda y: y[:1], lambda y: y.double(), lambda y: y.bfloat16()])
def test_a_network_that_makes_something_else_is_refused(cut):
    runtime = AnonymizerRuntime(anonymizer_weights(), device="cpu")
    make = runtime._model.anonymize
    runtime._model.anonymize = lambda x, generator: cut(make(x, generator))
    with pytest.raises(AnonymizerError, match="the anonymizer made"):
        runtime(windows(2))


def test_the_classifier_refuses_what_it_cannot_classify():
    runtime = ClassifierRuntime(classifier_weights(), device="cpu")
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
        AnonymizerRuntime(classifier_weights(), device="cpu")
    with pytest.raises(WeightsError, match="expected weights of a classifier, got anonymizer"):
        ClassifierRuntime(anonymizer_weights(), device="cpu")


# --- device and precision


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps", "", "auto:0"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ConfigError, match=f"got '{re.escape(name)}'"):
        AnonymizerRuntime(anonymizer_weights(), device=name)


def test_missing_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert AnonymizerRuntime(anonymizer_weights()).device == CPU
    for name in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(ConfigError, match=f"device {name}: PyTorch sees 0"):
            AnonymizerRuntime(anonymizer_weights(), device=name)


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("auto") == torch.device("cuda")
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")
    assert devices.choose_device("cpu") == CPU
    with pytest.raises(ConfigError, match="sees 2"):
        devices.choose_device("cuda:2")


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda device: False)
    with pytest.raises(ConfigError, match="AVX512_BF16"):
        AnonymizerRuntime(anonymizer_weights(), device="cpu", precision="bf16")
    with pytest.raises(ConfigError, match="precision is fp32 or bf16, got 'fp16'"):
        ClassifierRuntime(classifier_weights(), device="cpu", precision="fp16")


def test_bf16_is_close_to_fp32():
    if not devices.computes_bf16(CPU):
        pytest.skip("this CPU does not compute in bfloat16")
    counts, weights = windows(2), anonymizer_weights()
    full, half = (
        AnonymizerRuntime(weights, device="cpu", precision=precision, noise=SeededNoise(4))(counts)
        for precision in ("fp32", "bf16")
    )
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 1e-2 * np.abs(full).max()
    scores = [ClassifierRuntime(classifier_weights(), device="cpu", precision=p)(full) for p in ("fp32", "bf16")]
    np.testing.assert_allclose(*scores, atol=0.05)
    assert next(weights.model.parameters()).dtype == torch.float32


# --- transfer


def test_all_65536_counts_survive_the_way_up():
    counts = np.arange(65_536, dtype=np.uint16).reshape(2, 2, 128, 128)
    up = Transfer(CPU).up([counts, counts[::-1]])
    assert up.dtype == torch.float32
    np.testing.assert_array_equal(up[0].numpy(), counts.astype(np.float32))
    np.testing.assert_array_equal(up[1].numpy(), counts[::-1].astype(np.float32))
    np.testing.assert_array_equal(counts_of(torch.tensor([-1, -32768], dtype=torch.int16)), [65535, 32768])


def test_buffers_follow_batches_that_grow_and_shrink():
    transfer = Transfer(CPU)
    for n in (2, 5, 1, 3):
        batch = [np.full((3, 4), 100 * n + i, np.uint16) for i in range(n)]
        np.testing.assert_array_equal(transfer.down(transfer.up(batch)), np.stack(batch).astype(np.float32))
