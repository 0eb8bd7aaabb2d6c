"""Rule-based anonymizers without a network, as baselines for learned ones.

Each follows the `AnonymizerNetwork` protocol of models/kinds.py: it takes event counts, float32 (B, 2K, H, W) with
channel 2k for OFF and 2k + 1 for ON of bin k, and returns anonymized counts of the same shape. All randomness comes
from the generator, so live noise stays unpredictable. The generator yields normal deviates, from which the rest is
derived: their sort order is a random permutation, and a deviate exceeds the quantile of 1 - p with probability p.

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
    """Leaves windows unchanged, as the raw reference of every comparison."""

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return the windows."""
        return x_BCHW


@dataclass(frozen=True, config=_settings)
class Gaussian:
    """Adds noise ~ N(0, std), in events; AnonyNoise was compared with standard deviations of 32 to 256."""

    std: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return noisy windows."""
        return x_BCHW + self.std * generator.normal(x_BCHW.shape, x_BCHW.device)


@dataclass(frozen=True, config=_settings)
class Scramble:
    """Moves the pixels of each window to random places, all channels of a pixel together.

    Each window has its own permutation, so no attacker can learn it. The number of events over time remains.

    Source: event scrambling, Du et al., Event Encryption for Neuromorphic Vision Sensors, 2021, who derive permutations
    from a chaotic map and a key.
    """

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return scrambled windows."""
        windows, channels, height, width = x_BCHW.shape
        permutation_BP = generator.normal((windows, height * width), x_BCHW.device).argsort(1)
        scrambled = x_BCHW.flatten(2).gather(2, permutation_BP[:, None].expand(-1, channels, -1))
        return scrambled.view_as(x_BCHW)


@dataclass(frozen=True, config=_settings)
class ScrambleEvents:
    """Moves events to other pixels, each with probability `share`, and draws new polarities for them.

    Each window has its own permutation of pixels.

    Source: event scrambling, Du et al., 2021, whose key scrambles places and flips polarities; with 75 % in Ahmad et
    al., ICCV 2023.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.75

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return scrambled windows; the events of each bin remain in it.

        Raises:
            ValueError: the windows hold values other than counts.
        """
        windows, channels, height, width = x_BCHW.shape
        kept = Discard(self.share).anonymize(x_BCHW, generator)
        counts = (x_BCHW - kept).flatten().long()
        pixels = height * width
        cell = torch.repeat_interleave(counts)
        permutation_BP = generator.normal((windows, pixels), x_BCHW.device).argsort(1)
        window, channel, pixel = cell // (channels * pixels), cell // pixels % channels, cell % pixels
        coin = generator.normal((len(cell),), x_BCHW.device) > 0
        drawn = channel // 2 * 2 + coin
        place = (window * channels + drawn) * pixels + permutation_BP[window, pixel]
        return kept + torch.bincount(place, minlength=len(counts)).to(x_BCHW.dtype).view_as(x_BCHW)


@dataclass(frozen=True, config=_settings)
class Discard:
    """Discards events, each with probability `share`, independently of all others.

    Source: event discarding, Du et al., 2021; 75 % in the comparison of Ahmad et al., ICCV 2023.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.75

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return thinned windows: each count c becomes binomial(c, 1 - share), with one deviate per event.

        Raises:
            ValueError: the windows hold values other than counts.
        """
        counts = x_BCHW.flatten().long()
        if not torch.equal(counts.clamp(min=0).to(x_BCHW.dtype), x_BCHW.flatten()):
            raise ValueError("expected event counts: whole numbers from 0")
        if self.share in (0, 1):  # no finite quantile
            return x_BCHW * (1 - self.share)
        cell = torch.repeat_interleave(counts)
        kept = generator.normal((len(cell),), x_BCHW.device) > NormalDist().inv_cdf(self.share)
        return torch.bincount(cell[kept], minlength=len(counts)).to(x_BCHW.dtype).view_as(x_BCHW)


@dataclass(frozen=True, config=_settings)
class Pixelate:
    """Replaces every pixel by the mean of its block of `size` x `size`; blocks at the edges may be smaller."""

    size: Annotated[int, Field(ge=1)]

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return pixelated windows; the sum over each block is unchanged."""
        height, width = x_BCHW.shape[2:]
        rows, columns = min(self.size, height), min(self.size, width)  # no memory for a block larger than the window
        means = functional.avg_pool2d(x_BCHW, (rows, columns), ceil_mode=True)
        blocks = means.repeat_interleave(rows, 2).repeat_interleave(columns, 3)
        return blocks[:, :, :height, :width].contiguous()


@dataclass(frozen=True, config=_settings)
class PolarityDrop:
    """Discards polarity: both channels of a bin hold the sum of OFF and ON."""

    def anonymize(self, x_BCHW: torch.Tensor, _generator: NoiseGenerator, /) -> torch.Tensor:
        """Return windows without polarity.

        Raises:
            ValueError: channels do not come in pairs.
        """
        if x_BCHW.shape[1] % 2:
            raise ValueError(f"expected channels in pairs of OFF and ON, got {x_BCHW.shape[1]}")
        off_BKHW, on_BKHW = x_BCHW[:, 0::2], x_BCHW[:, 1::2]
        return (off_BKHW + on_BKHW).repeat_interleave(2, 1)
