"""Where the noise of an anonymizer comes from.

Noise that can be replayed can be subtracted, so live noise must not be guessable. PyTorch's generator for the CPU is a
Mersenne Twister that keeps 32 bits of its seed: an attacker who knows one noisy window could try every seed. Live
noise is therefore counted out by Philox under a key that is fresh from the operating system for every batch: 128 bits
on a CPU (NumPy's Philox), 64 bits on a CUDA device (the key size of its Philox). A key that is never used twice also
means that a forked process, or a second line on the same machine, shares no noise with this one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


class NoiseGenerator(Protocol):
    """Draws standard normal noise."""

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) of `shape` on `device`."""
        ...


class LiveNoise:
    """Noise that nobody can replay: it takes no seed, and keeps nothing that could be read out later."""

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) of `shape`, made on `device` under a key used this once."""
        if device.type == "cuda":
            generator = torch.Generator(device).manual_seed(secrets.randbits(64))
            return torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float32)
        return SeededNoise(secrets.randbits(128)).normal(shape, device)


class SeededNoise:
    """Noise that can be drawn again, for tests and training only: the same seed, the same noise on every device.

    Args:
        seed: 0 to 2**128 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=seed))

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return the next float32 noise ~ N(0, 1) of `shape`, moved to `device`."""
        return torch.from_numpy(self._generator.standard_normal(tuple(shape), dtype=np.float32)).to(device)
