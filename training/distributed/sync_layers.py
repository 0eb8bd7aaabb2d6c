"""Layers that see the whole batch, however many processes share it: batch norm and dropout.

PyTorch's own synchronised batch norm needs a GPU. These have the parameters and the state of the layers that they take
the place of, so state dicts and weights files are the same.

Legend of axes: B windows of this process's part of the batch, C channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from eventveil.training.distributed.process_group import ProcessGroup, sum_over


def share_layers(network: nn.Module, world: ProcessGroup) -> nn.Module:
    """Put shared layers in the place of a network's batch norms and dropouts; returns the network."""
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout):
            setattr(network, name, SharedDropout(child.p, world))
        elif isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and world.size > 1:
            setattr(network, name, SharedBatchNorm(child))
        else:
            share_layers(child, world)
    return network


class SharedDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, from PyTorch's own generator, which is seeded at each step."""

    def __init__(self, p: float, world: ProcessGroup) -> None:
        super().__init__(p)
        self._world = world

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) to the same."""
        if not self.training or self.p == 0:
            return x
        world = self._world
        kept = torch.rand((world.size * len(x), *x.shape[1:]), device=x.device) >= self.p
        return x * kept[world.part(len(kept))] / (1 - self.p)


class SharedBatchNorm(nn.Module):
    """Batch norm over the batches of all processes, for (B, C) and (B, C, H, W)."""

    def __init__(self, own: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps, self.momentum = own.eps, own.momentum
        self.weight, self.bias = own.weight, own.bias
        self.running_mean: torch.Tensor
        self.running_var: torch.Tensor
        self.num_batches_tracked: torch.Tensor
        for name, buffer in own.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, ...) to the same."""
        if not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        wide = x.float()
        n = sum_over(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean_C = sum_over(wide.sum(axes)) / n
        centred = wide - mean_C.view(shape)
        # From the differences, in a second pass: the difference of two large sums would be rounded away.
        var_C = sum_over(centred.square().sum(axes)) / n
        with torch.no_grad():
            momentum = self.momentum or 0.1
            self.running_mean.lerp_(mean_C, momentum)
            self.running_var.lerp_(var_C * n / (n - 1), momentum)
            self.num_batches_tracked.add_(1)
        scale_C = self.weight * (var_C + self.eps).rsqrt()
        y: torch.Tensor = centred * scale_C.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)
