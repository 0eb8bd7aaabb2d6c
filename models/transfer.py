"""Copies windows to the device and values back: one copy per batch and direction, and one wait for the device.

For a CUDA device the host's memory is pinned, so that the device accesses it directly. Counts are copied as uint16
and converted to float32 on the device, which halves the bytes on the bus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Transfer:
    """Copies the batches of one stage to and from one device; its buffer is reused, so finish a batch first."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._up = _Buffer(device)

    def up(self, windows: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        """Copy N windows of one shape, uint16 or float32, to the device as float32 (N, *shape)."""
        shape = (len(windows), *windows[0].shape)
        host = self._up.tensor(shape, torch.uint16 if windows[0].dtype == np.uint16 else torch.float32)
        np.stack(windows, out=host.numpy())
        return host.to(self.device, non_blocking=True).to(torch.float32)  # exact: float32 holds integers to 2**24

    def down(self, *values: torch.Tensor) -> tuple[npt.NDArray[Any], ...]:
        """Copy values from the device into new arrays, and wait for the device once, whatever their number."""
        on_cuda = self.device.type == "cuda"
        # PyTorch keeps pinned memory that is no longer used: only the first batch of a size waits for it.
        hosts = [torch.empty(value.shape, dtype=value.dtype, pin_memory=on_cuda) for value in values]
        for host, value in zip(hosts, values, strict=True):
            host.copy_(value, non_blocking=True)
        if on_cuda:
            torch.cuda.current_stream(self.device).synchronize()
        return tuple(host.numpy() for host in hosts)


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
