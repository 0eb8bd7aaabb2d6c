"""CUDA against the CPU: same noise, same values; and fail-closed when the device fails. Skipped without a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventveil.errors import AnonymizerError, ConfigError
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.noise import LiveNoise, SeededNoise
from eventveil.models.precision import TOLERANCE as PRECISION_TOLERANCE
from eventveil.models.precision import start
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.transfer import Transfer
from eventveil.models.weights import Weights

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

WINDOW = {"bins": 5, "bin_us": 1000, "hop": 5, "size": (48, 40), "trained": False}
TOLERANCE = {"fp32": 1e-3, "bf16": 1e-2}
OUTPUTS = ("x+f*n", "f", "x+f", "mean_std")


def anonymizer(kind="anonynoise", **config):
    voxel = kind == "event_autoencoder"
    model = initialise(kind, config | ({} if voxel else {"noise_std": 32.0}), seed=1)
    if not voxel:
        model.convs3[2].bias.data.fill_(1.0)  # f around 1: untrained, x + f alone is too close to x to be published
    window = WINDOW | {"representation": "voxel" if voxel else "histogram"}
    return Weights(model, Metadata.of(model, role="anonymizer", **window), "")


def classifier(depth=50):
    model = initialise("resnet_classifier", {"depth": depth, "width": 16, "classes": 5}, seed=1)
    model.classifier[0].weight.data *= 100  # away from a uniform output
    return Weights(model, Metadata.of(model, role="target", labels=tuple("abcde"), **WINDOW), "")


def windows(n, seed=0):
    counts = np.random.default_rng(seed).poisson(0.4, (n, 5, 2, 40, 48)).astype(np.uint16)
    counts[:, 0, 0, 0, 0] = 65_535
    return list(counts)


def assert_close(got, want, precision):
    """Relative to the largest value: for single values near zero a relative error is meaningless."""
    assert got.dtype == want.dtype == np.float32
    assert np.abs(got - want).max() <= TOLERANCE[precision] * np.abs(want).max()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("output", OUTPUTS)
def test_cuda_anonymizes_as_the_cpu_does(precision, n, output):
    weights = anonymizer(output=output)
    # Counts of 65,535 would dominate the comparison; here they stay small.
    counts = [np.minimum(window, 9) for window in windows(n)]
    want = Anonymizer(weights, device="cpu", noise=SeededNoise(2))(counts)
    got = Anonymizer(weights, device="cuda", precision=precision, noise=SeededNoise(2))(counts)
    assert_close(got, want, precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_anonymizes_voxel_grids_as_the_cpu_does(precision):
    weights = anonymizer("event_autoencoder")
    grids = list(np.random.default_rng(1).normal(size=(3, 5, 40, 48)).astype(np.float32))
    want = Anonymizer(weights, device="cpu")(grids)
    assert_close(Anonymizer(weights, device="cuda", precision=precision)(grids), want, precision)


@pytest.mark.parametrize("depth", [18, 50])
def test_cuda_classifies_as_the_cpu_does(depth):
    x = np.random.default_rng(3).normal(size=(4, 10, 40, 48)).astype(np.float32)
    want = Classifier(classifier(depth), device="cpu")(x)
    assert_close(Classifier(classifier(depth), device="cuda")(x), want, "fp32")
    half = Classifier(classifier(depth), device="cuda", precision="bf16")(x)
    np.testing.assert_allclose(half, want, atol=0.05)  # fifty layers of 8-bit rounding before the softmax


def test_counts_go_up_exactly_and_come_down_from_pinned_memory():
    transfer = Transfer(torch.device("cuda"))
    for n in (3, 1, 6):
        counts = windows(n, seed=n)
        up = transfer.up(counts)
        assert up.device.type == "cuda"
        (down,) = transfer.down(up)
        np.testing.assert_array_equal(down, np.stack(counts).astype(np.float32))
        assert torch.from_numpy(down).is_pinned()
    assert transfer._up._bytes.is_pinned()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_batch_waits_for_the_device_once(precision):
    """`down` waits explicitly; any other wait is an error here."""
    runtime = Anonymizer(anonymizer(), device="cuda", precision=precision)
    runtime.warm_up(2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        runtime(windows(2))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_auto_takes_a_precision_that_agrees_with_fp32():
    weights = anonymizer()
    runtime, runs_on = start(
        lambda precision: Anonymizer(weights, device="cuda", precision=precision), "auto", batch=8, stage="anonymize"
    )
    assert runs_on in ("cuda, fp32", "cuda, bf16")
    exact = Anonymizer(weights, device="cuda").rehearsal(8)()
    assert np.abs(runtime.rehearsal(8)() - exact).max() <= PRECISION_TOLERANCE * np.abs(exact).max()


def test_live_noise_is_made_on_the_device_and_never_twice():
    device = torch.device("cuda")
    torch.cuda.manual_seed(0)
    a = LiveNoise().normal((4, 100_000), device)
    torch.cuda.manual_seed(0)
    b = LiveNoise().normal((4, 100_000), device)
    assert a.device.type == "cuda"
    assert abs(a.mean()) < 0.01
    assert abs(a.var() - 1) < 0.015
    assert not torch.equal(a, b)
    assert abs((a * b).mean()) < 0.01


def test_fp32_is_not_tf32():
    Anonymizer(anonymizer(), device="cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_results_are_the_callers_own():
    runtime = Anonymizer(anonymizer(), device="cuda")
    first = runtime(windows(2))
    kept = first.copy()
    runtime(windows(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_a_cuda_error_lets_nothing_out():
    class TooMuch:
        def normal(self, shape, device):
            return torch.empty(1 << 60, device=device)  # a genuine device error: out of memory

    with pytest.raises(AnonymizerError, match=r"failed on cuda \(OutOfMemoryError\)"):
        Anonymizer(anonymizer(), device="cuda", noise=TooMuch())(windows(2))


def test_what_the_output_check_finds_on_the_device_is_refused():
    weights = anonymizer()
    weights.model.convs3[2].weight.data.zero_()
    weights.model.convs3[2].bias.data.zero_()
    with pytest.raises(AnonymizerError, match="returned a window unchanged"):
        Anonymizer(weights, device="cuda")(windows(2))
    weights.model.convs3[2].bias.data.fill_(float("nan"))
    with pytest.raises(AnonymizerError, match="not finite"):
        Anonymizer(weights, device="cuda")(windows(2))


def test_only_devices_that_are_there_are_taken():
    assert Anonymizer(anonymizer()).device == torch.device("cuda")
    assert Anonymizer(anonymizer(), device="cuda:0").device == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="PyTorch sees"):
        Anonymizer(anonymizer(), device=f"cuda:{torch.cuda.device_count()}")
