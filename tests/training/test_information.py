"""Bits of noisy codes: against integrals, and the labels that are known already."""

from __future__ import annotations

import numpy as np
import pytest

from eventveil.training.evaluation.information import mixture_bits, mixture_bits_given


def integral(means, stds):
    """Return the information of one-dimensional codes by numerical integration."""
    z = np.linspace(-40, 40, 200_001)
    density = np.exp(-(((z - means[:, None]) / stds[:, None]) ** 2) / 2) / (stds[:, None] * np.sqrt(2 * np.pi))
    mixed = density.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(density * np.log2(density / mixed))
    return float(terms.sum(1).mean() * (z[1] - z[0]))


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0, 8.0])
def test_it_is_the_integral(spread):
    """A draw differs from the mean by some 1.5 bits, so 4 x 20,000 draws are within 0.03 bits: five standard errors."""
    means, stds = spread * np.array([-1.5, -0.2, 0.3, 1.0]), np.array([1.0, 1.5, 2.0, 1.2])
    got = mixture_bits(means[:, None], stds[:, None], draws=20_000)
    assert got == pytest.approx(integral(means, stds), abs=0.03)


def test_codes_in_tight_clusters_carry_the_cluster_and_nothing_else():
    random, label = np.random.default_rng(0), np.arange(400) % 8
    corners = np.array([[x, y, z] for x in (-20, 20) for y in (-20, 20) for z in (-20, 20)], float)
    mean = corners[label] + 0.01 * random.standard_normal((400, 3))
    assert mixture_bits(mean, np.ones((400, 3))) == pytest.approx(3, abs=0.01)
    assert mixture_bits_given(label, mean, np.ones((400, 3))) < 0.01


def test_windows_with_equal_codes_carry_nothing():
    assert mixture_bits(np.ones((50, 4)), np.full((50, 4), 1.5)) == pytest.approx(0, abs=1e-12)
