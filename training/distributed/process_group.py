"""The processes that train together, one per device, each with its part of every batch.

Gradients are averaged here rather than by DistributedDataParallel, whose hooks do not see `torch.autograd.grad`; the
stages need that function to send each role's loss to that role's parameters only. Everything else that must see the
whole batch (batch norm, triplet mining, random numbers) uses this module too, so that two processes learn what one
would.

Legend of axes: B windows of this process's part of the batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from eventveil.errors import ConfigError
from eventveil.models.device import forbid_tf32

PATIENCE = timedelta(hours=12)
"""How long processes wait for each other: while the first one cuts windows, the others wait at a barrier, and NCCL
would give up after ten minutes. If one dies, the launcher of its machine ends the others there."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among those that train together.

    Attributes:
        rank: index of this process.
        size: number of processes.
        local_rank: index of this process on its machine.
        device: the device of this process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports to the user."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Return which windows of a batch belong to this process.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        if batch % self.size:
            raise ConfigError(
                f"batch: {self.size} processes cannot share {batch} windows evenly; change one of the two"
            )
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the mean of each tensor over the processes."""
        if self.size == 1:
            return tuple(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat / self.size, [tensor.numel() for tensor in tensors])
        return tuple(part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True))

    def gather(self, x_B: torch.Tensor) -> torch.Tensor:
        """Concatenate the parts of all processes, (size * B, ...); differentiable."""
        if self.size == 1:
            return x_B
        if x_B.requires_grad:
            return _Gather.apply(x_B, self.rank, self.size)  # type: ignore[no-any-return,no-untyped-call]
        return _gathered(x_B, self.size)

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor without gradient over the processes."""
        if self.size == 1:
            return x
        x = x.clone()
        distributed.all_reduce(x)
        return x

    def largest(self, x: torch.Tensor) -> torch.Tensor:
        """Return the largest value of a tensor without gradient over the processes, for each of its elements."""
        if self.size == 1:
            return x
        x = x.clone()
        distributed.all_reduce(x, distributed.ReduceOp.MAX)
        return x

    def wait(self) -> None:
        """Wait until all processes reach this point."""
        if self.size > 1:
            distributed.barrier()


def _gathered(x_B: torch.Tensor, size: int) -> torch.Tensor:
    parts = [torch.empty_like(x_B, memory_format=torch.contiguous_format) for _ in range(size)]
    distributed.all_gather(parts, x_B.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Forward: gather all parts. Backward: sum the gradients of all processes with respect to this process's part."""

    @staticmethod
    def forward(ctx: Any, x_B: torch.Tensor, rank: int, size: int) -> torch.Tensor:
        ctx.part = slice(rank * len(x_B), (rank + 1) * len(x_B))
        return _gathered(x_B, size)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient[ctx.part], None, None


def sum_over(x: torch.Tensor) -> torch.Tensor:
    """Sum over all processes; the backward pass sums their gradients, because every loss depends on every part."""
    return _SumOver.apply(x)  # type: ignore[no-any-return,no-untyped-call]


class _SumOver(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient


def compute_repeatably() -> None:
    """Let CUDA compute in full fp32, and the same values in each run, in this process.

    An operation without a deterministic form warns and runs: bilinear resizing has none for its gradients in some
    versions of PyTorch. cuBLAS reads its setting when the first matrix is multiplied.
    """
    forbid_tf32()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def join_group(device: str) -> ProcessGroup:
    """Join the processes described by the environment, as set by `torchrun` or our launcher; without it, train alone.

    Args:
        device: cpu, cuda, or auto: cuda if available.

    Raises:
        ConfigError: there is no such device, or not one for each process.
    """
    size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    on_cuda = device == "cuda" or (device == "auto" and gpus > 0)
    if on_cuda and local_rank >= gpus:
        raise ConfigError(f"run.device: PyTorch sees {gpus} CUDA devices, and process {local_rank} needs one; use cpu")
    process_device = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(process_device)
        compute_repeatably()
    if size == 1:
        return ProcessGroup(device=process_device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_cuda else "gloo", timeout=PATIENCE)
    return ProcessGroup(int(os.environ["RANK"]), size, local_rank, process_device)


def leave_group() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        with suppress(RuntimeError):  # the others may have left already
            distributed.destroy_process_group()
