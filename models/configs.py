"""The configs of the networks: plain values, checked, from which a network is built. Nothing here imports torch.

Legend of axes: C channels of a window, D numbers of a code, E of an embedding, K classes or words.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from eventveil.models.channel_capacity import capacity_nats


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AnonyNoiseConfig:
    """Which variant of the paper's ablation to build; the defaults are the method itself.

    Attributes:
        channels: C of a window, 2 per bin.
        noise_std: standard deviation of the noise n, in events.
        inputs: what the network f takes: the window and the noise, or the window alone.
        output: how the window x, the noise n and f form the anonymized window. For `mean_std` the network has 2C
            output channels: the first C are the mean mu, the last C the scale sigma, and the result is
            x + mu + sigma*n. Sigma may be negative: the noise is symmetric.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 10
    noise_std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    inputs: Literal["histogram+noise", "histogram"] = "histogram+noise"
    output: Literal["x+f*n", "f", "x+f", "mean_std"] = "x+f*n"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NoisyChannelConfig:
    """What to build.

    Attributes:
        channels: C of a window, 2 per bin.
        code: D, the numbers of the code.
        limit: M, the largest magnitude of a number of the code before the noise.
        width: channels of the first convolution of the encoder, a narrow ResNet-18.
        pen: channels of the first convolution of the decoder.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 20
    code: Annotated[int, Field(ge=1, le=1024)] = 8
    limit: Annotated[float, Field(gt=0, le=100)] = 3.0
    width: Annotated[int, Field(ge=1, le=1024)] = 16
    pen: Annotated[int, Field(ge=2, le=1024)] = 64

    @property
    def capacity_bits(self) -> float:
        """Upper bound on the bits about a window that pass the channel, whatever was learned: D times one number's."""
        return self.code * capacity_nats(self.limit) / math.log(2)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EventAutoencoderConfig:
    """What to build.

    Attributes:
        channels: C, the bins of the voxel grid.
        normalise: whether `anonymize` normalises grids; false where they come normalised, as those of the box around
            events do.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 5
    normalise: bool = True


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ResNetConfig:
    """What to build.

    Attributes:
        depth: 18, 34 or 50.
        channels: C of a window.
        classes: K.
        embedding: E.
        width: channels after the first convolution; 64 is the published network, fewer give a narrow one.
        logarithm: apply sign(x) * log(1 + |x|) to a window before the first convolution. The counts of a pixel range
            over three orders of magnitude; an attacker that uses their logarithm finds twice as many people
            (docs/method.md). The published network does not use it.
        last_stride: stride of the last of the four layers: 2 as in torchvision, or 1 as in the Event-ReId method.
        dropout: share of the embedding's values that training sets to 0; 0 in the Event-ReId method.
    """

    depth: Literal[18, 34, 50] = 50
    channels: Annotated[int, Field(ge=1, le=1024)] = 10
    classes: Annotated[int, Field(ge=1, le=100_000)] = 11
    embedding: Annotated[int, Field(ge=1, le=65_536)] = 512
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    logarithm: bool = False
    last_stride: Literal[1, 2] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DenoiserConfig:
    """What to build; the defaults are the published network.

    Attributes:
        channels: C of a window, 2 per bin.
        width: channels of the inner convolutions.
        layers: number of convolutions, the first and the last included.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 10
    width: Annotated[int, Field(ge=1, le=1024)] = 128
    layers: Annotated[int, Field(ge=2, le=100)] = 15


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
        evidence: exponent of the probabilities of a window: more is quicker, less is steadier.
        threshold: belief that another word needs before it is chosen.
        changes_per_second: N, how often the word may change within any second.
        delay: the most windows by which a change is delayed; how many is drawn at random.
        epsilon: budget of the k-ary randomised response per decision, in nats; None for no noise.
        interval_s: with an epsilon, a decision is made once in this time, seconds.
    """

    channels: Annotated[int, Field(ge=1, le=1024)] = 20
    words: Annotated[int, Field(ge=2, le=4096)] = 13
    book: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    width: Annotated[int, Field(ge=1, le=1024)] = 24
    quiet: Annotated[tuple[int, ...], Field(min_length=1)] = (12, 11)
    transition: Annotated[float, Field(gt=0, le=1)] = 0.001
    evidence: Annotated[float, Field(gt=0, le=4)] = 1.5
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.7
    changes_per_second: Annotated[int, Field(ge=1, le=1000)] = 2
    delay: Annotated[int, Field(ge=0, le=1000)] = 0
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
