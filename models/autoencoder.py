"""The anonymizer of "Person Re-Identification without Identification": an autoencoder of voxel grids.

Source: Ahmad et al., ICCV 2023; layer sizes as in the paper and the code published with it, which pools with stride 1
twice and pads the last convolution by 2 to restore the size of the input.
Legend of axes: B windows, C bins of the voxel grid, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from eventveil.models.configs import EventAutoencoderConfig
from eventveil.models.noise import NoiseGenerator


class EventAutoencoder(nn.Module):
    """Anonymizes voxel grids with four 3x3 convolutions, C-64-16-64-C channels, and a sigmoid.

    It adds no noise: the same voxel grid always gives the same output, values from 0 to 1.

    Args:
        config: what to build; None for the published network, for 5 bins.

    Source: Ahmad et al., Person Re-Identification without Identification via Event Anonymization, ICCV 2023.

    >>> from eventveil.models.noise import SeededNoise
    >>> model = EventAutoencoder(EventAutoencoderConfig(channels=3)).eval()
    >>> voxels = torch.zeros(2, 3, 12, 16)
    >>> voxels[:, 1, 4, 5] = 7
    >>> with torch.inference_mode():
    ...     anonymized = model.anonymize(voxels, SeededNoise(0))
    >>> anonymized.shape, 0 <= anonymized.min() <= anonymized.max() <= 1
    (torch.Size([2, 3, 12, 16]), tensor(True))
    """

    def __init__(self, config: EventAutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EventAutoencoderConfig()
        channels = self.config.channels
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1),
            nn.Conv2d(64, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, channels, 3, padding=2), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Map normalised voxel grids, float32 (B, C, H, W), to anonymized ones of the same shape.

        Raises:
            ValueError: the shape differs from this, or a window is smaller than 3x3.
        """
        channels = self.config.channels
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != channels or min(x_BCHW.shape[2:]) < 3:
            raise ValueError(f"expected (B, {channels}, H, W) of at least 3x3 pixels, got {tuple(x_BCHW.shape)}")
        code = self.encoder(x_BCHW.to(next(self.parameters()).dtype))
        return self.decoder(code).to(x_BCHW.dtype)  # type: ignore[no-any-return]

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Normalise float32 voxel grids (B, C, H, W), if they are not yet, and anonymize them; no noise is drawn."""
        return self(normalise_nonzero(x_BCHW) if self.config.normalise else x_BCHW)  # type: ignore[no-any-return]


def normalise_nonzero(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Normalise the non-zero values of each window to mean 0 and standard deviation 1; zeros stay zero.

    Where all non-zero values of a window are equal, only their mean is subtracted.
    Source: the preprocessing of E2VID (Rebecq et al., 2019), which the paper follows.
    """
    axes = (1, 2, 3)
    nonzero = x_BCHW != 0
    n = nonzero.sum(axes, keepdim=True).clamp(min=1)
    centred = torch.where(nonzero, x_BCHW - x_BCHW.sum(axes, keepdim=True) / n, 0.0)
    variance = centred.square().sum(axes, keepdim=True) / n
    # Equal values differ from their mean by rounding alone. The root comes after the selection, because the root of 0
    # has no gradient, and training needs one.
    return centred / torch.where(variance > 1e-12, variance, 1.0).sqrt()
