"""Anonymizers without a network, for learned ones to be compared with.

Each follows the `Anonymizer` protocol of models/kinds.py: event counts in, float32 (B, 2K, H, W) with channel 2k for
OFF and 2k + 1 for ON of bin k, anonymized ones of the same shape out. All randomness is the generator's, so that live
noise stays what it is, noise that nobody can guess. It gives normal deviates; what else is needed follows from them:
their order is a random permutation, and one of them lies above the quantile of 1 - p with probability p.

Legend of axes: B windows, C channels, K bins, H rows, W columns.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch.nn import functional

from eventveil.models.noise import NoiseGenerator

_settings = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_settings)
class Unchanged:
    """Leaves windows as they are: the raw end of every comparison."""

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the windows."""
        return x_BCHW


@dataclass(frozen=True, config=_settings)
class Gaussian:
    """Adds noise ~ N(0, std), in events; AnonyNoise is compared with standard deviations of 32 to 256."""

    std: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return noisy windows."""
        return x_BCHW + self.std * generator.normal(x_BCHW.shape, x_BCHW.device)


@dataclass(frozen=True, config=_settings)
class Scramble:
    """Moves the pixels of each window to random places, all channels of a pixel together.

    The permutation is drawn anew for each window, so that no attacker can learn it. What is left is when things happen,
    and how much of them.

    Source: event scrambling, Du et al., Event Encryption for Neuromorphic Vision Sensors, 2021, who derive permutations
    from a chaotic map and a key.
    """

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return scrambled windows."""
        windows, channels, height, width = x_BCHW.shape
        place_BP = generator.normal((windows, height * width), x_BCHW.device).argsort(1)
        scattered = x_BCHW.flatten(2).gather(2, place_BP[:, None].expand(-1, channels, -1))
        return scattered.view_as(x_BCHW)


@dataclass(frozen=True, config=_settings)
class Discard:
    """Discards events, each with probability `share`, independently of all others.

    Source: event discarding, Du et al., 2021; 75 % in the comparison of Ahmad et al., ICCV 2023.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.75

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return thinned windows: each count c becomes binomial of c and 1 - share, one deviate for each event.

        Raises:
            ValueError: the windows hold something else than counts.
        """
        counts = x_BCHW.flatten().long()
        if not torch.equal(counts.clamp(min=0).to(x_BCHW.dtype), x_BCHW.flatten()):
            raise ValueError("expected counts of events: whole numbers from 0")
        if self.share in (0, 1):  # no finite quantile
            return x_BCHW * (1 - self.share)
        cell = torch.repeat_interleave(counts)
        kept = generator.normal((len(cell),), x_BCHW.device) > NormalDist().inv_cdf(self.share)
        return torch.bincount(cell[kept], minlength=len(counts)).to(x_BCHW.dtype).view_as(x_BCHW)


@dataclass(frozen=True, config=_settings)
class Pixelate:
    """Gives every pixel of a block of `size` x `size` the mean of the block; blocks at the edges may be smaller."""

    size: Annotated[int, Field(ge=1)]

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return pixelated windows; the sum over a block stays."""
        height, width = x_BCHW.shape[2:]
        means = functional.avg_pool2d(x_BCHW, self.size, ceil_mode=True)
        spread = means.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)
        return spread[:, :, :height, :width].contiguous()


@dataclass(frozen=True, config=_settings)
class PolarityDrop:
    """Forgets polarity: the sum of OFF and ON stands in both."""

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return windows without polarity.

        Raises:
            ValueError: channels do not come in pairs.
        """
        if x_BCHW.shape[1] % 2:
            raise ValueError(f"expected channels in pairs of OFF and ON, got {x_BCHW.shape[1]}")
        off_BKHW, on_BKHW = x_BCHW[:, 0::2], x_BCHW[:, 1::2]
        return (off_BKHW + on_BKHW).repeat_interleave(2, 1)
