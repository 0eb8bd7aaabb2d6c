"""The stand-in: a network that looks at the last second and says which word of a public book fits.

Only the number of the word leaves the private half of the pipeline; the publisher composes what it publishes from the
book. So at most log2 K bits pass per decision, whatever the network has learned. `models/decision.py` turns the
probabilities of successive windows into words.

The network keeps no state: its answer depends on one window alone.

Source: our own.
Legend of axes: B windows, C channels, H rows, W columns, K words.
"""

from __future__ import annotations

import torch
from torch import nn

from eventveil.models.configs import StandInConfig


class StandIn(nn.Module):
    """Scores the words of a book for each window.

    Args:
        config: what to build.

    Source: our own. Five convolutions, of which three halve the picture, so that a decision takes about a millisecond.

    >>> model = StandIn(StandInConfig(channels=4, words=3, quiet=(2,), book="0" * 64, width=4)).eval()
    >>> model(torch.zeros(2, 4, 32, 32)).shape  # 2 windows of 2 bins of 2 polarities
    torch.Size([2, 3])
    """

    def __init__(self, config: StandInConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.layers = nn.Sequential(
            *_layer(config.channels, width, 5, 2),
            *_layer(width, 2 * width, 3, 2),
            *_layer(2 * width, 2 * width, 3, 1),
            *_layer(2 * width, 4 * width, 3, 2),
            *_layer(4 * width, 4 * width, 3, 1),
            nn.AdaptiveAvgPool2d(2),  # keeps left apart from right, and top from bottom
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(16 * width, config.words),
        )

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits of the words, (B, K), for windows of event counts, float32 (B, C, H, W).

        Raises:
            ValueError: the shape differs from this.
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.config.channels:
            raise ValueError(f"expected (B, {self.config.channels}, H, W), got {tuple(x_BCHW.shape)}")
        # Counts of a pixel range over three orders of magnitude.
        inputs = x_BCHW.log1p().to(next(self.parameters()).dtype)
        return self.layers(inputs).to(x_BCHW.dtype)  # type: ignore[no-any-return]


def _layer(channels_in: int, channels: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
