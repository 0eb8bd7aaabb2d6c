"""Picture similarity: structural similarity and peak signal-to-noise ratio.

Legend of axes: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch.nn import functional

SIDE = 11  # pixels of the Gaussian window
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def ssim(a_BCHW: torch.Tensor, b_BCHW: torch.Tensor, data_range: float | torch.Tensor) -> torch.Tensor:
    """Return the mean structural similarity of each pair, over channels and all pixels whose window lies inside.

    Differentiable. Computed in float32 (float64 if either input is), even under autocast: variances are small
    differences of large squares.

    Args:
        a_BCHW: pictures of at least 11x11 pixels.
        b_BCHW: pictures of the same shape.
        data_range: L, the range of pixel values.

    Returns:
        (B,), at most 1, the value of equal pictures.

    Raises:
        ValueError: shapes differ or are too small.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004, equation (13)
    with its Gaussian window of 11x11, sigma 1.5, K1 = 0.01 and K2 = 0.03.
    """
    _check(a_BCHW, b_BCHW)
    if min(a_BCHW.shape[2:]) < SIDE:
        raise ValueError(f"expected pictures of at least {SIDE}x{SIDE} pixels, got {tuple(a_BCHW.shape)}")
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    with torch.autocast(a_BCHW.device.type, enabled=False):
        a, b = _widened(a_BCHW, b_BCHW)
        # Relative to each picture's mean, where squares are smallest; variances are not affected.
        offset_a, offset_b = (picture.detach().mean((2, 3), keepdim=True) for picture in (a, b))
        a, b = a - offset_a, b - offset_b
        mean_a, mean_b, square_a, square_b, product = _blurred(torch.stack((a, b, a * a, b * b, a * b)))
        variances = square_a - mean_a.square() + square_b - mean_b.square()
        covariance = product - mean_a * mean_b
        mean_a, mean_b = mean_a + offset_a, mean_b + offset_b
        luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
        structure = (2 * covariance + c2) / (variances + c2)
        return (luminance * structure).mean((1, 2, 3))  # type: ignore[no-any-return]


def psnr(a_BCHW: torch.Tensor, b_BCHW: torch.Tensor, data_range: float) -> torch.Tensor:
    """Return the peak signal-to-noise ratio of each pair in decibels, (B,); infinite for equal pictures.

    Raises:
        ValueError: shapes differ.
    """
    _check(a_BCHW, b_BCHW)
    a, b = _widened(a_BCHW, b_BCHW)
    return 10 * torch.log10(data_range**2 / (a - b).square().mean((1, 2, 3)))


def _check(a_BCHW: torch.Tensor, b_BCHW: torch.Tensor) -> None:
    if a_BCHW.ndim != 4 or a_BCHW.shape != b_BCHW.shape:
        raise ValueError(f"expected two equal (B, C, H, W), got {tuple(a_BCHW.shape)} and {tuple(b_BCHW.shape)}")


def _widened(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _blurred(maps_NBCHW: torch.Tensor) -> torch.Tensor:
    """Blur with the Gaussian window, only where it lies inside: the result has 10 rows and columns fewer."""
    from_centre = torch.arange(SIDE, dtype=maps_NBCHW.dtype, device=maps_NBCHW.device) - SIDE // 2
    weights = torch.softmax(-from_centre.square() / (2 * SIGMA**2), dim=0)
    flat = maps_NBCHW.flatten(0, 2)[:, None]
    flat = functional.conv2d(functional.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return flat.view(*maps_NBCHW.shape[:3], *flat.shape[2:])
