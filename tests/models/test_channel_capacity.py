"""The capacity of a number of the noisy channel, against sums over densities that know nothing of the algorithm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eventveil.models.channel_capacity import capacity_nats
from eventveil.models.configs import NoisyChannelConfig

OUTPUT = np.linspace(-40, 40, 16_001)


def density(mean, std):
    return np.exp(-(((OUTPUT - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def divergence(one, other):
    """The Kullback-Leibler divergence of two densities, in nats; where `one` is 0, so is its part."""
    parts = np.where(one > 1e-200, one * np.log(np.maximum(one, 1e-200) / np.maximum(other, 1e-300)), 0)
    return float(np.trapezoid(parts, OUTPUT))


def information(inputs):
    """The mutual information of a sender that uses these (mean, deviation) with these shares, in nats."""
    mixture = sum(share * density(*each) for each, share in inputs.items())
    return sum(share * divergence(density(*each), mixture) for each, share in inputs.items())


def test_it_is_that_of_smiths_inputs_for_the_shipped_limit():
    """The best sender has few inputs (J. G. Smith, 1971): at the limits, and a little in the middle."""
    inputs = {(-3, 1): 0.355, (3, 1): 0.355, (-0.4, 1): 0.145, (0.4, 1): 0.145}
    assert information(inputs) <= capacity_nats(3.0) <= information(inputs) + 0.003
    assert NoisyChannelConfig(code=8, limit=3.0).capacity_bits == pytest.approx(10.2, abs=0.05)


def test_no_input_tells_more_against_a_fixed_density():
    """Any density of outputs bounds the capacity from above by the input that differs most from it."""
    inputs = {(-3, 1): 0.35, (3, 1): 0.35, (-3, 2): 0.0035, (3, 2): 0.0035, (-0.4, 1): 0.1465, (0.4, 1): 0.1465}
    fixed = sum(share * density(*each) for each, share in inputs.items())
    worst = max(
        divergence(density(mean, std), fixed) for mean in np.linspace(0, 3, 31) for std in np.linspace(1, 2, 11)
    )
    assert capacity_nats(3.0) <= worst + 0.001
    assert worst < capacity_nats(3.0) + 0.02


def test_without_means_only_the_deviation_tells():
    """A sender of mean 0 uses the deviations 1 and 2: the best share of them, by trying all."""
    best = max(information({(0, 1): 1 - share, (0, 2): share}) for share in np.linspace(0.01, 0.99, 99))
    assert capacity_nats(1e-6) == pytest.approx(best, abs=0.001)


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 5.0])
def test_it_grows_with_the_limit_and_stays_below_a_gaussian_as_wide(limit):
    assert capacity_nats(limit / 2) < capacity_nats(limit) < math.log(limit**2 + 4) / 2
