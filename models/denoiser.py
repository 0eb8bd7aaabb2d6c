"""The denoiser that an attacker may put in front of a network, to remove the anonymizer's noise.

It is also the network of the inversion attack that Ahmad et al. (ICCV 2023) describe without code: anonymized voxel
grids in, an estimate of the normalised raw ones out.

Source: Bendig et al., WACV 2025, after DnCNN (Zhang et al., 2017); state-dict keys `dncnn.*` as in the published code.
"""

from __future__ import annotations

import torch
from torch import nn

from eventveil.models.configs import DenoiserConfig


class Denoiser(nn.Module):
    """Estimates raw windows from anonymized ones with 3x3 convolutions, by default fifteen of 128 channels.

    All but the first and the last have batch norm; all but the last end in a ReLU.

    Args:
        config: what to build; None for the published network, for windows of 5 bins.

    Source: Bendig et al., AnonyNoise, WACV 2025, after DnCNN (Zhang et al., IEEE TIP 2017).

    >>> model = Denoiser(DenoiserConfig(channels=4, width=8, layers=3)).eval()
    >>> model(torch.zeros(2, 4, 12, 16)).shape
    torch.Size([2, 4, 12, 16])
    >>> model(torch.zeros(2, 6, 12, 16))
    Traceback (most recent call last):
        ...
    ValueError: expected (B, 4, H, W), got (2, 6, 12, 16)
    """

    def __init__(self, config: DenoiserConfig | None = None) -> None:
        super().__init__()
        self.config = config or DenoiserConfig()
        channels, width = self.config.channels, self.config.width
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(self.config.layers - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(width, channels, 3, padding=1))
        self.dncnn = nn.Sequential(*layers)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Map anonymized windows, float32 (B, C, H, W), to an estimate of the raw ones, same shape.

        Raises:
            ValueError: the shape differs from this.
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.config.channels:
            raise ValueError(f"expected (B, {self.config.channels}, H, W), got {tuple(x_BCHW.shape)}")
        return self.dncnn(x_BCHW)  # type: ignore[no-any-return]
