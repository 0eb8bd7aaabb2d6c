"""AnonyNoise: noise shaped by a network, which keeps the gesture and hides the person.

Source: Bendig et al., AnonyNoise, WACV 2025; layer sizes and state-dict keys (`convs1.0` to `convs3.2`) as in the code
published with it, so that its weights load unchanged. Legend of axes: B windows, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from eventveil.models.configs import AnonyNoiseConfig
from eventveil.models.noise import NoiseGenerator


class AnonyNoise(nn.Module):
    """Anonymizes event histograms with noise that six 3x3 convolutions shape for each window.

    The convolutions have 64-128-256-128-64 channels inside, with ReLU between. They compute f from the window x and
    Gaussian noise n, both in event counts, and the anonymized window is x + f*n.

    Args:
        config: which variant to build; None for the published one, for windows of 5 bins.

    Source: Bendig et al., AnonyNoise, WACV 2025.

    >>> from eventveil.models.noise import SeededNoise
    >>> model = AnonyNoise(AnonyNoiseConfig(channels=4)).eval()  # 2 bins of 2 polarities
    >>> counts = torch.ones(3, 4, 12, 16)
    >>> anonymized = model.anonymize(counts, SeededNoise(0))
    >>> anonymized.shape, anonymized.dtype
    (torch.Size([3, 4, 12, 16]), torch.float32)
    >>> torch.equal(anonymized, counts)
    False
    >>> torch.equal(model(counts, torch.zeros(3, 4, 12, 16)), counts)  # x + f*n, without noise
    True
    """

    def __init__(self, config: AnonyNoiseConfig | None = None) -> None:
        super().__init__()
        self.config = config or AnonyNoiseConfig()
        channels_in = self.config.channels * (2 if self.config.inputs == "histogram+noise" else 1)
        channels_out = self.config.channels * (2 if self.config.output == "mean_std" else 1)
        self.convs1 = nn.Sequential(_conv(channels_in, 64), nn.ReLU(), _conv(64, 128), nn.ReLU())
        self.convs2 = nn.Sequential(_conv(128, 256), nn.ReLU(), _conv(256, 128), nn.ReLU())
        self.convs3 = nn.Sequential(_conv(128, 64), nn.ReLU(), _conv(64, channels_out))

    def forward(self, x_BCHW: torch.Tensor, noise_BCHW: torch.Tensor) -> torch.Tensor:
        """Anonymize windows with the given noise.

        Args:
            x_BCHW: float32 (B, C, H, W), event counts.
            noise_BCHW: float32 (B, C, H, W), already scaled to `noise_std`.

        Returns:
            float32 (B, C, H, W), real-valued event counts.

        Raises:
            ValueError: a shape differs from these.
        """
        expected = (len(x_BCHW), self.config.channels, *x_BCHW.shape[2:])
        if x_BCHW.ndim != 4 or x_BCHW.shape != expected or noise_BCHW.shape != expected:
            raise ValueError(
                f"expected windows and noise of shape (B, {self.config.channels}, H, W), "
                f"got {tuple(x_BCHW.shape)} and {tuple(noise_BCHW.shape)}"
            )
        f = self._network(x_BCHW, noise_BCHW)
        match self.config.output:
            case "x+f*n":
                return x_BCHW + f * noise_BCHW
            case "x+f":
                return x_BCHW + f
            case "f":
                return f
            case "mean_std":
                mean_BCHW, std_BCHW = f.chunk(2, dim=1)
                return x_BCHW + mean_BCHW + std_BCHW * noise_BCHW

    def draw_noise(self, shape: Sequence[int], generator: NoiseGenerator) -> torch.Tensor:
        """Return Gaussian noise of mean 0 and standard deviation `noise_std`, of `shape`, on the weights' device."""
        return generator.normal(shape, next(self.parameters()).device) * self.config.noise_std

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize float32 windows (B, C, H, W) with noise drawn from `generator`."""
        return self(x_BCHW, self.draw_noise(x_BCHW.shape, generator))  # type: ignore[no-any-return]

    def _network(self, x_BCHW: torch.Tensor, noise_BCHW: torch.Tensor) -> torch.Tensor:
        inputs = torch.cat((x_BCHW, noise_BCHW), dim=1) if self.config.inputs == "histogram+noise" else x_BCHW
        # Convolutions run in the precision of the weights. Counts and noise are added outside, in full precision:
        # bfloat16 has 8 bits, too few for a count above 256.
        inputs = inputs.to(next(self.parameters()).dtype)
        return self.convs3(self.convs2(self.convs1(inputs))).to(x_BCHW.dtype)  # type: ignore[no-any-return]


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1)
