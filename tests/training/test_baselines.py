"""Baselines: what each keeps and removes, and that all randomness comes from the generator."""

from __future__ import annotations

import itertools

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventveil.models.noise import LiveNoise, SeededNoise
from eventveil.training.networks.baselines import Discard, Gaussian, Pixelate, PolarityDrop, Scramble, Unchanged

ALL = (Unchanged(), Gaussian(2.0), Scramble(), Discard(), Pixelate(4), PolarityDrop())
RANDOM = (Gaussian(2.0), Scramble(), Discard(0.5))


def counts(batch=3, channels=4, size=(7, 9), mean=2.0, seed=0):
    drawn = np.random.default_rng(seed).poisson(mean, (batch, channels, *size))
    return torch.from_numpy(drawn.astype(np.float32))


@pytest.mark.parametrize("baseline", ALL, ids=lambda b: type(b).__name__)
def test_every_baseline_keeps_the_shape_and_leaves_its_input_alone(baseline):
    x = counts()
    before = x.clone()
    out = baseline.anonymize(x, LiveNoise())
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert torch.equal(x, before)
    assert baseline.anonymize(x[:1], LiveNoise()).shape == (1, *x.shape[1:])


@pytest.mark.parametrize("baseline", RANDOM, ids=lambda b: type(b).__name__)
def test_all_randomness_is_the_generators(baseline):
    x = counts()
    again = [baseline.anonymize(x, SeededNoise(seed)) for seed in (5, 5, 6)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    live = LiveNoise()
    torch.manual_seed(0)
    first = baseline.anonymize(x, live)
    torch.manual_seed(0)
    assert not torch.equal(first, baseline.anonymize(x, live))


def test_identity_is_the_raw_end():
    x = counts()
    assert torch.equal(Unchanged().anonymize(x, LiveNoise()), x)


def test_gaussian_noise_has_the_requested_standard_deviation():
    x = counts(8, 10, (40, 40))
    noise = Gaussian(32.0).anonymize(x, SeededNoise(1)) - x
    # 128,000 draws: the mean has a standard error of 0.09, the standard deviation one of 0.06.
    assert abs(noise.mean()) < 0.5
    assert abs(noise.std() - 32) < 0.4
    assert torch.equal(Gaussian(0.0).anonymize(x, SeededNoise(1)), x)


def test_scrambling_moves_pixels_with_all_their_channels():
    x = counts(2, 4, (5, 6))
    x[1] = x[0]
    out = Scramble().anonymize(x, SeededNoise(3))

    def pixels(window):
        return sorted(map(tuple, window.flatten(1).T.tolist()))

    assert pixels(out[0]) == pixels(out[1]) == pixels(x[0])
    assert not torch.equal(out[0], x[0])
    assert not torch.equal(out[0], out[1])  # each window has its own permutation


def test_every_pixel_is_as_likely_to_land_anywhere():
    x = torch.zeros(4000, 1, 2, 3)
    x[:, 0, 0, 1] = 1
    landed = Scramble().anonymize(x, SeededNoise(4)).mean(0).flatten()
    # One standard deviation of a share of 1/6 among 4,000 is 0.006.
    np.testing.assert_allclose(landed, 1 / 6, atol=0.03)
    orders = torch.arange(3.0).view(1, 1, 1, 3).expand(3000, 1, 1, 3)
    scrambled = [tuple(row) for row in Scramble().anonymize(orders, SeededNoise(5))[:, 0, 0].tolist()]
    for order in itertools.permutations((0.0, 1.0, 2.0)):
        assert abs(scrambled.count(order) / 3000 - 1 / 6) < 0.035


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_thinning_is_binomial(share):
    count, windows = 6, 40_000
    kept = Discard(share).anonymize(torch.full((windows, 1, 1, 2), float(count)), SeededNoise(2))
    of_one, of_other = kept[:, 0, 0].T
    for k in range(count + 1):
        ways = np.prod([(count - i) / (i + 1) for i in range(k)])
        want = ways * (1 - share) ** k * share ** (count - k)
        assert float((of_one == k).float().mean()) == pytest.approx(want, abs=5 * (want / windows) ** 0.5)
    assert abs(np.corrcoef(of_one, of_other)[0, 1]) < 0.025  # cells are thinned independently


@given(st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.3, 0.75, 1.0)))
def test_thinning_adds_no_event(seed, share):
    x = counts(seed=seed)
    out = Discard(share).anonymize(x, SeededNoise(seed))
    assert torch.equal(out, out.round())
    assert bool(((out >= 0) & (out <= x)).all())
    if share in (0, 1):
        assert torch.equal(out, x * (1 - share))


def test_thinning_takes_large_counts_and_empty_windows():
    assert torch.equal(Discard().anonymize(torch.zeros(1, 2, 3, 4), LiveNoise()), torch.zeros(1, 2, 3, 4))
    full = torch.full((1, 1, 1, 2), 65_535.0)
    assert (Discard().anonymize(full, SeededNoise(0)) / full).mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("value", [0.5, -1.0, float("nan")])
def test_thinning_refuses_values_that_are_not_counts(value):
    x = counts()
    x[1, 2, 3, 4] = value
    with pytest.raises(ValueError, match="whole numbers"):
        Discard().anonymize(x, LiveNoise())


@given(st.one_of(st.integers(1, 5), st.just(10**9)), st.integers(1, 9), st.integers(1, 9))
def test_pixelation_is_its_twin(size, height, width):
    x = counts(2, 2, (height, width))
    want = np.zeros(x.shape, np.float32)
    for row, column in itertools.product(range(0, height, size), range(0, width, size)):
        block = (slice(None), slice(None), slice(row, row + size), slice(column, column + size))
        want[block] = x.numpy()[block].mean((2, 3), keepdims=True)
    got = Pixelate(size).anonymize(x, LiveNoise())
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got.sum().item() == pytest.approx(x.sum().item(), rel=1e-5)


def test_polarity_is_forgotten_and_nothing_else():
    x = counts(2, 6)
    out = PolarityDrop().anonymize(x, LiveNoise())
    for k in range(3):
        for p in range(2):
            assert torch.equal(out[:, 2 * k + p], x[:, 2 * k] + x[:, 2 * k + 1])
    with pytest.raises(ValueError, match="pairs"):
        PolarityDrop().anonymize(x[:, :5], LiveNoise())


@pytest.mark.parametrize(
    ("baseline", "settings"),
    [(Gaussian, {"std": -1}), (Gaussian, {"std": float("inf")}), (Discard, {"share": 1.1}), (Pixelate, {"size": 0}),
     (Scramble, {"seed": 1})],
)  # fmt: skip
def test_settings_out_of_range_or_unknown_are_refused(baseline, settings):
    with pytest.raises(pydantic.ValidationError, match=next(iter(settings))):
        baseline(**settings)
