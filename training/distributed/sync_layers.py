"""Batch norm and dropout over the whole batch, however many processes share it.

PyTorch's own synchronised batch norm needs a GPU. These layers have the parameters and state of the layers that they
replace, so state dicts and weights files stay the same.

Legend of axes: B windows of this process's part of the batch, C channels.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from eventveil.training.distributed.process_group import ProcessGroup, sum_over


def share_layers(network: nn.Module, group: ProcessGroup) -> nn.Module:
    """Replace the batch norms and dropouts of a network with shared ones; return the network."""
    for name, child in network.named_children():
        if isinstance(child, nn.Dropout):
            setattr(network, name, SharedDropout(child.p, group))
        elif isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and group.size > 1:
            setattr(network, name, SharedBatchNorm(child))
        else:
            share_layers(child, group)
    return network


class SharedDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, from PyTorch's global generator, which each step seeds."""

    def __init__(self, p: float, group: ProcessGroup) -> None:
        super().__init__(p)
        self._group = group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply dropout to (B, ...)."""
        if not self.training or self.p == 0:
            return x
        group = self._group
        kept = torch.rand((group.size * len(x), *x.shape[1:]), device=x.device) >= self.p
        return x * kept[group.part(len(kept))] / (1 - self.p)


class SharedBatchNorm(nn.Module):
    """Batch norm over the parts of all processes, for (B, C) and (B, C, H, W)."""

    def __init__(self, replaced: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps, self.momentum = replaced.eps, replaced.momentum
        self.weight, self.bias = replaced.weight, replaced.bias
        self.running_mean: torch.Tensor
        self.running_var: torch.Tensor
        self.num_batches_tracked: torch.Tensor
        for name, buffer in replaced.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, ...)."""
        if not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        wide = x.float()
        n = sum_over(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean_C = sum_over(wide.sum(axes)) / n
        centred = wide - mean_C.view(shape)
        # In a second pass over the centred values: E[x^2] - E[x]^2 would lose small variances to rounding.
        var_C = sum_over(centred.square().sum(axes)) / n
        with torch.no_grad():
            momentum = self.momentum or 0.1
            self.running_mean.lerp_(mean_C, momentum)
            self.running_var.lerp_(var_C * n / (n - 1), momentum)
            self.num_batches_tracked.add_(1)
        scale_C = self.weight * (var_C + self.eps).rsqrt()
        y: torch.Tensor = centred * scale_C.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)
