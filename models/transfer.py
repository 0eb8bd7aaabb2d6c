"""Copies windows to the device and values back, one copy per batch and direction.

For a CUDA device the host buffers are in pinned memory, which the device accesses directly. Counts are copied as uint16
and converted to float32 on the device, which halves the bytes on the bus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Transfer:
    """Copies the batches of one stage to and from one device; its buffers are reused, so finish a batch first."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._up = _Buffer(device)
        self._down = _Buffer(device)

    def up(self, windows: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        """Copy N windows of one shape, uint16 or float32, to the device as float32 (N, *shape)."""
        shape = (len(windows), *windows[0].shape)
        dtype = windows[0].dtype
        # PyTorch supports few operations on uint16, so the bits travel as int16.
        host = self._up.tensor(shape, torch.int16 if dtype == np.uint16 else torch.float32)
        np.stack(windows, out=host.numpy().view(dtype))
        values = host.to(self.device, non_blocking=True)
        return values if values.dtype == torch.float32 else counts_of(values)

    def down(self, values: torch.Tensor) -> npt.NDArray[np.float32]:
        """Copy float32 values from the device into a new array."""
        host = self._down.tensor(tuple(values.shape), torch.float32)
        host.copy_(values, non_blocking=True)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return host.numpy().copy()


def counts_of(bits: torch.Tensor) -> torch.Tensor:
    """Reinterpret int16 as uint16 and return them as float32 (exact: float32 holds integers to 2**24)."""
    return bits.to(torch.int32).bitwise_and_(0xFFFF).to(torch.float32)


class _Buffer:
    """Host memory that grows to the largest batch so far, pinned for a CUDA device (pinning is slow)."""

    def __init__(self, device: torch.device) -> None:
        self._pin = device.type == "cuda"
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return the first bytes of the buffer as a tensor; it overwrites what an earlier call returned."""
        size = int(np.prod(shape)) * dtype.itemsize
        if self._bytes.numel() < size:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=self._pin)
        return self._bytes[:size].view(dtype).view(tuple(shape))
