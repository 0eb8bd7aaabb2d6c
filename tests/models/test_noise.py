"""Noise: live noise that cannot be repeated, seeded noise that can."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from eventveil.models.noise import LiveNoise, SeededNoise

CPU = torch.device("cpu")


def test_live_noise_never_repeats():
    live = LiveNoise()
    draws = [live.normal((4, 5), CPU), live.normal((4, 5), CPU), LiveNoise().normal((4, 5), CPU)]
    values = torch.stack(draws).flatten()
    assert len(values.unique()) == len(values)


def test_live_noise_ignores_every_seed_there_is():
    def seeded():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - the global generator must have no effect
        return LiveNoise().normal((100,), CPU)

    assert not torch.equal(seeded(), seeded())
    with pytest.raises(TypeError):
        LiveNoise(1)
    assert list(inspect.signature(LiveNoise.normal).parameters) == ["self", "shape", "device"]


@pytest.mark.parametrize("source", [LiveNoise(), SeededNoise(3)])
def test_noise_is_standard_normal(source):
    noise = source.normal((4, 2, 250, 250), CPU)
    assert noise.dtype == torch.float32
    assert noise.shape == (4, 2, 250, 250)
    # 500,000 draws: means are within 0.0014, variances within 0.002 (one standard deviation); 6 never occur.
    assert abs(noise.mean()) < 0.0085
    assert abs(noise.var() - 1) < 0.012
    assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.004
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean()
    assert abs(neighbours) < 0.0085


def test_seeded_noise_is_drawn_again_and_goes_on():
    first, second = SeededNoise(7), SeededNoise(7)
    a = [first.normal((3, 2), CPU) for _ in range(2)]
    b = [second.normal((3, 2), CPU) for _ in range(2)]
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a[0], SeededNoise(8).normal((3, 2), CPU))
    assert not torch.equal(a[0], SeededNoise(7 + 2**64).normal((3, 2), CPU))


def test_why_pytorchs_cpu_generator_is_not_live_noise():
    # It keeps 32 bits of its seed. If this ever fails, the reason given in models/noise.py is out of date.
    low, high = (torch.Generator().manual_seed(seed) for seed in (3, 3 + 2**32))
    assert torch.equal(torch.randn(16, generator=low), torch.randn(16, generator=high))
