"""Random numbers that follow from names: seed, stage, epoch, step and what they are for.

No generator has a state that would have to be saved: whoever goes on in the middle draws what would have been drawn.
Processes that share a batch draw for all of it and take their part, so that their number changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def seed_of(*name: Any) -> int:
    """Return 63 bits that belong to a name, as `seed_of(seed, "noise", epoch, step)`."""
    digest = hashlib.blake2b("/".join(map(str, name)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(*name: Any) -> np.random.Generator:
    """Return the NumPy generator of a name."""
    return np.random.default_rng(seed_of(*name))


def torch_generator(device: torch.device, *name: Any) -> torch.Generator:
    """Return the torch generator of a name, on a device."""
    return torch.Generator(device).manual_seed(seed_of(*name))


class NamedNoise:
    """The noise of one step, as `models.noise.NoiseGenerator` draws it; for training and evaluation only.

    Args:
        generator: of the step, on the device that the noise is for.
        rank: which part of the batch this process has.
        processes: how many parts there are.
    """

    def __init__(self, generator: torch.Generator, rank: int = 0, processes: int = 1) -> None:
        self._generator = generator
        self._rank = rank
        self._processes = processes

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) for this process's part, `shape`, of the batch."""
        whole = (shape[0] * self._processes, *shape[1:])
        noise = torch.randn(whole, generator=self._generator, device=self._generator.device)
        return noise[self._rank * shape[0] : (self._rank + 1) * shape[0]].to(device)
