"""An anonymizer that lets a window through a noisy channel of a few numbers, and draws a new window from what arrives.

Noise on a window leaves what the noise does not cover. Here a network squeezes the window into a code of D numbers,
each held to -M..M, adds Gaussian noise of a standard deviation of 1 to 2, which it chooses itself, and a second network
draws a window from the noisy code alone. Whatever the first one learned, and whoever looks, at most
D/2 * log2(M*M + 4) bits of a window can come out at the other end: the capacity of the channel. How many really do is
the rate, and training presses it down.

Source: our own, on the ground of Shannon's capacity of a Gaussian channel (1948) and of the information bottleneck
(Alemi et al., ICLR 2017); described and measured in docs/method.md.
Legend of axes: B windows, C channels, H rows, W columns, D numbers of the code.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn
from torch.nn import functional

from eventveil.models.noise import NoiseGenerator
from eventveil.models.resnet import ResNetClassifier, ResNetConfig

START = 4  # rows and columns of the picture that drawing begins with
DOUBLINGS = 3


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NoisyChannelConfig:
    """What to build.

    Attributes:
        channels: C of a window, 2 per bin.
        code: D.
        limit: M, the largest value of a number of the code before the noise.
        width: channels of the first convolution of the network that reads; a narrow ResNet-18.
        pen: channels that the network which draws begins with.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 20
    code: Annotated[int, Field(ge=1, le=1024)] = 8
    limit: Annotated[float, Field(gt=0, le=100)] = 3.0
    width: Annotated[int, Field(ge=1, le=1024)] = 16
    pen: Annotated[int, Field(ge=2, le=1024)] = 64

    @property
    def capacity_bits(self) -> float:
        """How many bits of a window can come through at most, whatever was learned.

        The noisy code has at most the entropy of a Gaussian of its variance, which is at most M*M + 4; the noise has at
        least that of a Gaussian of variance 1. The difference is what the code can tell of the window.
        """
        return self.code / 2 * math.log2(self.limit**2 + 4)


class NoisyChannel(nn.Module):
    """A ResNet that reads a window into a code, noise on the code, and convolutions that draw a window from it."""

    def __init__(self, config: NoisyChannelConfig | None = None) -> None:
        super().__init__()
        self.config = config or NoisyChannelConfig()
        code, pen = self.config.code, self.config.pen
        width = self.config.width
        resnet = ResNetClassifier(
            ResNetConfig(depth=18, channels=self.config.channels, width=width, embedding=2 * code, classes=1)
        )
        self.reader = nn.Sequential(
            *list(resnet.backbone)[:-1],
            nn.AdaptiveAvgPool2d(2),  # left and right, above and below still differ
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(4 * 8 * width, 2 * code),  # a ResNet-18 ends with 8 times the channels that it begins with
        )
        self.start = nn.Sequential(nn.Linear(code, pen * START**2), nn.ReLU())
        widths = (pen, pen, max(1, pen // 2), max(1, pen // 2))
        self.strokes = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], self.config.channels, 3, padding=1)

    def begin_from(self, classifier: ResNetClassifier) -> None:
        """Read like a classifier that was trained on raw windows: take over its backbone.

        From nothing, the code and the windows drawn from it have to make sense of each other, and take long to.

        Raises:
            ValueError: the classifier is not a ResNet-18 of logarithms, or of another width or other channels.
        """
        want = ResNetConfig(depth=18, channels=self.config.channels, width=self.config.width, logarithm=True)
        for key in ("depth", "channels", "width", "logarithm"):
            ours, theirs = getattr(want, key), getattr(classifier.config, key)
            if ours != theirs:
                raise ValueError(f"expected a classifier with {key} {ours} to begin from, got {theirs}")
        for own, other in zip(self.reader, list(classifier.backbone)[:-1], strict=False):
            own.load_state_dict(other.state_dict())

    def forward(self, x_BCHW: torch.Tensor, noise_BD: torch.Tensor) -> torch.Tensor:
        """Anonymize windows with noise that is given.

        Args:
            x_BCHW: float32 (B, C, H, W), event counts.
            noise_BD: float32 (B, D), standard normal.

        Returns:
            float32 (B, C, H, W), not negative: counts to be expected of the gesture, of nobody in particular.

        Raises:
            ValueError: a shape is not as above.
        """
        return self.rated(x_BCHW, noise_BD)[0]

    def rated(self, x_BCHW: torch.Tensor, noise_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `forward` does, and the rate of the batch, a scalar in nats, for the loss of a training."""
        batch, (channels, code) = len(x_BCHW), (self.config.channels, self.config.code)
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != channels or noise_BD.shape != (batch, code):
            raise ValueError(
                f"expected windows (B, {channels}, H, W) and noise (B, {code}), "
                f"got {tuple(x_BCHW.shape)} and {tuple(noise_BD.shape)}"
            )
        mean_BD, std_BD = self.read(x_BCHW)
        drawn_BCHW = self.draw(mean_BD + std_BD * noise_BD, x_BCHW.shape[2], x_BCHW.shape[3])
        return drawn_BCHW, rate(mean_BD, std_BD)

    def read(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean, within the limit, and standard deviation, 1 to 2, of the code: float32 (B, D) each."""
        told = self.reader(x_BCHW.log1p().to(next(self.parameters()).dtype)).float()
        mean_BD, std_BD = told.chunk(2, dim=1)
        limit = self.config.limit
        return limit * torch.tanh(mean_BD / limit), 1 + torch.sigmoid(std_BD)

    def draw(self, code_BD: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Draw windows, float32 (B, C, height, width), from noisy codes (B, D)."""
        y = self.start(code_BD.to(next(self.parameters()).dtype)).unflatten(1, (-1, START, START))
        for left, stroke in zip(range(DOUBLINGS, 0, -1), self.strokes, strict=True):
            y = stroke(_resized(y, -(-height // 2**left), -(-width // 2**left)))
        return functional.softplus(_resized(self.last(y), height, width).float())

    def draw_noise(self, windows: int, generator: NoiseGenerator) -> torch.Tensor:
        """Return noise (windows, D) on the device of the weights."""
        return generator.normal((windows, self.config.code), next(self.parameters()).device)

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize windows (B, C, H, W) with noise drawn from `generator`."""
        return self(x_BCHW, self.draw_noise(len(x_BCHW), generator))  # type: ignore[no-any-return]


def rate(mean_BD: torch.Tensor, std_BD: torch.Tensor) -> torch.Tensor:
    """Nats that a noisy code tells of a window, on the average over the batch, at most.

    Its entropy is at most that of a Gaussian of the same variance, number by number; given the window it is that of the
    noise. The difference bounds the mutual information, and so, by the data processing inequality, whatever anybody
    can make of the drawn window.

    Args:
        mean_BD: of the codes of the batch.
        std_BD: of their noise.
    """
    variance_BD = std_BD.square()
    whole_D = mean_BD.var(dim=0, correction=0) + variance_BD.mean(dim=0)
    return (whole_D.log() - variance_BD.log().mean(dim=0)).sum() / 2


def _resized(y: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.interpolate(y, size=(height, width), mode="bilinear", align_corners=False)
