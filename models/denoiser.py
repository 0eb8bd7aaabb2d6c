"""The denoiser an attacker may put before a network: it tries to take the anonymizer's noise off again.

It also serves as the network of the inversion attack that Ahmad et al. (ICCV 2023) describe and publish no code for:
anonymized voxel grids in, an estimate of the normalised raw ones out.

Source: Bendig et al., WACV 2025, after DnCNN (Zhang et al., 2017); state-dict keys `dncnn.*` as in the published code.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DenoiserConfig:
    """What to build; the defaults are the published network.

    Attributes:
        channels: C of a window, 2 per bin.
        width: channels of the convolutions inside.
        layers: convolutions, the first and the last among them.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 10
    width: Annotated[int, Field(ge=1, le=1024)] = 128
    layers: Annotated[int, Field(ge=2, le=100)] = 15


class Denoiser(nn.Module):
    """3x3 convolutions, fifteen of 128 channels as published, with batch norm in all but the first and the last."""

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
            ValueError: the shape is not as above.
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.config.channels:
            raise ValueError(f"expected (B, {self.config.channels}, H, W), got {tuple(x_BCHW.shape)}")
        return self.dncnn(x_BCHW)  # type: ignore[no-any-return]
