"""The noisy channel: the guarantees on its code, for any weights."""

from __future__ import annotations

import math

import numpy as np
import pydantic
import pytest
import torch

from eventveil.models.kinds import build, describe, initialise
from eventveil.models.metadata import Metadata
from eventveil.models.noise import SeededNoise
from eventveil.models.noisy_channel import NoisyChannel, rate
from eventveil.models.runtime import Anonymizer
from eventveil.models.weights import load_weights, save_weights

CONFIG = {"channels": 4, "code": 3, "width": 4, "pen": 8}
WINDOW = {"bins": 2, "bin_us": 1_000, "hop": 2, "size": (12, 10)}


def counts(batch, size=(10, 12), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).poisson(0.5, (batch, 4, *size)).astype(np.float32))


@pytest.mark.parametrize("size", [(10, 12), (1, 1), (33, 64)])
def test_windows_of_every_size_come_out_as_large_and_not_negative(size):
    model = initialise("noisy_channel", CONFIG, seed=1)
    out = model.anonymize(counts(2, size), SeededNoise(1))
    assert out.shape == (2, 4, *size)
    assert out.min() >= 0
    assert out.dtype == torch.float32


def test_the_same_noise_gives_the_same_and_other_noise_something_else():
    model = initialise("noisy_channel", CONFIG, seed=1)
    x = counts(2)
    torch.testing.assert_close(model.anonymize(x, SeededNoise(1)), model.anonymize(x, SeededNoise(1)))
    assert not torch.allclose(model.anonymize(x, SeededNoise(1)), model.anonymize(x, SeededNoise(2)))


def test_what_is_drawn_depends_on_the_window_through_the_code_alone():
    model = initialise("noisy_channel", CONFIG, seed=1)
    noise = torch.zeros(1, 3)
    mean, _ = model.read(counts(1))
    torch.testing.assert_close(model(counts(1), noise), model.draw(mean, 10, 12))


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_the_code_keeps_its_limits_whatever_the_weights_are(scale):
    model = initialise("noisy_channel", CONFIG, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        mean, std = model.read(counts(8) * 1_000)
    assert mean.abs().max() <= model.config.limit
    assert std.min() >= 1
    assert std.max() <= 2


def test_the_rate_never_passes_that_of_a_gaussian_as_wide_as_a_code_can_be():
    generator = np.random.default_rng(3)
    for _ in range(100):
        mean = torch.from_numpy(generator.choice([-2.0, 0.5, 2.0], (64, 5)))
        std = torch.from_numpy(generator.uniform(1, 2, (64, 5)))
        assert 0 <= rate(mean, std).item() <= 5 / 2 * math.log(2.0**2 + 4)


def noisy_codes(monkeypatch, mean, count=20_000):
    """Return what the decoder receives of a code that is `mean` everywhere, with noise of deviation 1."""
    received = []
    model = initialise("noisy_channel", CONFIG, seed=1)
    monkeypatch.setattr(model, "read", lambda x: (torch.full((len(x), 3), mean), torch.ones(len(x), 3)))
    monkeypatch.setattr(model, "draw", lambda code, height, width: received.append(code) or code)
    model.anonymize(torch.zeros(count, 4, 1, 1), SeededNoise(3))
    return received[0].numpy().ravel()


def test_the_last_bits_of_a_noisy_code_tell_nothing(monkeypatch):
    """Of noisy codes near 0, those of mean 3 are sums of coarse floats, and few of those of mean 0 are."""
    coarse = []
    for mean in (0.0, 3.0):
        code = noisy_codes(monkeypatch, mean)
        near = code[abs(code) < 0.25]
        assert len(near) > 100
        coarse.append((near * 2**22 % 1 == 0).mean())
        assert (code.mean(), code.std()) == pytest.approx((mean, 1), abs=0.02)
    assert coarse == [1, 1]
    assert not (code * 256 % 1).any()


def test_the_rate_is_that_of_a_gaussian_channel():
    """Signal of variance S, noise of variance N: log(1 + S/N) / 2 nats a number (Shannon 1948)."""
    signal = torch.from_numpy(np.random.default_rng(1).normal(0, 3, (200_000, 2)))
    got = rate(signal, torch.full_like(signal, 1.5)).item()
    assert got == pytest.approx(2 * math.log(1 + 9 / 1.5**2) / 2, rel=0.01)


def test_equal_codes_tell_nothing():
    assert rate(torch.ones(4, 3), torch.full((4, 3), 1.3)).item() == pytest.approx(0, abs=1e-6)


def test_the_rate_bounds_the_bits_that_really_pass():
    """Two equally likely codes at -M and M: their mutual information by numerical integration."""
    z = np.linspace(-12, 12, 20_001)
    bell = [np.exp(-((z - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (-3, 3)]
    mixture = (bell[0] + bell[1]) / 2
    information = sum(np.trapezoid(part * np.log(part / mixture), z) / 2 for part in bell)
    bound = rate(torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1)).item()
    assert 0.6 < information <= bound


def test_the_rate_is_differentiable_and_comes_with_the_windows():
    model = initialise("noisy_channel", CONFIG, seed=1)
    out, rate_nats = model.rated(counts(4), torch.zeros(4, 3))
    torch.testing.assert_close(out, model(counts(4), torch.zeros(4, 3)))
    rate_nats.backward()
    assert model.reader[-1].weight.grad.abs().sum() > 0
    assert model.last.weight.grad is None


@pytest.mark.parametrize(("x", "noise"), [((2, 5, 8, 8), (2, 3)), ((4, 8, 8), (4, 3)), ((2, 4, 8, 8), (2, 4))])
def test_wrong_shapes_are_refused(x, noise):
    with pytest.raises(ValueError, match="expected windows"):
        initialise("noisy_channel", CONFIG, seed=1)(torch.zeros(x), torch.zeros(noise))


@pytest.mark.parametrize("wrong", [{"code": 0}, {"limit": 0.0}, {"limit": math.inf}, {"pen": 1}, {"depth": 50}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        build("noisy_channel", CONFIG | wrong)


def test_it_is_saved_loaded_and_run_as_an_anonymizer(tmp_path):
    model = initialise("noisy_channel", CONFIG, seed=1)
    assert describe(model)[0] == "noisy_channel"
    save_weights(tmp_path / "weights", model, Metadata.of(model, role="anonymizer", trained=True, **WINDOW))
    weights = load_weights(tmp_path / "weights")
    windows = [np.full((2, 2, 10, 12), 7, np.uint16), np.full((2, 2, 10, 12), 60_000, np.uint16)]
    out = Anonymizer(weights, device="cpu", noise=SeededNoise(1))(windows)
    with torch.no_grad():
        want = model.anonymize(torch.from_numpy(np.stack(windows).astype(np.float32)).flatten(1, 2), SeededNoise(1))
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-5)


def test_it_runs_in_bfloat16_with_its_code_in_full_precision():
    model = initialise("noisy_channel", CONFIG, seed=1).to(torch.bfloat16)
    out = model.anonymize(counts(2), SeededNoise(1))
    assert out.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in model.read(counts(2)))


def test_it_begins_from_a_classifier_that_sees_what_it_sees():
    classifier = initialise(
        "resnet_classifier", {"depth": 18, "width": 4, "channels": 4, "classes": 5, "logarithm": True}, seed=2
    )
    model = initialise("noisy_channel", CONFIG, seed=1)
    model.begin_from(classifier)
    logarithms = counts(2).log1p()
    torch.testing.assert_close(model.reader[:8](logarithms), classifier.backbone[:-1](logarithms))


@pytest.mark.parametrize(
    "other", [{"depth": 34}, {"width": 8}, {"channels": 6}, {"logarithm": False}], ids=lambda other: next(iter(other))
)
def test_it_does_not_begin_from_a_classifier_of_another_build(other):
    config = {"depth": 18, "width": 4, "channels": 4, "classes": 5, "logarithm": True} | other
    with pytest.raises(ValueError, match=next(iter(other))):
        initialise("noisy_channel", CONFIG, seed=1).begin_from(initialise("resnet_classifier", config, seed=2))


def test_training_it_takes_one_step_down():
    torch.manual_seed(0)
    model: NoisyChannel = initialise("noisy_channel", CONFIG, seed=1).train()
    x, noise = counts(8), torch.zeros(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        out, rate_nats = model.rated(x, noise)
        loss = (out.log1p() - x.log1p()).square().mean() + 0.01 * rate_nats
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
