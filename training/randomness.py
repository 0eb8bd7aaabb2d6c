"""Random generators seeded by name: seed, stage, epoch, step and purpose.

No generator state has to be saved: a resumed run draws what an uninterrupted one would have drawn. Processes that share
a batch draw for all of it and take their part, so the number of processes does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def seed_of(*name: Any) -> int:
    """Return the 63-bit seed of a name, for example `seed_of(seed, "noise", epoch, step)`."""
    digest = hashlib.blake2b("/".join(map(str, name)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(*name: Any) -> np.random.Generator:
    """Return the NumPy generator of a name."""
    return np.random.default_rng(seed_of(*name))


def torch_generator(device: torch.device, *name: Any) -> torch.Generator:
    """Return the PyTorch generator of a name, on a device."""
    return torch.Generator(device).manual_seed(seed_of(*name))


class NamedNoise:
    """The noise of one step, a `models.noise.NoiseGenerator`; for training and evaluation only.

    Args:
        generator: generator of the step.
        rank: which part of the batch belongs to this process.
        processes: number of parts.
    """

    def __init__(self, generator: torch.Generator, rank: int = 0, processes: int = 1) -> None:
        self._generator = generator
        self._rank = rank
        self._processes = processes

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) for this process's part of the batch, which has this `shape`."""
        whole = (shape[0] * self._processes, *shape[1:])
        noise = torch.randn(whole, generator=self._generator, device=self._generator.device)
        return noise[self._rank * shape[0] : (self._rank + 1) * shape[0]].to(device)
