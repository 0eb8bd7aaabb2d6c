"""Noise generators for anonymizers.

Noise that can be replayed can be subtracted, so live noise must not be guessable. PyTorch's generator for the CPU is a
Mersenne Twister that keeps 32 bits of its seed: an attacker who knows one noisy window could try every seed. Live
noise therefore comes from Philox, a counter-based generator, with a fresh key from the operating system for every
batch: 128 bits on a CPU (NumPy's Philox), 64 bits on a CUDA device (the key size of its Philox). Because no key is used
twice, a forked process, or a second pipeline on the same machine, shares no noise with this one.
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
    """Noise that cannot be replayed: it takes no seed and keeps no state that could be read later."""

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return float32 noise ~ N(0, 1) of `shape`, made on `device` with a key used only once."""
        if device.type == "cuda":
            generator = torch.Generator(device).manual_seed(secrets.randbits(64))
            return torch.randn(tuple(shape), generator=generator, device=device, dtype=torch.float32)
        return SeededNoise(secrets.randbits(128)).normal(shape, device)


class SeededNoise:
    """Reproducible noise, for tests and training only: the same seed gives the same noise on every device.

    Args:
        seed: 0 to 2**128 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=seed))

    def normal(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return the next float32 noise ~ N(0, 1) of `shape`, moved to `device`."""
        return torch.from_numpy(self._generator.standard_normal(tuple(shape), dtype=np.float32)).to(device)
