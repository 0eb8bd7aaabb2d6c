"""Picture similarity: Wang's formula pixel by pixel, and its values for simple pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_training as reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventveil.training.objectives.ssim import psnr, ssim


def pictures(seed, batch=2, channels=2, size=(13, 16), scale=1.0):
    generator = np.random.default_rng(seed)
    a = generator.random((batch, channels, *size))
    b = np.clip(a + generator.normal(0, 0.3, a.shape), 0, 1)
    return (torch.from_numpy(x.astype(np.float32)) * scale for x in (a, b))


@given(st.integers(0, 2**32 - 1), st.sampled_from((1.0, 255.0)), st.sampled_from(((11, 11), (12, 19), (17, 11))))
def test_ssim_is_its_twin(seed, scale, size):
    a, b = pictures(seed, size=size, scale=scale)
    got = ssim(a, b, scale)
    assert got.shape == (2,)
    for index in range(2):
        of_channels = [reference.ssim(a[index, c].numpy(), b[index, c].numpy(), scale) for c in range(2)]
        assert got[index].item() == pytest.approx(np.mean(of_channels), abs=1e-5)


def test_equal_pictures_are_1_and_a_negative_is_below_0():
    a, _ = pictures(1)
    torch.testing.assert_close(ssim(a, a, 1.0), torch.ones(2))
    assert ssim(a, 1 - a, 1.0).max() < 0


def test_two_flat_pictures_have_the_luminance_term_alone():
    a, b = torch.full((1, 1, 20, 20), 0.4), torch.full((1, 1, 20, 20), 0.6)
    assert ssim(a, b, 1.0).item() == pytest.approx((2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4), rel=1e-4)


def test_the_range_matters():
    a, b = pictures(2)
    assert ssim(a, b, 1.0).tolist() == pytest.approx(ssim(a * 255, b * 255, 255.0).tolist(), rel=1e-4)
    assert (ssim(a, b, 255.0) > ssim(a, b, 1.0)).all()


def test_ssim_can_be_trained_with():
    a, b = (x.double().requires_grad_() for x in pictures(3, batch=1, channels=1, size=(11, 12)))
    assert torch.autograd.gradcheck(lambda x, y: ssim(x, y, 1.0), (a, b))
    flat = torch.zeros(1, 1, 11, 11, requires_grad=True)
    ssim(flat, torch.zeros(1, 1, 11, 11), 1.0).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_autocast_does_not_coarsen_it():
    a, b = pictures(4, size=(32, 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim(a, b, 1.0)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, ssim(a, b, 1.0))


def test_psnr_is_the_formula():
    a, b = pictures(5)
    for index, value in enumerate(psnr(a, b, 2.0)):
        error = np.mean((a[index].numpy().astype(np.float64) - b[index].numpy()) ** 2)
        assert value.item() == pytest.approx(10 * math.log10(4 / error), rel=1e-5)
    assert psnr(a, a, 1.0).tolist() == [math.inf, math.inf]
    assert psnr(a, a + 0.1, 1.0).tolist() == pytest.approx([20, 20], rel=1e-4)


def test_shapes_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="at least 11x11 pixels"):
        ssim(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30), 1.0)
    for function in (ssim, psnr):
        with pytest.raises(ValueError, match="expected two equal"):
            function(torch.zeros(2, 1, 12, 12), torch.zeros(1, 1, 12, 12), 1.0)
