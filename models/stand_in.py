"""The stand-in: a network that looks at the last second and says which word of a public book fits.

Only the number of the word leaves the private half of the pipeline; the publisher composes what it publishes from the
book. So at most log2 K bits pass per decision, whatever the network has learned. `models/decision.py` turns the
probabilities of successive windows into words.

The network keeps no state: its answer depends on one window alone.

Source: our own.
Legend of axes: B windows, C channels, H rows, W columns, K words.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import nn


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StandInConfig:
    """What to build, and how its probabilities become words (`models/decision.py` explains the rule).

    Attributes:
        channels: C of a window, 2 per bin.
        words: K, the words of the book.
        book: SHA-256 of the book's file, in hexadecimal: the book that the network was trained for.
        width: channels after the first convolution.
        quiet: numbers of the words that mean that no gesture is made; a stream begins with the first.
        transition: probability that the true word changes from one window to the next.
        evidence: exponent of the probabilities of a window; below 1, since successive windows overlap.
        threshold: belief that another word needs before it is chosen.
        changes_per_second: N, how often the word may change within any second.
        epsilon: budget of the k-ary randomised response per decision, in nats; None for no noise.
        interval_s: with an epsilon, a decision is made once in this time, seconds.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 20
    words: Annotated[int, Field(ge=2, le=4096)] = 13
    book: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    width: Annotated[int, Field(ge=1, le=1024)] = 24
    quiet: Annotated[tuple[int, ...], Field(min_length=1)] = (12, 11)
    transition: Annotated[float, Field(gt=0, le=1)] = 0.003
    evidence: Annotated[float, Field(gt=0, le=4)] = 0.8
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    changes_per_second: Annotated[int, Field(ge=1, le=1000)] = 2
    epsilon: Annotated[float, Field(gt=0, le=50)] | None = None
    interval_s: Annotated[float, Field(ge=0.01, le=3600)] = 1.0

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.quiet)) < len(self.quiet) or not all(0 <= word < self.words for word in self.quiet):
            raise ValueError(f"quiet: expected different words from 0 to {self.words - 1}, got {self.quiet}")
        if self.epsilon is not None and self.interval_s * self.changes_per_second < 1:
            raise ValueError(
                f"interval_s: a decision every {self.interval_s} s changes the word more often than "
                f"changes_per_second, {self.changes_per_second}; raise one of them"
            )
        return self


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
