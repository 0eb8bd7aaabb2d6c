"""A network with its optimizer, learning rate schedule and gradient steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.distributed.sync_layers import share_layers
from eventveil.training.settings import ScheduleSettings

MOMENTUM = 0.9  # of SGD, with Nesterov's step as in the code of Ahmad et al., ICCV 2023


class Learner:
    """A network in training.

    Args:
        network: the network; it is moved to the device, and its layers are replaced by `share_layers`.
        schedule: learning rate, weight decay and clipping.
        optimizer: adamw, adam (which ignores the weight decay) or sgd (with Nesterov's momentum of 0.9).
        epochs: number of epochs; the cosine schedule ends there.
        group: the processes that train together.

    Attributes:
        network: the network.
        optimizer: its optimizer.
        parameters: its trained parameters.
    """

    def __init__(
        self, network: nn.Module, schedule: ScheduleSettings, optimizer: str, epochs: int, group: ProcessGroup
    ) -> None:
        self.network = share_layers(network.requires_grad_(True), group).to(group.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = _optimizer(optimizer, self.parameters, schedule)
        self._schedule = schedule
        self._epochs = epochs
        self._group = group

    def begin_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 0."""
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate(self._schedule, epoch, self._epochs)

    def gradient(self, loss: torch.Tensor, *, keep_graph: bool = False) -> Gradient:
        """Return the gradient of a loss with respect to this network alone, averaged over the processes."""
        parts = torch.autograd.grad(loss, self.parameters, retain_graph=keep_graph, allow_unused=True)
        return self.as_gradient(parts)

    def as_gradient(self, parts: Sequence[torch.Tensor | None]) -> Gradient:
        """Average a gradient over the processes, clip it if the schedule requires it, and compute its norm."""
        dense = [
            torch.zeros_like(parameter) if part is None else part
            for part, parameter in zip(parts, self.parameters, strict=True)
        ]
        averaged = self._group.average(dense)
        norm = torch.nn.utils.get_total_norm(averaged)
        if self._schedule.clip is not None:
            scale = (self._schedule.clip / (norm + 1e-6)).clamp(max=1.0)
            averaged = tuple(part * scale for part in averaged)
        return Gradient(self, averaged, norm)

    def restart(self) -> None:
        """Clear the optimizer state, for a network whose weights were reinitialised."""
        self.optimizer.state.clear()


def _optimizer(name: str, parameters: list[nn.Parameter], schedule: ScheduleSettings) -> torch.optim.Optimizer:
    lr, decay = schedule.lr, schedule.weight_decay
    match name:
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=MOMENTUM, nesterov=True, fused=True)
        case _:
            return torch.optim.Adam(parameters, lr=lr, fused=True)


class Gradient:
    """A gradient of a learner, to step along.

    Attributes:
        norm: norm before clipping; a scalar.
    """

    def __init__(self, learner: Learner, parts: Sequence[torch.Tensor], norm: torch.Tensor) -> None:
        self.norm = norm
        self._learner = learner
        self._parts = parts

    def step(self) -> None:
        """Take one optimizer step."""
        for parameter, part in zip(self._learner.parameters, self._parts, strict=True):
            parameter.grad = part
        self._learner.optimizer.step()
        self._learner.optimizer.zero_grad(set_to_none=True)


def learning_rate(schedule: ScheduleSettings, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch, counted from 0 of `epochs`."""
    match schedule.schedule:
        case "cosine":
            return schedule.lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        case "step":
            return float(schedule.lr * schedule.factor ** (epoch // schedule.step_epochs))
        case "constant":
            return schedule.lr
